//! Answers in chunks, of which the last isn't captured.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_testkit::chain::source;
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, Span, kind};

use crate::{nothing_lost, turn};

/// Asks for a path and reads the answer up to its last chunk; the seconds that it took.
fn ask(connection: &mut TcpStream, path: &str) -> Result<f64> {
    let begin = Instant::now();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")?;
    let (mut answer, mut part) = (Vec::new(), vec![0; 65536]);
    while !answer.ends_with(b"\r\n0\r\n\r\n") {
        let came = connection.read(&mut part)?;
        ensure!(came > 0, "{path} ended early");
        answer.extend_from_slice(&part[..came]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{path} isn't there");
    Ok(begin.elapsed().as_secs_f64())
}

/// Checks node's answers of many chunks at once, in one part and in three, on
/// connections that stay open: each has its span within an interval or so, as long as
/// the client measured, and none stays among the active ones.
#[test]
fn ends_that_are_not_captured() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let mut node = program("node", "nodejs")?;
    let port = scene.start_with_port(node.arg(source("chunks.js")))?;
    let daemon = Daemon::start(&scene)?;
    let (mut asked, mut kept) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let parts = if number % 2 == 0 { 1 } else { 3 };
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        // The next request tells of the end of the one before it.
        for path in ["first", "last"].map(|it| format!("/{parts}/{it}-{number}")) {
            let took = ask(&mut connection, &path)?;
            asked.push((path, took));
        }
        kept.push(connection);
    }
    let wanted = asked.len();
    let spans = |span: &&Span| span.kind == kind::SERVER && span.int("server.port").is_some();
    daemon.wait_until(
        |seen| seen.spans.iter().filter(spans).count() >= wanted,
        || Ok(()),
    )?;
    // Figures are a second apart.
    std::thread::sleep(Duration::from_millis(2500));
    let seen = daemon.seen()?;
    let active: Vec<_> = seen.series("http.server.active_requests").collect();
    ensure!(!active.is_empty(), "no active requests were ever told");
    let open: f64 = active.iter().map(|point| point.value).sum();
    assert_eq!(open, 0.0, "{active:?}");
    drop(kept);
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    for (path, took) in &asked {
        let mut spans = seen.spans.iter().filter(|span| span.path() == path);
        let span = spans.next().with_context(|| format!("no {path}"))?;
        ensure!(spans.next().is_none(), "several of {path}");
        assert_eq!(span.int("http.response.status_code"), Some(200));
        let off = (span.seconds() - took).abs();
        ensure!(off < 1.0, "{path} took {took} s: {span:?}");
    }
    Ok(())
}
