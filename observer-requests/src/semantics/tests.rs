use observer_common::workload::WorkloadId;
use std::sync::Arc;

use observer_common::requests::{Protocol, ThreadClock};

use super::*;
use crate::call::{Asked, Db, Dns, Failure, Http, HttpHead, Rpc};
use crate::redact::REDACTED;
use crate::routes::Routes;
use observer_signals::{Attribute, Value};

fn endpoints(tls: bool) -> Arc<Endpoints> {
    Arc::new(Endpoints {
        local: Some(([10, 0, 0, 1].into(), 8080)),
        peer: Some(([10, 0, 0, 2].into(), 40000)),
        client: None,
        transport: Transport::Tcp,
        tls,
        protocol: Protocol::Http1,
    })
}

fn finished(role: Role, call: Call) -> Finished {
    Finished {
        workload: WorkloadId(1),
        tgid: 100,
        tid: 101,
        role,
        trace_id: [1; 16],
        span_id: [2; 8],
        parent_span_id: [0; 8],
        parent: Parent::Root,
        begun: 1_000_000,
        answered: None,
        ended: 3_000_000,
        call,
        route: None,
        endpoints: endpoints(false),
        clock: None,
        waited_for: vec![],
        retransmits: 0,
        sampled: true,
    }
}

fn make(finished: &Finished) -> Span {
    let resource = SharedResource::default();
    span(
        finished,
        WallClock::ahead_by(1_790_000_000_000_000_000),
        resource,
        &Redactor::default(),
    )
}

/// A span's attributes as `key=value`, without those that all have.
fn told(span: &Span) -> Vec<String> {
    let common = [
        "network.transport",
        "network.peer.",
        "process.pid",
        "thread.id",
    ];
    let others = |a: &&Attribute| !common.iter().any(|key| a.key.starts_with(key));
    let mut told: Vec<String> = span.attributes.iter().filter(others).map(text).collect();
    told.sort();
    told
}

fn text(attribute: &Attribute) -> String {
    let value = match &attribute.value {
        Value::String(s) => s.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Double(d) => d.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Strings(list) => list.join("|"),
        Value::Doubles(list) => format!("{list:?}"),
    };
    format!("{}={value}", attribute.key)
}

fn http() -> Http {
    Http {
        head: Arc::new(HttpHead {
            target: "/users/42?token=abc".to_owned(),
            host: Some("example.com:8080".into()),
            user_agent: Some("curl/8".into()),
            ..HttpHead::default()
        }),
        status: Some(200),
        ..Http::default()
    }
}

/// Checks an HTTP server's span against the conventions' table.
#[test]
fn http_server() {
    let mut finished = finished(Role::Server, Call::Http(http()));
    finished.route = Some("/users/{id}".into());
    let span = make(&finished);
    assert_eq!(span.name, "GET /users/{id}");
    assert_eq!(span.kind, SpanKind::Server);
    assert_eq!(span.status, SpanStatus::Unset);
    assert_eq!(span.end - span.start, 2_000_000);
    assert_eq!(
        told(&span),
        [
            "client.address=10.0.0.2",
            "http.request.method=GET",
            "http.response.status_code=200",
            "http.route=/users/{id}",
            "network.protocol.name=http",
            "network.protocol.version=1.1",
            "server.address=example.com",
            "server.port=8080",
            "url.path=/users/42",
            "url.query=token=REDACTED",
            "url.scheme=http",
            "user_agent.original=curl/8",
        ]
    );
    let all: Vec<String> = span.attributes.iter().map(text).collect();
    for common in [
        "network.transport=tcp",
        "network.peer.address=10.0.0.2",
        "network.peer.port=40000",
        "process.pid=100",
        "thread.id=101",
    ] {
        assert!(all.contains(&common.to_owned()), "{common}");
    }
}

