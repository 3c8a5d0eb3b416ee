use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;
use crate::prometheus::samples::snapshot;

fn started(token: Option<&str>) -> (Server, Arc<Shared>) {
    let token = token.map(|token| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), token).expect("written");
        crate::prometheus::guard::Token::read(file.path()).expect("a token")
    });
    let shared = Arc::new(Shared {
        token,
        ..Shared::default()
    });
    shared.board.publish(snapshot("cart"));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(any, None, Arc::clone(&shared)).expect("a server");
    (server, shared)
}

fn connected(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("connected");
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).expect("a limit");
    stream
}

/// A whole answer to a request, as bytes.
fn ask(server: &Server, request: &str) -> Vec<u8> {
    let mut stream = connected(server);
    let request = format!("{request}Host: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}

fn text(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).into_owned()
}

/// Checks paths, methods and formats, each by status, type and content.
#[test]
fn requests_are_answered() {
    let (server, shared) = started(None);
    let get = |rest: &str| text(&ask(&server, &format!("GET {rest}")));
    let metrics = get("/metrics HTTP/1.1\r\n");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("x_calls_total{job=\"cart\""), "{metrics}");
    let open = get("/metrics?x=1 HTTP/1.1\r\nAccept: application/openmetrics-text\r\n");
    assert!(open.ends_with("# EOF\n"), "{open}");
    let packed = ask(
        &server,
        "GET /metrics HTTP/1.1\r\nAccept-Encoding: gzip\r\n",
    );
    let body = packed
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a body")
        + 4;
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&packed[body..])
        .read_to_string(&mut plain)
        .expect("gzip");
    assert!(metrics.ends_with(&plain) && plain.len() > 100, "{plain}");
    let head = text(&ask(&server, "HEAD /metrics HTTP/1.1\r\n"));
    assert!(
        head.ends_with("\r\n\r\n") && head.contains("200 OK"),
        "{head}"
    );
    assert!(get("/nothing HTTP/1.1\r\n").contains(" 404 "));
    assert!(text(&ask(&server, "POST /metrics HTTP/1.1\r\n")).contains(" 405 "));
    assert!(get("/healthz HTTP/1.1\r\n").ends_with("ok\n"));
    assert!(get("/readyz HTTP/1.1\r\n").contains(" 503 "));
    shared.health.observing(vec!["tcp: blind".to_owned()]);
    let ready = get("/readyz HTTP/1.1\r\n");
    assert!(ready.contains(" 200 ") && ready.ends_with("degraded: tcp: blind\n"));
    // Every scrape is of the newest.
    shared.board.publish(snapshot("other"));
    assert!(!get("/metrics HTTP/1.1\r\n").contains("job=\"cart\""));
}

/// Checks that metrics are for those who show the token, and health for all.
#[test]
fn a_token_is_asked_for() {
    let (server, _) = started(Some("s3cret\n"));
    let get = |rest: &str| text(&ask(&server, &format!("GET {rest}")));
    let refused = get("/metrics HTTP/1.1\r\n");
    assert!(
        refused.contains(" 401 ") && !refused.contains("cart"),
        "{refused}"
    );
    let shown = get("/metrics HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n");
    assert!(shown.contains(" 200 ") && shown.contains("cart"));
    assert!(get("/healthz HTTP/1.1\r\n").contains(" 200 "));
}

/// Checks that heads that are too large, have too many headers or are none are refused, and
/// that many idle connections keep nobody out.
#[test]
fn hostile_requests_keep_nobody_out() {
    let (server, _) = started(None);
    let long = "x".repeat(HEAD_BYTES * 4);
    let many: String = (0..HEADERS * 2).map(|n| format!("X-{n}: 1\r\n")).collect();
    for hostile in [
        format!("GET /metrics HTTP/1.1\r\nX: {long}\r\n\r\n"),
        format!("GET /metrics HTTP/1.1\r\n{many}\r\n"),
        format!("GET /{long} HTTP/1.1\r\n\r\n"),
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let mut stream = connected(&server);
        // It may be closed before all is sent.
        let _ = stream.write_all(hostile.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = text(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    let mut idle: Vec<TcpStream> = (0..CONNECTIONS * 3).map(|_| connected(&server)).collect();
    for stream in &mut idle {
        let _ = stream.write_all(b"GET /metrics HT");
    }
    let metrics = text(&ask(&server, "GET /metrics HTTP/1.1\r\n"));
    assert!(metrics.contains("x_calls_total"), "{metrics}");
    // One that never says what it wants is closed.
    let mut last = idle.pop().expect("a connection");
    let mut rest = Vec::new();
    let _ = last.read_to_end(&mut rest);
}

/// Checks that an address that is taken is said in one line, and is free again after.
#[test]
fn an_address_has_one_server() {
    let (server, shared) = started(None);
    let address = server.address();
    let error = Server::start(address, None, Arc::clone(&shared)).expect_err("taken");
    let line = format!("{error:#}");
    assert!(
        line.contains(&address.to_string()) && !line.contains('\n'),
        "{line}"
    );
    drop(server);
    let begin = Instant::now();
    while Server::start(address, None, Arc::clone(&shared)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "not free");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Checks that the server speaks TLS by a client that trusts its certificate only.
#[test]
fn tls() {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a key");
    let folder = tempfile::tempdir().expect("a folder");
    let (pem, private) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&pem, key.cert.pem()).expect("written");
    std::fs::write(&private, key.signing_key.serialize_pem()).expect("written");
    let config = crate::prometheus::tls::server_config(&pem, &private).expect("a configuration");
    let shared = Arc::new(Shared::default());
    shared.board.publish(snapshot("cart"));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(any, Some(config), shared).expect("a server");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let mut session = rustls::ClientConnection::new(Arc::new(client), name).expect("a session");
    let mut stream = connected(&server);
    let mut tls = rustls::Stream::new(&mut session, &mut stream);
    tls.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer);
    assert!(text(&answer).contains("x_calls_total"), "{}", text(&answer));
    let plain = ask(&server, "GET /metrics HTTP/1.1\r\n");
    assert!(!text(&plain).contains("x_calls_total"));
}
