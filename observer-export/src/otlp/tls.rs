//! TLS for https endpoints: rustls with the system's roots or a CA of one's
//! own, and a client certificate on request.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::settings::TlsFiles;

/// Reads the files and makes the configuration. Errors name the file and the
/// variable that gives it.
pub fn client_config(files: &TlsFiles) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("setting up TLS")?
        .with_root_certificates(roots(files.ca.as_deref())?);
    match (&files.client_certificate, &files.client_key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "client certificate (…CLIENT_CERTIFICATE)")?;
            let private = PrivateKeyDer::from_pem_file(key).with_context(|| {
                format!("reading the client key (…CLIENT_KEY) {}", key.display())
            })?;
            builder
                .with_client_auth_cert(chain, private)
                .with_context(|| {
                    format!(
                        "the client key {} does not fit the certificate {}",
                        key.display(),
                        certificate.display()
                    )
                })
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(_), None) => {
            bail!("a client certificate needs its key: set OTEL_EXPORTER_OTLP_CLIENT_KEY as well")
        }
        (None, Some(_)) => bail!(
            "a client key needs its certificate: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE as well"
        ),
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path, "CA certificate (…CERTIFICATE)")? {
            store
                .add(certificate)
                .with_context(|| format!("{} is not usable as a CA certificate", path.display()))?;
        }
        return Ok(store);
    }
    let native = rustls_native_certs::load_native_certs();
    let (added, _) = store.add_parsable_certificates(native.certs);
    if added == 0 {
        bail!(
            "this system has no root certificates to check an https endpoint with: install \
             ca-certificates, or set OTEL_EXPORTER_OTLP_CERTIFICATE to a CA file"
        );
    }
    Ok(store)
}

pub(crate) fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let reading = || format!("reading the {what} {}", path.display());
    let list = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(reading)?;
    if list.is_empty() {
        bail!("{}: the file has no certificate in PEM form", reading());
    }
    Ok(list)
}

/// For transports with no https endpoint: trusts nobody, reads nothing.
///
/// # Errors
/// Never with the cryptography that is compiled in.
pub fn unused_config() -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("setting up TLS")?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
