//! HTTP/1.1: nothing is missed, nothing is counted twice, nobody is taken for
//! somebody else.

use std::fs;

use anyhow::{Context, Result, ensure};
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, Seen, free_port, kind, said};

use crate::{counts, nothing_lost, turn};

const DURATION: &str = "http.server.request.duration";

/// Bytes of a file that nginx has the kernel send.
const LARGE: usize = 1_000_000;

/// nginx that serves a file and logs `PORT STATUS METHOD` of each request.
fn static_server(scene: &mut Scene) -> Result<u16> {
    fs::write(scene.folder().join("index.html"), "hello\n".repeat(20))?;
    fs::write(scene.folder().join("large"), vec![b'x'; LARGE])?;
    let log = scene.folder().join("access");
    let port = free_port()?;
    let http = format!(
        "log_format peers '$remote_port $status $request_method';
         server {{ listen 127.0.0.1:{port}; if_modified_since before; access_log {} peers; location /empty {{ return 204; }}
           location /large {{ sendfile on; }} }}",
        log.display()
    );
    scene.nginx("worker_processes 2;", &http, port)?;
    Ok(port)
}

/// Runs ab with kept connections.
fn ab(scene: &Scene, requests: u32, url: &str) -> Result<()> {
    let mut ab = program("ab", "apache2-utils")?;
    let requests_text = requests.to_string();
    ab.args(["-q", "-k", "-c", "8", "-n", &requests_text, url]);
    let said = said(&scene.run(&mut ab)?);
    let complete = said
        .lines()
        .find_map(|l| l.strip_prefix("Complete requests:"));
    ensure!(complete.map(str::trim) == Some(&requests_text), "{said}");
    Ok(())
}

/// `(peer's port, status, method)` of each request, as nginx logged them.
fn logged(scene: &Scene) -> Result<Vec<(i64, i64, String)>> {
    let text = fs::read_to_string(scene.folder().join("access"))?;
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let mut next = || words.next().context("a word");
        Ok((next()?.parse()?, next()?.parse()?, next()?.to_owned()))
    };
    text.lines().map(parse).collect()
}

/// The same as spans tell it.
fn of_spans(seen: &Seen, port: u16) -> Vec<(i64, i64, String)> {
    let spans = seen.of(kind::SERVER, port);
    let row = |span: &&observer_testkit::requests::Span| {
        (
            span.int("network.peer.port").unwrap_or(0),
            span.int("http.response.status_code").unwrap_or(0),
            span.text("http.request.method").to_owned(),
        )
    };
    spans.iter().map(row).collect()
}

/// Checks that 1,000 requests are 1,000 spans on either end also where sockets
/// are found by their descriptors, as on kernels before 6.3.
#[test]
fn by_descriptor() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = static_server(&mut scene)?;
    let arguments = ["--probes", "requests", "--requests-by-descriptor", "true"];
    let daemon = Daemon::start_with(Some(&scene.cgroup()), "always_on", &arguments)?;
    fs::write(scene.folder().join("access"), "")?;
    ab(&scene, 1000, &format!("http://127.0.0.1:{port}/index.html"))?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let truth = logged(&scene)?;
    ensure!(truth.len() == 1000, "nginx knows of {}", truth.len());
    assert_eq!(counts(of_spans(&seen, port)), counts(truth));
    assert_eq!(seen.of(kind::CLIENT, port).len(), 1000);
    Ok(())
}

/// Checks that 20,000 requests of ab to nginx are 20,000 spans on either end,
/// with nginx's own statuses and peers, each server's the child of the client's
/// with the same ports; and that the metrics have the same numbers.
#[test]
fn every_request_is_a_span() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = static_server(&mut scene)?;
    let daemon = Daemon::start(&scene)?;
    let url = format!("http://127.0.0.1:{port}");
    fs::write(scene.folder().join("access"), "")?;
    ab(&scene, 19_000, &format!("{url}/index.html"))?;
    ab(&scene, 1000, &format!("{url}/missing"))?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let truth = logged(&scene)?;
    ensure!(truth.len() == 20_000, "nginx knows of {}", truth.len());
    let spans = of_spans(&seen, port);
    assert_eq!(spans.len(), 20_000);
    assert_eq!(counts(spans), counts(truth));
    for (status, count) in [("200", 19_000), ("404", 1000)] {
        for metric in [DURATION, "http.client.request.duration"] {
            let service = if metric == DURATION { "nginx" } else { "ab" };
            let with = [("http.response.status_code", status)];
            assert_eq!(seen.sum(metric, service, &with), count, "{metric} {status}");
        }
    }
    // 404 is an error of the client's, not of the server's.
    ensure!(
        seen.of(kind::SERVER, port)
            .iter()
            .all(|span| span.status != 2)
    );
    let clients = seen.of(kind::CLIENT, port);
    assert_eq!(clients.len(), 20_000);
    let by_id = seen.by_id();
    for span in seen.of(kind::SERVER, port) {
        let parent = by_id.get(span.parent.as_slice()).context("its parent")?;
        ensure!(
            parent.kind == kind::CLIENT && parent.trace == span.trace,
            "{parent:?}"
        );
        ensure!(
            parent.int("http.response.status_code") == span.int("http.response.status_code"),
            "{parent:?} {span:?}"
        );
        // The answer is on its way before its call returns: when the server ends
        // depends on when it gets its CPU back, when it began does not.
        ensure!(
            parent.start <= span.start && span.start <= parent.end,
            "{parent:?} {span:?}"
        );
    }
    Ok(())
}