/// Checks an HTTP client's span: the whole URL, no route.
#[test]
fn http_client() {
    let call = Http {
        head: Arc::new(HttpHead {
            target: "http://joe:pw@x/users/42?token=abc".to_owned(),
            method: Method::Other,
            ..HttpHead::default()
        }),
        status: None,
        failure: Some(Failure::Closed),
        request_size: Some(7),
        ..http()
    };
    let mut finished = finished(Role::Client, Call::Http(call));
    finished.endpoints = endpoints(true);
    finished.route = Some("/users/{id}".into());
    let span = make(&finished);
    assert_eq!(span.name, "HTTP /users/{id}");
    assert_eq!(span.kind, SpanKind::Client);
    assert_eq!(
        span.status,
        SpanStatus::Error("the connection ended before the answer".to_owned())
    );
    assert_eq!(
        told(&span),
        [
            "error.type=connection_closed",
            "http.request.body.size=7",
            "http.request.method=_OTHER",
            "network.protocol.name=http",
            "network.protocol.version=1.1",
            "server.address=x",
            "server.port=443",
            "url.full=https://REDACTED:REDACTED@x/users/42?token=REDACTED",
            "url.scheme=https",
            "url.template=/users/{id}",
        ]
    );
}

/// Checks gRPC's span, and that of a database, and of a look-up.
#[test]
fn rpc_database_dns() {
    let call = Rpc {
        service: "shop.Orders".into(),
        method: "Get".into(),
        host: Some("orders:50051".into()),
        status: Some(5),
        ..Rpc::default()
    };
    let span = make(&finished(Role::Client, Call::Rpc(call)));
    assert_eq!(span.name, "shop.Orders/Get");
    assert_eq!(span.status, SpanStatus::Error(String::new()));
    assert_eq!(
        told(&span),
        [
            "error.type=NOT_FOUND",
            "network.protocol.name=http",
            "network.protocol.version=2",
            "rpc.method=shop.Orders/Get",
            "rpc.response.status_code=NOT_FOUND",
            "rpc.system.name=grpc",
            "server.address=orders",
            "server.port=50051",
        ]
    );

    let call = Db {
        system: Protocol::Postgres,
        asked: Arc::new(Asked {
            operation: "SELECT".into(),
            summary: "SELECT users".into(),
            text: Some("SELECT * FROM users WHERE id = ?".into()),
            collection: Some("users".into()),
            batch: Some(2),
        }),
        namespace: Some("shop".into()),
        error: Some("42P01".to_owned()),
        rows: Some(3),
        cache: None,
        failure: None,
        unseen: false,
    };
    let span = make(&finished(Role::Client, Call::Db(call)));
    assert_eq!(span.name, "SELECT users");
    assert_eq!(
        told(&span),
        [
            "db.collection.name=users",
            "db.namespace=shop",
            "db.operation.batch.size=2",
            "db.operation.name=SELECT",
            "db.query.summary=SELECT users",
            "db.query.text=SELECT * FROM users WHERE id = ?",
            "db.response.returned_rows=3",
            "db.response.status_code=42P01",
            "db.system.name=postgresql",
            "error.type=42P01",
            "server.address=10.0.0.2",
            "server.port=40000",
        ]
    );

    let call = Dns {
        name: "nowhere.example".to_owned(),
        question: "AAAA".into(),
        code: Some(3),
        answers: vec!["a.example".to_owned(), "::1".to_owned()],
        failure: None,
    };
    let span = make(&finished(Role::Client, Call::Dns(call)));
    assert_eq!(span.name, "DNS lookup AAAA");
    assert_eq!(
        told(&span),
        [
            "dns.answers=a.example|::1",
            "dns.question.name=nowhere.example",
            "error.type=NXDOMAIN",
            "network.protocol.name=dns",
            "observer.dns.question.type=AAAA",
            "observer.dns.response_code=NXDOMAIN",
            "server.address=10.0.0.2",
            "server.port=40000",
        ]
    );
}

