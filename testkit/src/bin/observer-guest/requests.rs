//! Requests of curl to nginx, plain and over TLS: each with a number of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use observer_testkit::packages::program;
use observer_testkit::requests::{Daemon, Scene, Seen, Span, free_port, kind};

use crate::figures::Figures;
use crate::prepare;

/// Requests of each kind.
pub const COUNT: u64 = 50;

/// How often it is looked whether the daemon sees what goes over TLS, and how long it
/// is waited each time.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_secs(3);

/// nginx, which listens on two ports.
pub struct Servers {
    plain: u16,
    tls: u16,
}

impl Servers {
    /// Starts it.
    pub fn start(scene: &mut Scene) -> Result<Self> {
        let servers = Self {
            plain: free_port()?,
            tls: free_port()?,
        };
        let folder = prepare::folder()?;
        let http = format!(
            "ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;
             server {{ listen 127.0.0.1:{1}; }}
             server {{ listen 127.0.0.1:{2} ssl; }}",
            folder.display(),
            servers.plain,
            servers.tls
        );
        scene
            .nginx("worker_processes 1;", &http, servers.plain)
            .context("nginx")?;
        Ok(servers)
    }

    /// Asks for something below a path, by numbers like `[1-9]`.
    pub fn ask(&self, scene: &Scene, is_tls: bool, path: &str) -> Result<()> {
        let (scheme, port) = match is_tls {
            true => ("https", self.tls),
            false => ("http", self.plain),
        };
        let mut curl = program("curl", "curl")?;
        curl.args(["-s", "-S", "-k", "--http1.1", "-o", "/dev/null"]);
        curl.arg(format!("{scheme}://127.0.0.1:{port}/{path}"));
        scene.run(&mut curl).map(drop)
    }
}

/// Asks, over TLS once the daemon sees both ends: it comes to a library that is new to
/// it a moment later.
pub fn load(daemon: &Daemon, scene: &Scene, servers: &Servers) -> Result<()> {
    servers.ask(scene, false, &format!("plain/[1-{COUNT}]"))?;
    let ends = [kind::SERVER, kind::CLIENT];
    for _ in 0..TRIES {
        servers.ask(scene, true, "warm")?;
        std::thread::sleep(PAUSE);
        let seen = daemon.seen()?;
        if ends
            .iter()
            .all(|kind| !seen.of(*kind, servers.tls).is_empty())
        {
            break;
        }
    }
    servers.ask(scene, true, &format!("tls/[1-{COUNT}]"))
}

/// Compares with the spans that came: each number once, on each end.
pub fn compare(figures: &mut Figures, seen: &Seen, servers: &Servers) {
    // Where the kernel leaves out programs, one that sees a call of them is among all.
    let told = seen.lost(&["request_abandoned", "request_unparsed", "program_missed"]);
    let parts = [
        (servers.plain, "plain", "requests"),
        (servers.tls, "tls", "requests over TLS"),
    ];
    for (port, name, part) in parts {
        for (end, kind) in [("server", kind::SERVER), ("client", kind::CLIENT)] {
            let spans = seen.of(kind, port);
            let prefix = format!("/{name}/");
            let mut times: BTreeMap<u64, u64> = BTreeMap::new();
            for number in spans.iter().filter_map(|span| number(span, &prefix)) {
                *times.entry(number).or_default() += 1;
            }
            let once = times.values().filter(|times| **times == 1).count() as u64;
            let name = format!("{part}: seen once, {end}");
            figures.but_for(&name, once, COUNT, told);
        }
    }
}

fn number(span: &Span, prefix: &str) -> Option<u64> {
    span.path().strip_prefix(prefix)?.parse().ok()
}
