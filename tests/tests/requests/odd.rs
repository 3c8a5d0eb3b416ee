//! Requests that don't begin or end as in the textbook.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, Seen, Span, free_port, kind};

use crate::{nothing_lost, turn};

/// The one span of this kind whose path is this.
fn at_path<'a>(seen: &'a Seen, port: u16, kind: i32, path: &str) -> Result<&'a Span> {
    let spans = seen.of(kind, port);
    let mut found = spans.into_iter().filter(|span| span.path() == path);
    let first = found.next();
    let spans = &seen.spans;
    let first = first.with_context(|| format!("no span of kind {kind} at {path}: {spans:#?}"))?;
    ensure!(found.next().is_none(), "several at {path}: {spans:#?}");
    Ok(first)
}

/// Checks that an error of PostgreSQL's behind rows that nobody captures is an error
/// at both ends, and that as many rows without one are none, against psql.
#[test]
fn errors_behind_rows() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let postgres = scene.postgres()?;
    let daemon = Daemon::start(&scene)?;
    for number in 0..8 {
        // Rows of 2 kB, of which the 60th divides by zero in every second one.
        let zero = if number % 2 == 0 { 60 } else { 6000 };
        let text = format!(
            "SELECT repeat('x', 2000), 1 / ({zero} - g) FROM generate_series(1, 120) AS t{number}(g)"
        );
        let mut psql = postgres.client("psql");
        psql.args(["-q", "-A", "-t", "-c", &text]);
        let output = scene.join(&mut psql)?.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            said.contains("division by zero") == (number % 2 == 0),
            "{said}"
        );
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    for number in 0..8 {
        let error = if number % 2 == 0 { "22012" } else { "" };
        for kind in [kind::CLIENT, kind::SERVER] {
            let spans = seen.of(kind, postgres.port);
            let mut mine = spans
                .iter()
                .filter(|span| span.text("db.query.text").contains(&format!("t{number}")));
            let span = mine
                .next()
                .with_context(|| format!("t{number}: {spans:#?}"))?;
            ensure!(mine.next().is_none(), "several of t{number}");
            assert_eq!(span.text("error.type"), error, "{span:?}");
            assert_eq!(span.status == 2, number % 2 == 0, "{span:?}");
            assert_eq!(span.text("observer.outcome"), "", "{span:?}");
        }
    }
    Ok(())
}

/// Checks that a request which its client gave up (nginx logs 499) is no error of the
/// server's, and one which the server gave up is one of the client's.
#[test]
fn clients_that_give_up() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    // Whoever connects here waits.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let (behind, port) = (silent.local_addr()?.port(), free_port()?);
    let log = scene.folder().join("access");
    let http = format!(
        "log_format brief '$request_uri $status';
         server {{ listen 127.0.0.1:{port}; access_log {} brief;
           location /wait {{ proxy_pass http://127.0.0.1:{behind}; }}
           location /drop {{ return 444; }} }}",
        log.display()
    );
    scene.nginx("worker_processes 1;", &http, port)?;
    let daemon = Daemon::start(&scene)?;
    let paths = |what: &str| (0..5).map(|n| format!("/{what}/{n}")).collect::<Vec<_>>();
    let (given_up, dropped) = (paths("wait"), paths("drop"));
    for path in given_up.iter().chain(&dropped) {
        let mut curl = program("curl", "curl")?;
        curl.args(["-s", "-m", "0.3", "-o", "/dev/null"]);
        curl.arg(format!("http://127.0.0.1:{port}{path}"));
        let status = scene.join(&mut curl)?.status()?;
        ensure!(!status.success(), "{path} was answered");
    }
    let seen = daemon.finish()?;
    let logged = std::fs::read_to_string(log)?;
    for path in &given_up {
        ensure!(logged.contains(&format!("{path} 499")), "{logged}");
        let span = at_path(&seen, port, kind::SERVER, path)?;
        ensure!(span.status != 2, "{span:?}");
        assert_eq!(span.text("error.type"), "", "{span:?}");
    }
    for path in &dropped {
        for kind in [kind::SERVER, kind::CLIENT] {
            let span = at_path(&seen, port, kind, path)?;
            assert_eq!(span.text("error.type"), "connection_closed", "{span:?}");
        }
    }
    Ok(())
}

/// Checks methods that RFC 9110 doesn't have, each as the first request of its
/// connection, and a target of raw bytes, against nginx's log.
#[test]
fn methods_and_targets() -> Result<()> {
    const METHODS: [&str; 7] = [
        "PROPFIND", "PURGE", "MKCOL", "M-SEARCH", "REPORT", "LOCK", "COPY",
    ];
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = free_port()?;
    let log = scene.folder().join("access");
    let http = format!(
        "log_format brief '$request_method $uri $status';
         server {{ listen 127.0.0.1:{port}; access_log {} brief; location / {{ return 204; }} }}",
        log.display()
    );
    scene.nginx("worker_processes 1;", &http, port)?;
    let daemon = Daemon::start(&scene)?;
    for (number, method) in METHODS.iter().enumerate() {
        let mut curl = program("curl", "curl")?;
        curl.args(["-s", "-o", "/dev/null", "-X", method]);
        curl.arg(format!("http://127.0.0.1:{port}/m/{number}"));
        scene.run(&mut curl)?;
    }
    // curl escapes such bytes itself.
    let mut raw = TcpStream::connect(("127.0.0.1", port))?;
    raw.write_all(b"GET /caf\xe9 HTTP/1.1\r\nConnection: close\r\n")?;
    write!(raw, "Host: 127.0.0.1:{port}\r\n\r\n")?;
    raw.read_to_end(&mut Vec::new())?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let logged = std::fs::read_to_string(log)?;
    for (number, method) in METHODS.iter().enumerate() {
        let path = format!("/m/{number}");
        ensure!(logged.contains(&format!("{method} {path} 204")), "{logged}");
        for kind in [kind::SERVER, kind::CLIENT] {
            let span = at_path(&seen, port, kind, &path)?;
            assert_eq!(span.text("http.request.method"), "_OTHER");
            assert_eq!(span.text("http.request.method_original"), *method);
            assert_eq!(span.int("http.response.status_code"), Some(204));
        }
    }
    // The test itself isn't in the scene.
    let span = at_path(&seen, port, kind::SERVER, "/caf%E9")?;
    assert_eq!(span.int("http.response.status_code"), Some(204));
    Ok(())
}