/// Checks that 100,000 requests are counted exactly though few of their spans
/// are kept, and that the slowest are among the exemplars.
#[test]
fn every_request_is_counted() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = static_server(&mut scene)?;
    let arguments = ["--probes", "requests"];
    let sampler = "parentbased_traceidratio=0.01";
    let daemon = Daemon::start_with(Some(&scene.cgroup()), sampler, &arguments)?;
    let url = format!("http://127.0.0.1:{port}");
    ab(&scene, 99_000, &format!("{url}/index.html"))?;
    ab(&scene, 1000, &format!("{url}/missing"))?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    assert_eq!(seen.sum(DURATION, "nginx", &[]), 100_000);
    let with = [("http.response.status_code", "404")];
    assert_eq!(seen.sum(DURATION, "nginx", &with), 1000);
    assert_eq!(seen.sum("http.client.request.duration", "ab", &[]), 100_000);
    let spans = seen.of(kind::SERVER, port);
    // 1 % by chance and 1 % for slowness (whose threshold has to be learnt).
    ensure!(
        (500..10_000).contains(&spans.len()),
        "{} spans",
        spans.len()
    );
    let exemplars: Vec<_> = seen.series(DURATION).flat_map(|p| &p.exemplars).collect();
    ensure!(!exemplars.is_empty(), "no exemplars");
    let by_id = seen.by_id();
    for (trace, span, value) in exemplars {
        let span = by_id
            .get(span.as_slice())
            .context("an exemplar's span is exported")?;
        ensure!(span.trace == *trace);
        ensure!(
            (span.seconds() - value).abs() < 1e-6,
            "{} {value}",
            span.seconds()
        );
    }
    Ok(())
}

/// Checks pipelined requests, answers in chunks, and answers that have no body
/// (HEAD, 204, 304), on connections that go on behind them.
#[test]
fn framing() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let own = scene.observer_server(None)?;
    let port = static_server(&mut scene)?;
    let daemon = Daemon::start(&scene)?;
    let arguments = [
        "--pipeline",
        "8",
        "--requests",
        "4000",
        "--connections",
        "4",
    ];
    let paths = [
        "--path",
        "/a",
        "--path",
        "/chunked",
        "--path",
        "/status/418",
    ];
    scene.load(own, &[&arguments[..], &paths].concat())?;
    let mut curl = program("curl", "curl")?;
    let url = format!("http://127.0.0.1:{port}");
    // One connection for all, which is only so if each answer's end is found.
    curl.args(["-s", "-I", &format!("{url}/index.html")]);
    let unchanged = ["-H", "If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT"];
    let expecting = ["-H", "Expect: 100-continue", "-d", "x=1"];
    for (path, more) in [
        ("/index.html", &unchanged[..]),
        ("/empty", &[]),
        ("/large", &[]),
        ("/index.html", &expecting),
    ] {
        curl.args(["--next", "-s", "-o", "/dev/null"])
            .args(more)
            .arg(format!("{url}{path}"));
    }
    scene.run(&mut curl)?;
    let seen = daemon.finish()?;
    let expected = [
        ("/a", 200, 1334),
        ("/chunked", 200, 1333),
        ("/status/418", 418, 1333),
    ];
    let expected = expected.map(|(path, status, count)| ((path.to_owned(), status), count));
    let found = |side| {
        counts(seen.of(side, own).iter().map(|span| {
            let status = span.int("http.response.status_code").unwrap_or(0);
            (span.path().to_owned(), status)
        }))
    };
    assert_eq!(found(kind::SERVER), expected.clone().into());
    // A client that reads many answers at once: heads among them that weren't
    // captured are lost, and counted.
    let mut losses = seen.losses();
    let unseen = losses.remove("observer.probe.lost requests request_abandoned");
    losses.retain(|cause, _| !cause.contains("switch"));
    ensure!(losses.is_empty(), "lost: {losses:?}");
    let clients = found(kind::CLIENT);
    let all: u64 = clients.values().sum();
    assert_eq!(all + unseen.unwrap_or(0), 4000, "{clients:?}");
    for (answer, count) in expected {
        let seen = clients.get(&answer).copied().unwrap_or(0);
        ensure!(
            seen > 0 && seen <= count,
            "{seen} × {answer:?} at the client"
        );
    }
    let mut found = of_spans(&seen, port);
    found.sort();
    let mut truth = logged(&scene)?;
    truth.retain(|(peer, ..)| found.iter().any(|(p, ..)| p == peer));
    truth.sort();
    assert_eq!(found, truth);
    let statuses: Vec<_> = found
        .iter()
        .map(|(_, status, method)| (*status, method.as_str()))
        .collect();
    let expected = [
        (200, "GET"),
        (200, "HEAD"),
        (204, "GET"),
        (304, "GET"),
        (405, "POST"),
    ];
    assert_eq!(statuses, expected);
    for side in [kind::SERVER, kind::CLIENT] {
        let spans = seen.of(side, port);
        let large = spans.iter().find(|span| span.path() == "/large");
        let size = large.and_then(|span| span.int("http.response.body.size"));
        assert_eq!(size, Some(LARGE as i64), "kind {side}");
    }
    Ok(())
}

