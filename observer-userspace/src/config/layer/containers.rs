//! `[containers]`.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use crate::config::layered::{Layered, layered};
use crate::config::values::ContainerSocket;

layered! {
    /// Whom to ask what containers are called.
    #[derive(Args, Clone, Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    #[command(next_help_heading = "Names of containers and pods")]
    pub struct ContainerLayer {
        /// Ask container runtimes and the kubelet what containers are called
        /// [default: true]
        #[arg(long = "containers", id = "containers", value_name = "BOOL")]
        pub ask: Option<bool>,
        /// Ask these runtimes (docker, podman, containerd or cri-o) instead of those whose
        /// sockets are at the usual places; may be repeated
        #[arg(
            long = "container-socket",
            id = "container-socket",
            value_name = "RUNTIME:PATH"
        )]
        pub sockets: Option<Vec<ContainerSocket>>,
        /// The kubelet of this node, or its read-only port (http://…:10255)
        /// [default: https://$NODE_IP:10250 where the token is]
        #[arg(long, value_name = "URL")]
        pub kubelet: Option<String>,
        /// The token that is shown to the kubelet
        /// [default: /var/run/secrets/kubernetes.io/serviceaccount/token]
        #[arg(long, value_name = "FILE")]
        pub kubelet_token: Option<PathBuf>,
        /// The CA (PEM) of the kubelet's certificate
        /// [default: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt]
        #[arg(long, value_name = "FILE")]
        pub kubelet_certificate: Option<PathBuf>,
    }
}
