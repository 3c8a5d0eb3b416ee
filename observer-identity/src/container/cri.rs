//! The Container Runtime Interface (`k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`), as far
//! as it is read: containers and pod sandboxes by their ids, and images.

use std::collections::HashMap;

use prost::Message as _;

use super::image::Image;
use super::{Container, Labels, Pod, Unusable};
use crate::text;

/// gRPC's path of each call.
pub mod paths {
    /// Which runtime it is.
    pub const VERSION: &str = "/runtime.v1.RuntimeService/Version";
    /// Containers.
    pub const CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
    /// Pods.
    pub const SANDBOXES: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
    /// An image.
    pub const IMAGE: &str = "/runtime.v1.ImageService/ImageStatus";
}

/// A container in an answer, and where to ask on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// As far as it is known.
    pub container: Container,
    /// The id of its pod's sandbox.
    pub sandbox: String,
    /// The image, if it is told by its id alone.
    pub image_id: Option<String>,
}

/// The question for one container, to [`paths::CONTAINERS`], or for one sandbox, to
/// [`paths::SANDBOXES`]: the messages are alike.
pub fn question(id: &str) -> Vec<u8> {
    let filter = Some(wire::Filter { id: id.to_owned() });
    wire::ListRequest { filter }.encode_to_vec()
}

/// The question for an image, to [`paths::IMAGE`].
pub fn image_question(image: &str) -> Vec<u8> {
    let image = Some(wire::ImageSpec {
        image: image.to_owned(),
        user_specified: String::new(),
    });
    wire::ImageStatusRequest { image }.encode_to_vec()
}

/// The container `id` of the answer; `None` if the runtime doesn't know it.
///
/// # Errors
/// The answer is malformed, or another container's.
pub fn container(
    id: &str,
    runtime: &'static str,
    answer: &[u8],
) -> Result<Option<Listed>, Unusable> {
    let answer = wire::ListContainersResponse::decode(answer).map_err(|_| Unusable::Malformed)?;
    let Some(first) = answer.containers.first() else {
        return Ok(None);
    };
    let found = wire::Container::decode(&**first).map_err(|_| Unusable::Malformed)?;
    if found.id != id {
        return Err(Unusable::Another);
    }
    let spec = found.image.unwrap_or_default();
    let image = Image::of_references([spec.user_specified.as_str(), spec.image.as_str()]);
    let pod = Pod::of_labels(&Labels::of(found.labels));
    let name = found.metadata.and_then(|it| text::name(&it.name));
    let image_id = image.name.is_none().then_some(spec.image);
    let container = Container {
        runtime: Some(runtime),
        // What a pod calls it isn't its own: another in each pod of this name.
        name: name.filter(|_| pod.is_none()),
        service: None,
        image,
        pod,
    };
    Ok(Some(Listed {
        container,
        sandbox: found.pod_sandbox_id,
        image_id: image_id.filter(|id| !id.is_empty()),
    }))
}

/// The pod whose sandbox `id` is; `None` if the runtime doesn't know it.
///
/// # Errors
/// The answer is malformed, or another sandbox's.
pub fn pod(id: &str, answer: &[u8]) -> Result<Option<Pod>, Unusable> {
    let answer = wire::ListPodSandboxResponse::decode(answer).map_err(|_| Unusable::Malformed)?;
    let Some(first) = answer.items.first() else {
        return Ok(None);
    };
    let found = wire::PodSandbox::decode(&**first).map_err(|_| Unusable::Malformed)?;
    if found.id != id {
        return Err(Unusable::Another);
    }
    let metadata = found.metadata.unwrap_or_default();
    let labels = Labels::of(found.labels);
    let mut pod = Pod {
        owner: super::Owner::of_labels(&metadata.name, &labels),
        name: text::name(&metadata.name),
        uid: text::name(&metadata.uid),
        namespace: text::name(&metadata.namespace),
        ..Pod::default()
    };
    pod.declare(&Labels::of(found.annotations));
    Ok(Some(pod))
}

/// The image of an answer.
///
/// # Errors
/// The answer is malformed.
pub fn image(answer: &[u8]) -> Result<Image, Unusable> {
    let answer = wire::ImageStatusResponse::decode(answer).map_err(|_| Unusable::Malformed)?;
    let found = answer.image.unwrap_or_default();
    let references = found.repo_tags.iter().chain(&found.repo_digests);
    Ok(Image::of_references(references.map(String::as_str)))
}

/// Which runtime answers [`paths::VERSION`], for people.
///
/// # Errors
/// The answer is malformed.
pub fn version(answer: &[u8]) -> Result<String, Unusable> {
    let answer = wire::VersionResponse::decode(answer).map_err(|_| Unusable::Malformed)?;
    let said = format!("{} {}", answer.runtime_name, answer.runtime_version);
    Ok(text::name(&said).unwrap_or_default())
}

/// The messages, as far as they are read. Items of lists stay bytes, so that a list of
/// nothing takes no more memory than its bytes.
pub(crate) mod wire {
    use super::HashMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ListRequest {
        #[prost(message, optional, tag = "1")]
        pub(crate) filter: Option<Filter>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Filter {
        #[prost(string, tag = "1")]
        pub(crate) id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ImageStatusRequest {
        #[prost(message, optional, tag = "1")]
        pub(crate) image: Option<ImageSpec>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ListContainersResponse {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub(crate) containers: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Container {
        #[prost(string, tag = "1")]
        pub(crate) id: String,
        #[prost(string, tag = "2")]
        pub(crate) pod_sandbox_id: String,
        #[prost(message, optional, tag = "3")]
        pub(crate) metadata: Option<ContainerMetadata>,
        #[prost(message, optional, tag = "4")]
        pub(crate) image: Option<ImageSpec>,
        #[prost(map = "string, string", tag = "8")]
        pub(crate) labels: HashMap<String, String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ContainerMetadata {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ImageSpec {
        #[prost(string, tag = "1")]
        pub(crate) image: String,
        #[prost(string, tag = "18")]
        pub(crate) user_specified: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ListPodSandboxResponse {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub(crate) items: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct PodSandbox {
        #[prost(string, tag = "1")]
        pub(crate) id: String,
        #[prost(message, optional, tag = "2")]
        pub(crate) metadata: Option<PodSandboxMetadata>,
        #[prost(map = "string, string", tag = "5")]
        pub(crate) labels: HashMap<String, String>,
        #[prost(map = "string, string", tag = "6")]
        pub(crate) annotations: HashMap<String, String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct PodSandboxMetadata {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "2")]
        pub(crate) uid: String,
        #[prost(string, tag = "3")]
        pub(crate) namespace: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ImageStatusResponse {
        #[prost(message, optional, tag = "1")]
        pub(crate) image: Option<Image>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Image {
        #[prost(string, repeated, tag = "2")]
        pub(crate) repo_tags: Vec<String>,
        #[prost(string, repeated, tag = "3")]
        pub(crate) repo_digests: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct VersionResponse {
        #[prost(string, tag = "2")]
        pub(crate) runtime_name: String,
        #[prost(string, tag = "3")]
        pub(crate) runtime_version: String,
    }
}
