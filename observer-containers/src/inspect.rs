//! Who is there and answers: for `observer check`.

use std::sync::mpsc;
use std::time::Duration;

use crate::client::Failure;
use crate::kubelet::Kubelet;
use crate::settings::Settings;
use crate::{places, runtime};

/// How long all of it may take; more than one request.
const PATIENCE: Duration = Duration::from_secs(5);

/// One who could be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is called: `docker`, `kubelet`.
    pub name: &'static str,
    /// Where it is.
    pub place: String,
    /// What it says of itself, or why it doesn't.
    pub says: Result<String, Refusal>,
}

/// Why one doesn't answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// Whether it lets nobody in like us, as against that it isn't well.
    pub is_forbidden: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        use hyper::StatusCode;
        let is_forbidden = match &failure {
            Failure::Connect(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
            Failure::Status(status) => {
                matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            }
            _ => false,
        };
        Self {
            reason: failure.to_string(),
            is_forbidden,
        }
    }
}

/// Asks all who are there; `None` if that takes too long, as where a socket's file system
/// doesn't answer.
pub fn inspect(settings: Settings) -> Option<Vec<Found>> {
    let (send, found) = mpsc::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            // Nobody listens any more if it took too long.
            let _ = send.send(runtime.block_on(all(settings)));
        }
    };
    let thread = std::thread::Builder::new().name("observer-names".to_owned());
    thread.spawn(work).ok()?;
    found.recv_timeout(PATIENCE).ok()
}

async fn all(settings: Settings) -> Vec<Found> {
    let mut found = Vec::new();
    if !settings.ask {
        return found;
    }
    for socket in settings.sockets.unwrap_or_else(places::find) {
        found.push(Found {
            name: socket.kind.name(),
            place: socket.path.display().to_string(),
            says: runtime::version(&socket).await.map_err(Refusal::from),
        });
    }
    if let Some(kubelet) = settings.kubelet {
        let kubelet = Kubelet::new(kubelet);
        let pods = kubelet.count().await;
        found.push(Found {
            name: "kubelet",
            place: kubelet.url().to_owned(),
            says: pods
                .map(|pods| format!("{pods} pods"))
                .map_err(Refusal::from),
        });
    }
    found
}