/// Checks what is an error on which side, and what it is called.
#[test]
fn errors() {
    use Role::{Client, Server};
    let http = |status, failure| {
        Call::Http(Http {
            status,
            failure,
            ..Http::default()
        })
    };
    let rpc = |status, http_status, failure| {
        Call::Rpc(Rpc {
            status,
            http_status,
            failure,
            ..Rpc::default()
        })
    };
    let dns = |code, failure| {
        Call::Dns(Dns {
            code,
            failure,
            ..Dns::default()
        })
    };
    let db = |error: Option<&str>| {
        Call::Db(Db {
            system: Protocol::Redis,
            asked: Arc::new(Asked {
                operation: "GET".into(),
                summary: "GET".into(),
                ..Asked::default()
            }),
            namespace: None,
            error: error.map(str::to_owned),
            rows: None,
            cache: None,
            failure: None,
            unseen: false,
        })
    };
    let table = [
        (http(Some(200), None), Server, None),
        (http(Some(404), None), Server, None),
        (http(Some(404), None), Client, Some("404")),
        (http(Some(418), None), Client, Some("418")),
        (http(Some(500), None), Server, Some("500")),
        (http(None, None), Server, None),
        (http(None, Some(Failure::Cancelled)), Client, None),
        (http(None, Some(Failure::Timeout)), Client, Some("timeout")),
        (
            http(Some(200), Some(Failure::Reset(7))),
            Client,
            Some("REFUSED_STREAM"),
        ),
        (http(None, Some(Failure::Reset(99))), Server, Some("_OTHER")),
        (
            http(Some(200), Some(Failure::Closed)),
            Server,
            Some("connection_closed"),
        ),
        (rpc(Some(0), None, None), Client, None),
        (rpc(Some(5), None, None), Server, None),
        (rpc(Some(5), None, None), Client, Some("NOT_FOUND")),
        (rpc(Some(13), None, None), Server, Some("INTERNAL")),
        (rpc(Some(1), None, None), Server, None),
        (rpc(Some(77), None, None), Client, Some("77")),
        (rpc(None, Some(503), None), Client, Some("UNAVAILABLE")),
        (
            rpc(None, None, Some(Failure::Closed)),
            Client,
            Some("UNAVAILABLE"),
        ),
        (
            rpc(None, None, Some(Failure::Closed)),
            Server,
            Some("connection_closed"),
        ),
        (
            rpc(None, None, Some(Failure::Timeout)),
            Server,
            Some("DEADLINE_EXCEEDED"),
        ),
        (rpc(None, None, None), Client, None),
        (dns(Some(0), None), Client, None),
        (dns(Some(3), None), Client, Some("NXDOMAIN")),
        (dns(Some(3), None), Server, None),
        (dns(Some(2), None), Server, Some("SERVFAIL")),
        (dns(Some(200), None), Client, Some("RCODE200")),
        (dns(None, Some(Failure::Timeout)), Client, Some("timeout")),
        (db(None), Client, None),
        (db(Some("WRONGTYPE")), Client, Some("WRONGTYPE")),
        (db(Some("a secret, maybe")), Client, Some("_OTHER")),
    ];
    for (call, role, expected) in table {
        assert_eq!(
            error_type(&call, role).as_deref(),
            expected,
            "{role:?} {call:?}"
        );
        assert_eq!(is_error(&call, role), expected.is_some());
        let span = make(&finished(role, call));
        assert_eq!(span.status != SpanStatus::Unset, expected.is_some());
    }
}

