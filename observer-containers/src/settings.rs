//! Whom to ask.

use std::path::PathBuf;

/// A container runtime, by the interface that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Docker's API.
    Docker,
    /// The same, of Podman.
    Podman,
    /// The CRI, and containerd's own.
    Containerd,
    /// The CRI.
    CriO,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Docker, Self::Podman, Self::Containerd, Self::CriO];

    /// `container.runtime.name`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
        }
    }
}

/// A runtime's socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    /// Whose it is.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
}

/// The kubelet of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletSettings {
    /// `https://HOST:10250`, or `http://HOST:10255` for its read-only port.
    pub url: String,
    /// The file with the token that it is shown, with https.
    pub token: PathBuf,
    /// The file (PEM) with the CA that its certificate is of.
    pub certificate: PathBuf,
}

/// Whom to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether anybody is asked.
    pub ask: bool,
    /// These sockets; `None` for those that are found.
    pub sockets: Option<Vec<Socket>>,
    /// The kubelet.
    pub kubelet: Option<KubeletSettings>,
}
