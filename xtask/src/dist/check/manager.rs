//! A service manager's ear: what a service tells it (sd_notify(3)).

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long it waits for the first message.
const PATIENCE: Duration = Duration::from_secs(120);

/// What ends the listening, which no service says.
const END: &[u8] = b"end";

/// Listens on a socket, on a thread: a socket that nobody reads takes ten messages and
/// no more.
pub struct Manager {
    path: PathBuf,
    messages: Receiver<String>,
}

impl Manager {
    /// Listens on a socket that anybody may write to.
    pub fn start(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path).context("cannot bind a socket")?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(length) = socket.recv(&mut buffer) {
                let message = buffer.get(..length).unwrap_or_default();
                let text = String::from_utf8_lossy(message).into_owned();
                if message == END || sender.send(text).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            path: path.to_owned(),
            messages,
        })
    }

    /// The next message.
    pub fn next(&self) -> Result<String> {
        let next = self.messages.recv_timeout(PATIENCE);
        next.with_context(|| format!("nothing was told for {} s", PATIENCE.as_secs()))
    }

    /// All messages that are left, once the service is over.
    pub fn rest(&self) -> BTreeSet<String> {
        self.end();
        self.messages.iter().collect()
    }

    fn end(&self) {
        // Without the socket the thread has ended.
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(END, &self.path));
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that more messages are heard than a socket holds, in order, and the end.
    #[test]
    fn hears_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let manager = Manager::start(&path).expect("a socket");
        let service = UnixDatagram::unbound().expect("a socket");
        for number in 0..100 {
            let message = format!("M={number:03}");
            service.send_to(message.as_bytes(), &path).expect("sent");
        }
        assert_eq!(manager.next().expect("a message"), "M=000");
        let rest = manager.rest();
        assert_eq!(
            (rest.len(), rest.last().map(String::as_str)),
            (99, Some("M=099"))
        );
        drop(manager);
        assert!(!path.exists());
    }
}
