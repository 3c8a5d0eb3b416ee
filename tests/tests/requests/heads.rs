//! Heads of requests that are longer than usual: what decides is found wherever it is,
//! or the span says that something may be missing.

use anyhow::{Context, Result, ensure};
use observer_testkit::chain::source;
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, free_port, kind};

use crate::turn;

/// Checks curl, which sends a `traceparent` behind cookies of 200 bytes to 40 kB, to
/// node, which reads all at once, and nginx, which reads bit by bit: up to 32 KiB spans
/// of both ends are of the caller's trace and say nothing else; of longer heads they say
/// that they aren't known as a whole, and these are counted.
#[test]
fn context_behind_cookies() -> Result<()> {
    const COOKIES: [usize; 9] = [200, 3900, 4090, 6000, 8150, 12_000, 20_000, 30_000, 40_000];
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let nginx = free_port()?;
    let http = format!(
        "server {{ listen 127.0.0.1:{nginx}; large_client_header_buffers 8 64k;
           location / {{ return 204; }} }}"
    );
    scene.nginx("worker_processes 1;", &http, nginx)?;
    let mut node = program("node", "nodejs")?;
    node.arg("--max-http-header-size=65536");
    let node = scene.start_with_port(node.arg(source("chunks.js")))?;
    let daemon = Daemon::start(&scene)?;
    let mut asked = Vec::new();
    for port in [nginx, node] {
        for (number, length) in COOKIES.iter().enumerate() {
            // A body of letters that isn't to be taken for more of the head.
            let body = "A".repeat(if number % 2 == 0 { 0 } else { 100_000 });
            let file = scene.folder().join("upload");
            std::fs::write(&file, &body)?;
            let trace = format!("{:032x}", 0x0af7_0000 + usize::from(port) * 100 + number);
            let path = format!("/1/{port}-{number}");
            let mut curl = program("curl", "curl")?;
            curl.args(["-s", "-S", "-f", "-o", "/dev/null", "-H", "Expect:", "-H"]);
            curl.arg(format!("Cookie: a={}", "c".repeat(*length)));
            curl.arg("-H");
            curl.arg(format!("traceparent: 00-{trace}-b7ad6b7169203331-01"));
            if !body.is_empty() {
                curl.arg("--data-binary")
                    .arg(format!("@{}", file.display()));
            }
            curl.arg(format!("http://127.0.0.1:{port}{path}"));
            scene.run(&mut curl)?;
            asked.push((path, trace, *length, body.len()));
        }
    }
    let seen = daemon.finish()?;
    let mut partial = 0;
    for (path, trace, length, body) in &asked {
        for side in [kind::SERVER, kind::CLIENT] {
            let spans = seen.spans.iter().filter(|span| span.kind == side);
            let mut spans = spans.filter(|span| span.path() == path);
            let span = spans
                .next()
                .with_context(|| format!("no {path} of kind {side}"))?;
            ensure!(spans.next().is_none(), "several of {path}");
            let told: String = span.trace.iter().map(|b| format!("{b:02x}")).collect();
            if *length < 32_000 {
                assert_eq!(told, *trace, "{length}: {span:?}");
                assert_eq!(span.text("observer.head"), "", "{length}: {span:?}");
                let size = i64::try_from(*body)?;
                assert_eq!(span.int("http.request.body.size"), Some(size), "{span:?}");
            } else {
                assert_eq!(span.text("observer.head"), "partial", "{span:?}");
                partial += 1;
            }
            let ok = [Some(200), Some(204)];
            ensure!(
                ok.contains(&span.int("http.response.status_code")),
                "{span:?}"
            );
        }
    }
    let mut losses = seen.losses();
    losses.retain(|cause, _| cause.contains("request"));
    let counted = losses
        .iter()
        .find(|(cause, _)| cause.contains("request_head_partial"));
    assert_eq!(
        counted.map(|(_, count)| *count),
        Some(partial),
        "{losses:?}"
    );
    assert_eq!(losses.len(), 1, "{losses:?}");
    Ok(())
}
