//! `[containers]`.

use std::path::{Path, PathBuf};

use observer_containers::{KubeletSettings, Settings};

use super::layer::ContainerLayer;

/// Where Kubernetes mounts a service account's token and the cluster's CA.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const CERTIFICATE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// The settings that result; `node` is the address of this node, if it is known.
pub(super) fn resolve(layer: ContainerLayer, node: Option<String>) -> anyhow::Result<Settings> {
    let token = layer.kubelet_token.unwrap_or_else(|| PathBuf::from(TOKEN));
    let given = layer.kubelet.filter(|url| !url.trim().is_empty());
    let url = given.or_else(|| of_node(&node?, &token));
    if let Some(url) = &url {
        anyhow::ensure!(
            url.starts_with("https://") || url.starts_with("http://"),
            "the kubelet is at a URL like https://10.0.0.1:10250, not `{url}`"
        );
    }
    let sockets = layer
        .sockets
        .map(|sockets| sockets.into_iter().map(|it| it.0).collect());
    Ok(Settings {
        ask: layer.ask.unwrap_or(true),
        sockets,
        kubelet: url.map(|url| KubeletSettings {
            url,
            token,
            certificate: layer
                .kubelet_certificate
                .unwrap_or_else(|| PathBuf::from(CERTIFICATE)),
        }),
    })
}

/// The kubelet of the node on which this pod runs, if it has a token to show it.
fn of_node(node: &str, token: &Path) -> Option<String> {
    let host = if node.contains(':') {
        format!("[{node}]")
    } else {
        node.to_owned()
    };
    token.is_file().then(|| format!("https://{host}:10250"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the kubelet is the node's where there is a token, unless another is given.
    #[test]
    fn the_kubelet_is_the_nodes() {
        let token = tempfile::NamedTempFile::new().expect("a file");
        let layer = |url: Option<&str>, token: &Path| ContainerLayer {
            kubelet: url.map(str::to_owned),
            kubelet_token: Some(token.to_owned()),
            ..ContainerLayer::default()
        };
        let url = |layer, node: Option<&str>| {
            let settings = resolve(layer, node.map(str::to_owned)).expect("correct");
            settings.kubelet.map(|it| it.url)
        };
        let node = Some("10.0.0.1");
        let its = Some("https://10.0.0.1:10250".to_owned());
        assert_eq!(url(layer(None, token.path()), node), its);
        let v6 = Some("https://[fd00::1]:10250".to_owned());
        assert_eq!(url(layer(None, token.path()), Some("fd00::1")), v6);
        assert_eq!(url(layer(None, token.path()), None), None);
        assert_eq!(url(layer(None, Path::new("/nowhere")), node), None);
        let other = Some("http://localhost:10255");
        let given = url(layer(other, token.path()), node);
        assert_eq!(given.as_deref(), other);
        assert!(resolve(layer(Some("localhost"), token.path()), None).is_err());
    }
}
