//! Look-ups of names as any program does them.

use anyhow::{Context, Result, ensure};
use observer_testkit::requests::{Attributed, Daemon, Scene, Span, kind, said};

use crate::{nothing_lost, turn};

/// Checks look-ups that succeed, over UDP and over TCP, that fail, and that
/// nobody answers: a span for each question, and the histogram of them all.
#[test]
fn getaddrinfo() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let scene = Scene::new()?;
    let daemon = Daemon::start(&scene)?;
    let mut dns = scene.own("observer-dns")?;
    let names = ["known.test", "missing.test", "long.test", "silent.test"];
    let found = said(&scene.run(dns.args(names))?);
    let addresses = "192.0.2.1 2001:db8::1";
    let expected =
        format!("known.test {addresses}\nmissing.test \nlong.test {addresses}\nsilent.test \n");
    assert_eq!(found, expected, "the resolver itself");
    // A question without an answer is over after some seconds.
    std::thread::sleep(std::time::Duration::from_secs(6));
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let spans: Vec<_> = seen
        .spans
        .iter()
        .filter(|s| s.kind == kind::CLIENT && !s.text("dns.question.name").is_empty())
        .collect();
    for name in names {
        let mine: Vec<_> = spans
            .iter()
            .filter(|s| s.text("dns.question.name") == name)
            .collect();
        // A and AAAA; glibc may ask again over TCP, or after silence.
        ensure!(mine.len() >= 2, "{name}: {mine:#?}");
        ensure!(
            mine.iter().all(|s| s.int("server.port") == Some(53)),
            "{mine:#?}"
        );
        let error = |wanted: &str| mine.iter().all(|s| s.text("error.type") == wanted);
        match name {
            "missing.test" => ensure!(error("NXDOMAIN"), "{mine:#?}"),
            "silent.test" => ensure!(error("timeout"), "{mine:#?}"),
            // Cut over UDP, which makes glibc turn to TCP at once: the other
            // question's answer stays unread.
            "long.test" => {
                let tcp = |s: &&&&Span| s.text("network.transport") == "tcp";
                let good = mine
                    .iter()
                    .filter(tcp)
                    .all(|s| s.text("error.type").is_empty());
                ensure!(good && mine.iter().filter(tcp).count() == 2, "{mine:#?}");
            }
            _ => ensure!(error(""), "{mine:#?}"),
        }
    }
    let tcp = spans
        .iter()
        .filter(|s| s.text("network.transport") == "tcp");
    let tcp: Vec<_> = tcp.map(|s| s.text("dns.question.name")).collect();
    ensure!(
        !tcp.is_empty() && tcp.iter().all(|name| *name == "long.test"),
        "{tcp:?}"
    );
    let counted: f64 = seen.series("dns.lookup.duration").map(|p| p.value).sum();
    assert_eq!(counted as usize, spans.len());
    let with_error = seen
        .series("dns.lookup.duration")
        .find(|p| p.text("error.type") == "NXDOMAIN");
    with_error.context("NXDOMAIN among the metrics")?;
    Ok(())
}
