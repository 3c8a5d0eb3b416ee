//! `[prometheus]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use super::address::ScrapeAddress;
use super::layer::PrometheusLayer;

/// Where Prometheus may scrape, and who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prometheus {
    /// Where to listen.
    pub address: SocketAddr,
    /// Where the token is that has to be shown.
    pub token_file: Option<PathBuf>,
    /// A certificate and its key, for TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// The settings that result; `None` where nobody may scrape, whatever else is said of it.
pub(super) fn resolve(layer: PrometheusLayer) -> Result<Option<Prometheus>> {
    let Some(ScrapeAddress(address)) = layer.address else {
        return Ok(None);
    };
    let tls = match (layer.certificate, layer.key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => bail!("--prometheus-certificate needs --prometheus-key"),
        (None, Some(_)) => bail!("--prometheus-key needs --prometheus-certificate"),
    };
    let guarded = layer.token_file.is_some() || layer.open == Some(true);
    ensure!(
        guarded || address.ip().to_canonical().is_loopback(),
        "--prometheus {address} is open to others: set --prometheus-token-file, or --prometheus-open if everybody may scrape"
    );
    Ok(Some(Prometheus {
        address,
        token_file: layer.token_file,
        tls,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that only the loopback is open, unless somebody says so, and that what belongs
    /// together is given together.
    #[test]
    fn others_need_a_token() {
        let of = |address: &str| PrometheusLayer {
            address: address.parse().ok(),
            ..PrometheusLayer::default()
        };
        let file = || Some(PathBuf::from("f"));
        for local in ["9435", "[::1]:1", "127.9.9.9:1", "[::ffff:127.0.0.1]:1"] {
            assert!(
                resolve(of(local)).is_ok_and(|found| found.is_some()),
                "{local}"
            );
        }
        for other in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            assert!(resolve(of(other)).is_err(), "{other}");
            let mut guarded = of(other);
            guarded.token_file = file();
            assert!(resolve(guarded).is_ok(), "{other}");
            let mut open = of(other);
            open.open = Some(true);
            assert!(resolve(open).is_ok(), "{other}");
        }
        let nowhere = PrometheusLayer {
            token_file: file(),
            ..PrometheusLayer::default()
        };
        assert_eq!(resolve(nowhere).ok(), Some(None));
        for (certificate, key) in [(file(), None), (None, file())] {
            let layer = PrometheusLayer {
                certificate,
                key,
                ..of("9435")
            };
            assert!(resolve(layer).is_err());
        }
    }
}