/// Checks that the six times add up to the thread's whole time, with sleep in
/// one of them, and that calls made are told.
#[test]
fn times_add_up() {
    let mut finished = finished(Role::Server, Call::Http(http()));
    let clock = ThreadClock {
        time: [
            100_000, 200_000, 300_000, 400_000, 500_000, 200_000, 300_000,
        ],
        syscalls: 7,
        switches: 3,
        major_faults: 1,
        padding: 0,
    };
    finished.clock = Some(clock);
    finished.waited_for = vec![("redis 127.0.0.1:6379".into(), 400_000), ("x".into(), 1)];
    finished.parent = Parent::HandedOver;
    let span = make(&finished);
    let of = |key: &str| match span.attributes.iter().find(|a| a.key == key) {
        Some(Attribute {
            value: Value::Double(d),
            ..
        }) => *d,
        other => panic!("{key}: {other:?}"),
    };
    let sum: f64 = span
        .attributes
        .iter()
        .filter(|a| a.key.starts_with("observer.time."))
        .map(|a| of(&a.key))
        .sum();
    let whole = (span.end - span.start) as f64 / 1e9;
    assert!((sum - whole).abs() < 1e-9, "{sum} of {whole}");
    assert_eq!(of("observer.time.other"), 0.0005);
    assert_eq!(of("observer.wait.sleep"), 0.0002);
    let all: Vec<String> = span.attributes.iter().map(text).collect();
    for expected in [
        "observer.syscalls=7",
        "observer.context_switches=3",
        "observer.major_faults=1",
        "observer.retransmits=0",
        "observer.downstream.names=redis 127.0.0.1:6379|x",
        "observer.downstream.times=[0.0004, 1e-9]",
        "observer.parent=handed_over",
    ] {
        assert!(all.contains(&expected.to_owned()), "{expected} in {all:?}");
    }
}

/// Checks that no secret survives in any attribute or name, wherever it stood.
#[test]
fn secrets_stay() {
    const SECRET: &str = "hunter2";
    let rules = ["*hunter2*".parse().expect("a rule")];
    let redact = Arc::new(Redactor::new(&rules, &["q".parse().expect("a key")]));
    let mut routes = Routes::configured(vec![], Arc::clone(&redact));
    let mut calls = Vec::new();
    for target in [
        "/a?x=hunter2",
        "/a?hunter2",
        "/a?hunter2=1",
        "/a?q=hunter2",
        "/a/hunter2/b",
        "/a/x-hunter2-y.js",
        "/hunter2@example.com",
        "http://u:hunter2@h/",
        "http://hunter2@h/a",
        "/a;p=hunter2",
        "/a;hunter2",
        "/a/%68unter2",
        "hunter2.example:443",
        "/x#hunter2",
    ] {
        calls.push(Call::Http(Http {
            head: Arc::new(HttpHead {
                target: target.to_owned(),
                host: Some("joe:hunter2@host".into()),
                user_agent: Some("hunter2/1.0".into()),
                ..HttpHead::default()
            }),
            ..Http::default()
        }));
    }
    let shared = |text: &str| -> Option<Arc<str>> { Some(text.into()) };
    calls.push(Call::Db(Db {
        system: Protocol::MySql,
        asked: Arc::new(Asked {
            operation: "SELECT".into(),
            summary: "SELECT hunter2".into(),
            text: shared("SELECT * FROM hunter2 WHERE a = 'hunter2'"),
            collection: shared("hunter2"),
            batch: None,
        }),
        namespace: shared("db_hunter2"),
        error: Some("no hunter2".to_owned()),
        rows: None,
        cache: None,
        failure: None,
        unseen: false,
    }));
    calls.push(Call::Dns(Dns {
        name: "hunter2.example".to_owned(),
        question: "A".into(),
        code: Some(0),
        answers: vec!["hunter2.example".to_owned()],
        failure: None,
    }));
    calls.push(Call::Rpc(Rpc {
        service: "hunter2".into(),
        method: "Get".into(),
        host: shared("hunter2:1"),
        ..Rpc::default()
    }));
    for call in calls {
        for role in [Role::Server, Role::Client] {
            let mut finished = finished(role, call.clone());
            if let Call::Http(http) = &call {
                finished.route = Some(routes.route(WorkloadId(1), &http.target));
            }
            let span = span(
                &finished,
                WallClock::ahead_by(1_790_000_000_000_000_000),
                SharedResource::default(),
                &redact,
            );
            let all = format!("{span:?}");
            assert!(
                !all.contains(SECRET) && !all.contains("%68unter2"),
                "{call:?}: {all}"
            );
        }
    }
    assert!(redact.query("q=1&x=2").ends_with(REDACTED));
}
