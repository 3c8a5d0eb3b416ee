//! Where runtimes have their sockets.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::settings::{Kind, Socket};

/// The roots in which they are looked for: one's own, and the host's, seen through its
/// first process. Symbolic links of the host's lead to one's own root, so that below it
/// only paths without one are of use.
const ROOTS: [&str; 2] = ["", "/proc/1/root"];

/// The usual places: of each runtime itself, k3s, k0s and MicroK8s.
const USUAL: [(Kind, &str); 7] = [
    (Kind::Docker, "/run/docker.sock"),
    (Kind::Docker, "/var/run/docker.sock"),
    (Kind::Podman, "/run/podman/podman.sock"),
    (Kind::Containerd, "/run/containerd/containerd.sock"),
    (Kind::Containerd, "/run/k3s/containerd/containerd.sock"),
    (Kind::Containerd, "/run/k0s/containerd.sock"),
    (Kind::CriO, "/run/crio/crio.sock"),
];

/// The sockets at the usual places that are root's, each once.
pub(crate) fn find() -> Vec<Socket> {
    let mut known = Vec::new();
    let mut found = Vec::new();
    for root in ROOTS {
        for (kind, place) in USUAL {
            let path = format!("{root}{place}");
            let Some(file) = socket_of_root(Path::new(&path)) else {
                continue;
            };
            if !known.contains(&file) {
                known.push(file);
                let path = path.into();
                found.push(Socket { kind, path });
            }
        }
    }
    found
}

/// Device and inode of a socket that is root's.
fn socket_of_root(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    let is_trusted = metadata.file_type().is_socket() && metadata.uid() == 0;
    is_trusted.then(|| (metadata.dev(), metadata.ino()))
}
