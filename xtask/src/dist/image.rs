//! The container image, from scratch: an OCI layout in an archive, which needs no
//! engine to be made (<https://github.com/opencontainers/image-spec>).

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::VERSION;
use super::archive::{self, File};
use super::contents::{CONFIGURATION, Contents};
use super::epoch::Epoch;
use super::target::Target;

/// An `oci-archive`, as skopeo, podman and others take it.
pub fn of(contents: &Contents, target: Target, epoch: Epoch) -> Result<Vec<u8>> {
    let mut layout = Layout::default();
    let layer = archive::tar(&contents.image(), epoch)?;
    let layer_id = digest(&layer);
    let layer = layout.blob("layer.v1.tar+gzip", archive::gzip(&layer)?);
    let config = json(&configuration(target, epoch, &layer_id))?;
    let config = layout.blob("config.v1+json", config);
    let manifest = json(&json!({
        "schemaVersion": 2,
        "mediaType": media_type("manifest.v1+json"),
        "config": config,
        "layers": [layer],
    }))?;
    let mut manifest = layout.blob("manifest.v1+json", manifest);
    manifest["platform"] = platform(target);
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": VERSION });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type("index.v1+json"),
        "manifests": [manifest],
    });
    layout.file("index.json", json(&index)?);
    layout.file(
        "oci-layout",
        json(&json!({ "imageLayoutVersion": "1.0.0" }))?,
    );
    archive::tar(&layout.files, epoch)
}

#[derive(Default)]
struct Layout {
    files: Vec<File>,
}

impl Layout {
    fn file(&mut self, path: &str, data: Vec<u8>) {
        self.files.push(File {
            path: path.to_owned(),
            mode: 0o644,
            data,
        });
    }

    /// Adds a blob and returns its descriptor.
    fn blob(&mut self, kind: &str, data: Vec<u8>) -> Value {
        let digest = digest(&data);
        let descriptor = json!({
            "mediaType": media_type(kind),
            "digest": digest,
            "size": data.len(),
        });
        self.file(&format!("blobs/{}", digest.replace(':', "/")), data);
        descriptor
    }
}

fn media_type(kind: &str) -> String {
    format!("application/vnd.oci.image.{kind}")
}

fn digest(data: &[u8]) -> String {
    format!("sha256:{}", super::hex(&Sha256::digest(data)))
}

fn platform(target: Target) -> Value {
    json!({ "architecture": target.of_images(), "os": "linux" })
}

fn json(value: &Value) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

/// What a runtime is told. It runs as root with the capabilities that it is given and
/// no others; of another user it would take away also those.
fn configuration(target: Target, epoch: Epoch, layer: &str) -> Value {
    let mut configuration = platform(target);
    configuration["created"] = json!(epoch.rfc3339());
    configuration["config"] = json!({
        "User": "0:0",
        "Entrypoint": ["/usr/bin/observer"],
        "Cmd": ["run", "--config", format!("/{CONFIGURATION}")],
        "Labels": {
            "org.opencontainers.image.title": "observer",
            "org.opencontainers.image.version": VERSION,
            "org.opencontainers.image.licenses": "Apache-2.0 OR MIT",
        },
    });
    configuration["rootfs"] = json!({ "type": "layers", "diff_ids": [layer] });
    configuration["history"] = json!([{
        "created": epoch.rfc3339(),
        "created_by": "cargo xtask dist",
    }]);
    configuration
}
