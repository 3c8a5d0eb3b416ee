//! The service manager that started the daemon: told when it is ready, that it is
//! alive, how things stand, and when it ends (`sd_notify(3)`, a datagram each).
//!
//! With `WatchdogSec=` systemd restarts a daemon that says nothing for that long, so
//! a loop that hangs isn't mistaken for a host on which nothing happens.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use observer_signals::outside::shortened;

/// Of the watchdog's time so much may pass between two signs of life, as
/// `sd_watchdog_enabled(3)` advises.
const WATCHDOG_SHARE: u32 = 2;

/// Bytes of a status.
const STATUS_BYTES: usize = 512;

/// The service manager's socket, if one started us and wants to be told.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    manager: Option<Manager>,
    /// How often it wants a sign of life.
    period: Option<Duration>,
    /// When it had the last one.
    told: Option<Instant>,
    /// The status that it was told last.
    status: String,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Supervisor {
    /// Reads `NOTIFY_SOCKET` and `WATCHDOG_USEC`. A socket that can't be used is
    /// said in the log: whoever waits there will think that the start failed.
    pub(crate) fn of_environment() -> Self {
        Self::of(|name| std::env::var_os(name)).unwrap_or_else(|error| {
            tracing::warn!("the service manager can't be told anything: {error:#}");
            Self::default()
        })
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
            None => SocketAddr::from_pathname(&name),
        };
        let address = address.with_context(|| format!("NOTIFY_SOCKET {}", name.display()))?;
        let socket = UnixDatagram::unbound().context("a datagram socket")?;
        // A manager that doesn't read must not hold the daemon up.
        socket.set_nonblocking(true).context("a datagram socket")?;
        Ok(Self {
            manager: Some(Manager { socket, address }),
            period: watchdog_period(variable),
            told: None,
            status: String::new(),
        })
    }

    /// Everything is attached.
    pub(crate) fn ready(&mut self) {
        self.tell("READY=1");
        self.alive();
    }

    /// The loop has come round once more.
    pub(crate) fn alive(&mut self) {
        let Some(period) = self.period else {
            return;
        };
        if self.told.is_none_or(|told| told.elapsed() >= period) {
            self.told = Some(Instant::now());
            self.tell("WATCHDOG=1");
        }
    }

    /// How things stand, for people (`systemctl status`); told when it changes.
    pub(crate) fn status(&mut self, text: &str) {
        if self.manager.is_none() {
            return;
        }
        // A line of its own in the message, whatever names are in it.
        let line = text.replace(|c: char| c.is_control(), " ");
        let message = format!("STATUS={}", shortened(&line, STATUS_BYTES));
        if self.status != message {
            self.tell(&message);
            self.status = message;
        }
    }

    /// The daemon is about to end.
    pub(crate) fn stopping(&mut self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, message: &str) {
        let Some(manager) = &self.manager else {
            return;
        };
        let sent = manager
            .socket
            .send_to_addr(message.as_bytes(), &manager.address);
        if let Err(error) = sent {
            tracing::warn!("the service manager wasn't told {message}: {error}");
        }
    }
}

/// How often the watchdog wants a sign of life of this process.
fn watchdog_period(variable: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
    // Inherited from a parent whose watchdog it is.
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
        return None;
    }
    let period = number("WATCHDOG_USEC").filter(|period| *period > 0)?;
    Some(Duration::from_micros(period) / WATCHDOG_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started_with(variables: &[(&str, &str)]) -> Supervisor {
        let find = |name: &str| {
            let mut all = variables.iter();
            all.find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        Supervisor::of(find).expect("a supervisor")
    }

    fn received(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).expect("a socket");
        let mut buffer = [0; 64];
        let mut all = Vec::new();
        while let Ok(length) = socket.recv(&mut buffer) {
            all.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        all
    }

    /// Checks that a manager is told of the start, of life as often as it wants and
    /// not more often, and of the end; by a path and by an abstract name.
    #[test]
    fn a_manager_is_told() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("bind");
        let name = format!("observer-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("address");
        let by_name = UnixDatagram::bind_addr(&address).expect("bind");
        let sockets = [
            (path.to_string_lossy().into_owned(), by_path),
            (format!("@{name}"), by_name),
        ];
        for (address, socket) in sockets {
            let variables = [
                ("NOTIFY_SOCKET", &*address),
                ("WATCHDOG_USEC", "3600000000"),
            ];
            let mut supervisor = started_with(&variables);
            supervisor.ready();
            supervisor.alive();
            supervisor.told = Instant::now().checked_sub(Duration::from_secs(1801));
            supervisor.alive();
            supervisor.alive();
            supervisor.status("a\nb");
            supervisor.status("a\nb");
            supervisor.stopping();
            let expected = [
                "READY=1",
                "WATCHDOG=1",
                "WATCHDOG=1",
                "STATUS=a b",
                "STOPPING=1",
            ];
            assert_eq!(received(&socket), expected, "{address}");
        }
    }

    /// Checks that nobody is told anything who didn't ask for it: without a socket,
    /// without a watchdog, or with that of another process.
    #[test]
    fn nobody_is_told_unasked() {
        let mut alone = started_with(&[("WATCHDOG_USEC", "1")]);
        alone.ready();
        assert!(alone.manager.is_none() && alone.period.is_none());
        let socket = ("NOTIFY_SOCKET", "@x");
        let others = started_with(&[socket, ("WATCHDOG_USEC", "10"), ("WATCHDOG_PID", "1")]);
        assert!(others.manager.is_some() && others.period.is_none());
        let own = std::process::id().to_string();
        let ours = started_with(&[socket, ("WATCHDOG_USEC", "10"), ("WATCHDOG_PID", &own)]);
        assert_eq!(ours.period, Some(Duration::from_micros(5)));
        assert_eq!(started_with(&[socket]).period, None);
    }
}
