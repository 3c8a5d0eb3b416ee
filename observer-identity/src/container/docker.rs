//! `GET /containers/{id}/json` of Docker's API, which Podman has, too.

use serde::Deserialize;

use super::image::Image;
use super::{Container, Labels, Pod, Unusable};
use crate::text;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    labels: Labels,
}

/// The container `id` by an answer of `runtime` (`container.runtime.name`).
///
/// # Errors
/// The answer is malformed, or another container's.
pub fn container(id: &str, runtime: &'static str, answer: &[u8]) -> Result<Container, Unusable> {
    let inspected: Inspected = serde_json::from_slice(answer).map_err(|_| Unusable::Malformed)?;
    if inspected.id != id {
        return Err(Unusable::Another);
    }
    let config = inspected.config;
    let labels = config.as_ref().map(|config| &config.labels);
    let image = config.as_ref().and_then(|config| config.image.as_deref());
    // With a slash in front, from the time when containers had links.
    let name = inspected.name.as_deref().unwrap_or_default();
    Ok(Container {
        runtime: Some(runtime),
        name: text::name(name.strip_prefix('/').unwrap_or(name)),
        service: labels.and_then(Labels::service),
        image: Image::of_reference(image.unwrap_or_default()),
        pod: labels.and_then(Pod::of_labels),
    })
}
