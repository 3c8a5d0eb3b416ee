//! The kubelet's list of its pods, read when a container isn't in the one before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Uri;
use hyper::header::HeaderValue;
use observer_identity::container::kubelet::{Listed, pods};
use observer_identity::container::{Container, Pod};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::Question;
use crate::client::{self, Failure};
use crate::settings::KubeletSettings;

/// The most that is read of a list, in bytes: of a pod it says some 10 KiB, and there are
/// 110 of them, 500 on large nodes.
const LIMIT: usize = 32 << 20;

/// It isn't read again before.
const PAUSE: Duration = Duration::from_secs(2);

/// The kubelet and what it said last.
pub(crate) struct Kubelet {
    settings: KubeletSettings,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    at: Option<Instant>,
    containers: HashMap<String, Container>,
    pods: HashMap<String, Pod>,
}

impl Said {
    fn new(listed: Vec<Listed>) -> Self {
        let mut said = Self {
            at: Some(Instant::now()),
            ..Self::default()
        };
        for one in listed {
            said.containers.extend(one.containers);
            if let Some(uid) = one.pod.uid.clone() {
                said.pods.insert(uid, one.pod);
            }
        }
        said
    }

    /// The container, or at least its pod: its id comes later into the list.
    fn find(&self, question: &Question) -> Option<Container> {
        let pod = || {
            let pod = self.pods.get(question.pod.as_ref()?)?.clone();
            let pod = Some(pod);
            Some(Container {
                pod,
                ..Container::default()
            })
        };
        let found = self.containers.get(&question.container);
        found.cloned().or_else(pod)
    }
}

impl Kubelet {
    pub(crate) fn new(settings: KubeletSettings) -> Self {
        Self {
            settings,
            said: Mutex::default(),
        }
    }

    /// Where it is, for people.
    pub(crate) fn url(&self) -> &str {
        &self.settings.url
    }

    /// What it knows of a container.
    ///
    /// # Errors
    /// There is no answer that can be used.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Option<Container>, Failure> {
        // Who asks at the same time waits for the same list.
        let mut said = self.said.lock().await;
        let is_known = said.containers.contains_key(&question.container);
        if !is_known && said.at.is_none_or(|at| at.elapsed() >= PAUSE) {
            let answer = client::within_patience(self.read()).await?;
            *said = Said::new(pods(&answer)?);
        }
        Ok(said.find(question))
    }

    /// How many pods it lists.
    ///
    /// # Errors
    /// There is no answer that can be used.
    pub(crate) async fn count(&self) -> Result<usize, Failure> {
        let answer = client::within_patience(self.read()).await?;
        Ok(pods(&answer)?.len())
    }

    async fn read(&self) -> Result<Bytes, Failure> {
        let uri: Uri =
            self.settings.url.parse().map_err(|error| {
                Failure::Tls(format!("{} is no URL: {error}", self.settings.url))
            })?;
        let is_secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri
            .port_u16()
            .unwrap_or(if is_secure { 10250 } else { 10255 });
        let authority = uri.authority().map_or(host, |all| all.as_str());
        let stream = TcpStream::connect((name, port)).await;
        let stream = stream.map_err(Failure::Connect)?;
        if !is_secure {
            return client::get(stream, authority, "/pods", None, LIMIT).await;
        }
        let server = ServerName::try_from(name.to_owned())
            .map_err(|error| Failure::Tls(format!("{name} can't have a certificate: {error}")))?;
        let stream = TlsConnector::from(Arc::new(self.trust()?))
            .connect(server, stream)
            .await
            .map_err(|error| Failure::Tls(format!("TLS: {error}")))?;
        client::get(stream, authority, "/pods", Some(self.token()?), LIMIT).await
    }

    /// Read each time: service accounts' tokens are renewed each hour.
    fn token(&self) -> Result<HeaderValue, Failure> {
        let path = &self.settings.token;
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Tls(format!("the token {}: {error}", path.display()))
        };
        let token = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| failed(&"it isn't one"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn trust(&self) -> Result<ClientConfig, Failure> {
        let path = &self.settings.certificate;
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Tls(format!("the CA {}: {error}", path.display()))
        };
        let mut roots = RootCertStore::empty();
        let list = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
        for certificate in list {
            let certificate = certificate.map_err(|error| failed(&error))?;
            roots.add(certificate).map_err(|error| failed(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}