/// Checks connections that are older than the daemon: they are taken up at their
/// next request, and none is missed from then on.
#[test]
fn older_connections() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    let mut load = scene.own("observer-load")?;
    load.arg(format!("127.0.0.1:{port}"));
    // It goes on until it is stopped.
    load.args(["--connections", "2", "--requests", "1000000"]);
    load.args(["--rate", "200", "--path", "/n/{}"]);
    scene.start(&mut load)?;
    let daemon = Daemon::start(&scene)?;
    let enough = |seen: &Seen| seen.of(kind::SERVER, port).len() > 100;
    daemon.wait_until(enough, || Ok(()))?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    for side in [kind::SERVER, kind::CLIENT] {
        // Each connection's, which are every second number.
        for half in 0..2 {
            let mut numbers = Vec::new();
            for span in seen.of(side, port) {
                let number: u32 = span.path().trim_start_matches("/n/").parse()?;
                if number % 2 == half {
                    numbers.push(number);
                }
            }
            let first = numbers.iter().min().copied().context("spans")?;
            let last = numbers.iter().max().copied().context("spans")?;
            ensure!(first > 1, "the daemon was there from the beginning");
            assert_eq!(
                counts(numbers),
                counts((first..=last).step_by(2)),
                "kind {side}"
            );
        }
    }
    Ok(())
}

/// Checks that secrets don't leave the daemon: query values, user info,
/// authorization and cookies.
#[test]
fn secrets_stay() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    let daemon = Daemon::start_with(
        Some(&scene.cgroup()),
        "always_on",
        &["--probes", "requests,cpu"],
    )?;
    let mut curl = program("curl", "curl")?;
    curl.args([
        "-s",
        "-u",
        "user:hush1",
        "-b",
        "session=hush2",
        "-H",
        "X-Api-Key: hush3",
    ]);
    curl.args(["-d", "body=hush4"]);
    curl.arg(format!(
        "http://127.0.0.1:{port}/users/4711?token=hush5&b=hush6"
    ));
    scene.run(&mut curl)?;
    let seen = daemon.finish()?;
    let spans = seen.of(kind::SERVER, port);
    let [span] = spans[..] else {
        anyhow::bail!("{} spans", spans.len());
    };
    assert_eq!(span.path(), "/users/4711");
    ensure!(span.text("url.query").contains("token="), "{span:?}");
    assert_eq!(span.text("http.route"), "/users/{id}");
    assert_eq!(span.name, "POST /users/{id}");
    ensure!(!format!("{seen:?}").contains("hush"), "{seen:?}");
    // Metrics have routes, not paths.
    let point = seen.series(DURATION).next().context("a point")?;
    assert_eq!(point.text("http.route"), "/users/{id}");
    ensure!(!format!("{:?}", seen.points).contains("4711"));
    Ok(())
}
