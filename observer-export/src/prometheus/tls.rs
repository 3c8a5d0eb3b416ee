//! TLS for who scrapes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::otlp::tls::certificates;

/// Reads a certificate with its chain and its key.
///
/// # Errors
/// A file can't be read, or they don't fit; it is named.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let chain = certificates(certificate, "certificate for Prometheus")?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("reading the key for Prometheus {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("setting up TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| {
            let (key, certificate) = (key.display(), certificate.display());
            format!("the key {key} does not fit the certificate {certificate}")
        })?;
    Ok(Arc::new(config))
}
