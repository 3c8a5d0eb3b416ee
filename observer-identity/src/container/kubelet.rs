//! The kubelet's `/pods`: a list of the pods of its node, as the API server has them.

use serde::Deserialize;

use super::bounded::First;
use super::image::Image;
use super::owner::Owner;
use super::{Container, Labels, Pod, Unusable};
use crate::text;

/// So many pods are read: kubelets have 110 unless told otherwise.
const PODS: usize = 2048;
/// So many containers of each kind in one pod.
const CONTAINERS: usize = 64;
/// So many owners of a pod.
const OWNERS: usize = 8;

/// A pod and its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What all its containers have in common.
    pub pod: Pod,
    /// Ids of its containers, what the pod calls them, and their images.
    pub containers: Vec<(String, Container)>,
}

#[derive(Deserialize)]
struct PodList {
    items: First<Item, PODS>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    spec: Option<Spec>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    #[serde(default)]
    owner_references: First<Reference, OWNERS>,
}

#[derive(Deserialize)]
struct Reference {
    kind: String,
    name: String,
    #[serde(default)]
    controller: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    container_statuses: First<ContainerStatus, CONTAINERS>,
    #[serde(default)]
    init_container_statuses: First<ContainerStatus, CONTAINERS>,
    #[serde(default)]
    ephemeral_container_statuses: First<ContainerStatus, CONTAINERS>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    name: String,
    /// `containerd://…`; none before it was made.
    #[serde(default, rename = "containerID")]
    id: Option<String>,
    #[serde(default)]
    image: Option<String>,
}

/// The pods of an answer.
///
/// # Errors
/// It is malformed.
pub fn pods(answer: &[u8]) -> Result<Vec<Listed>, Unusable> {
    let list: PodList = serde_json::from_slice(answer).map_err(|_| Unusable::Malformed)?;
    Ok(list.items.0.into_iter().map(listed).collect())
}

fn listed(item: Item) -> Listed {
    let metadata = item.metadata;
    let clean = |text: Option<String>| text.and_then(|text| text::name(&text));
    let mut references = metadata.owner_references.0.iter();
    let controller = references.find(|one| one.controller == Some(true));
    let owner = controller.map(|one| Owner::of_reference(&one.kind, &one.name, &metadata.labels));
    let mut pod = Pod {
        owner: owner.unwrap_or_default(),
        name: text::name(&metadata.name),
        uid: clean(metadata.uid),
        namespace: clean(metadata.namespace),
        node: clean(item.spec.and_then(|spec| spec.node_name)),
        ..Pod::default()
    };
    pod.declare(&metadata.annotations);
    let statuses = item.status.into_iter().flat_map(|status| {
        let kinds = [
            status.container_statuses,
            status.init_container_statuses,
            status.ephemeral_container_statuses,
        ];
        kinds.into_iter().flat_map(|kind| kind.0)
    });
    let containers = statuses.filter_map(|status| {
        let (_, id) = status.id.as_deref()?.split_once("://")?;
        let of_pod = Pod {
            container: text::name(&status.name),
            ..pod.clone()
        };
        let container = Container {
            image: Image::of_reference(status.image.as_deref().unwrap_or_default()),
            pod: Some(of_pod),
            ..Container::default()
        };
        Some((id.to_owned(), container))
    });
    let containers = containers.collect();
    Listed { pod, containers }
}
