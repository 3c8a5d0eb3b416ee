//! containerd's own interface (`containerd/services/containers/v1/containers.proto`):
//! containers by namespace and id, also of those that made them without the CRI.

use std::collections::HashMap;

use prost::Message as _;

use super::image::Image;
use super::{Container, Labels, Pod, Unusable};

/// gRPC's path of the call.
pub const PATH: &str = "/containerd.services.containers.v1.Containers/Get";

/// The header that says in which namespace to look.
pub const NAMESPACE: &str = "containerd-namespace";

/// The namespaces in which to look: Kubernetes', nerdctl's and ctr's, Docker's.
pub const NAMESPACES: [&str; 3] = ["k8s.io", "default", "moby"];

/// The question for one container.
pub fn question(id: &str) -> Vec<u8> {
    wire::GetContainerRequest { id: id.to_owned() }.encode_to_vec()
}

/// The container `id` by an answer.
///
/// # Errors
/// The answer is malformed, or another container's.
pub fn container(id: &str, answer: &[u8]) -> Result<Container, Unusable> {
    let answer = wire::GetContainerResponse::decode(answer).map_err(|_| Unusable::Malformed)?;
    let found = answer.container.ok_or(Unusable::Malformed)?;
    if found.id != id {
        return Err(Unusable::Another);
    }
    let labels = Labels::of(found.labels);
    Ok(Container {
        runtime: Some("containerd"),
        name: labels.text("nerdctl/name"),
        service: labels.service(),
        image: Image::of_reference(&found.image),
        pod: Pod::of_labels(&labels),
    })
}

pub(crate) mod wire {
    use super::HashMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct GetContainerRequest {
        #[prost(string, tag = "1")]
        pub(crate) id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct GetContainerResponse {
        #[prost(message, optional, tag = "1")]
        pub(crate) container: Option<Container>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Container {
        #[prost(string, tag = "1")]
        pub(crate) id: String,
        #[prost(map = "string, string", tag = "2")]
        pub(crate) labels: HashMap<String, String>,
        #[prost(string, tag = "3")]
        pub(crate) image: String,
    }
}
