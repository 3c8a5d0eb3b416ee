//! One trace through proxy, application and databases.

use anyhow::{Context, Result, ensure};
use observer_testkit::packages::program;
use observer_testkit::requests::{
    Attributed, Daemon, Postgres, Scene, Seen, Span, free_port, kind,
};

use crate::{nothing_lost, turn};

/// Redis's commands, as the applications choose them by number.
const COMMANDS: [&str; 8] = [
    "GET", "EXISTS", "TTL", "STRLEN", "TYPE", "PTTL", "DUMP", "GETDEL",
];

/// Who works where.
pub struct Shop {
    pub proxy: u16,
    pub app: u16,
    pub postgres: u16,
    pub redis: u16,
}

/// nginx before an application that uses PostgreSQL and Redis.
pub fn shop(
    scene: &mut Scene,
    app: impl FnOnce(&mut Scene, &Postgres, u16) -> Result<u16>,
) -> Result<Shop> {
    let postgres = scene.postgres()?;
    let redis = scene.redis()?;
    let app = app(scene, &postgres, redis)?;
    let proxy = free_port()?;
    let http = format!(
        "upstream app {{ server 127.0.0.1:{app}; keepalive 8; }}
         server {{ listen 127.0.0.1:{proxy};
           location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host 127.0.0.1:{app}; }} }}"
    );
    scene.nginx("worker_processes 1;", &http, proxy)?;
    Ok(Shop {
        proxy,
        app,
        postgres: postgres.port,
        redis,
    })
}

fn curl(scene: &Scene, arguments: &[&str]) -> Result<()> {
    let mut curl = program("curl", "curl")?;
    curl.args(["-s", "-S", "-f", "-o", "/dev/null"])
        .args(arguments);
    scene.run(&mut curl).map(drop)
}

/// The one span of a kind and port in a trace.
fn only<'a>(trace: &[&'a Span], kind: i32, port: u16) -> Result<&'a Span> {
    let mut found = trace
        .iter()
        .filter(|span| span.kind == kind && span.int("server.port") == Some(port.into()));
    let first = found
        .next()
        .with_context(|| format!("no span of kind {kind} at {port}: {trace:#?}"))?;
    ensure!(
        found.next().is_none(),
        "more than one at {port}: {trace:#?}"
    );
    Ok(first)
}

/// Fails unless the trace is client → proxy → application → both databases.
fn check_tree(seen: &Seen, shop: &Shop, number: usize) -> Result<()> {
    let path = format!("/t/{number}");
    let root = seen.of(kind::CLIENT, shop.proxy);
    let root = root
        .iter()
        .find(|span| span.path() == path)
        .context("curl's span")?;
    ensure!(root.parent.is_empty(), "{root:?}");
    let trace: Vec<&Span> = seen
        .spans
        .iter()
        .filter(|s| s.trace == root.trace)
        .collect();
    let proxied = only(&trace, kind::SERVER, shop.proxy)?;
    let asked = only(&trace, kind::CLIENT, shop.app)?;
    let served = only(&trace, kind::SERVER, shop.app)?;
    let sql = only(&trace, kind::CLIENT, shop.postgres)?;
    let redis = only(&trace, kind::CLIENT, shop.redis)?;
    let chain = [
        (*root, proxied),
        (proxied, asked),
        (asked, served),
        (served, sql),
        (served, redis),
    ];
    for (parent, child) in chain {
        ensure!(
            child.parent == parent.id,
            "{child:#?} is not below {parent:#?}"
        );
        // A child may end after its parent: whoever answered gets its CPU back later.
        ensure!(
            parent.start <= child.start && child.start <= parent.end,
            "{parent:#?} {child:#?}"
        );
    }
    ensure!(served.service == asked_service(seen, shop)?, "{served:?}");
    assert_eq!(
        (root.service.as_str(), proxied.service.as_str()),
        ("curl", "nginx")
    );
    assert_eq!(sql.text("db.system.name"), "postgresql");
    assert_eq!(sql.text("db.collection.name"), format!("t{number}"));
    ensure!(!sql.text("db.query.text").contains("secret"), "{sql:?}");
    assert_eq!(redis.text("db.system.name"), "redis");
    assert_eq!(redis.text("db.operation.name"), COMMANDS[number]);
    Ok(())
}

/// Whoever asks the databases.
fn asked_service(seen: &Seen, shop: &Shop) -> Result<String> {
    let spans = seen.of(kind::CLIENT, shop.redis);
    Ok(spans.first().context("a span of Redis")?.service.clone())
}

/// Requests one by one, with nothing sent that would join them.
fn one_by_one(app: impl FnOnce(&mut Scene, &Postgres, u16) -> Result<u16>) -> Result<()> {
    let mut scene = Scene::new()?;
    let shop = shop(&mut scene, app)?;
    let daemon = Daemon::start(&scene)?;
    for number in 0..COMMANDS.len() {
        curl(
            &scene,
            &[&format!(
                "http://127.0.0.1:{}/t/{number}?q=secret",
                shop.proxy
            )],
        )?;
    }
    // And with a parent of its own.
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let header = format!("traceparent: 00-{trace}-{parent}-01");
    curl(
        &scene,
        &["-H", &header, &format!("http://127.0.0.1:{}/t/0", shop.app)],
    )?;
    let b3 = format!("b3: {trace}-{parent}-1");
    curl(
        &scene,
        &["-H", &b3, &format!("http://127.0.0.1:{}/other", shop.app)],
    )?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    for number in 0..COMMANDS.len() {
        check_tree(&seen, &shop, number).with_context(|| format!("/t/{number}"))?;
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let given: Vec<&Span> = seen
        .spans
        .iter()
        .filter(|s| hex(&s.trace) == trace)
        .collect();
    for path in ["/t/0", "/other"] {
        // The caller's span is not ours: curl's hangs under it, or the server's.
        let at = |kind| {
            let of = given.iter().find(|s| s.kind == kind && s.path() == path);
            of.with_context(|| format!("{path}: no span of kind {kind} in {given:#?}"))
        };
        let (client, server) = (at(kind::CLIENT)?, at(kind::SERVER)?);
        let joined = server.parent == client.id && hex(&client.parent) == parent;
        ensure!(
            joined || hex(&server.parent) == parent,
            "{client:#?} {server:#?}"
        );
    }
    Ok(())
}

/// Checks curl → nginx → Python (a thread per connection) → PostgreSQL and Redis.
#[test]
fn python() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    one_by_one(Scene::python_app)
}

/// Checks curl → nginx → node (an event loop) → PostgreSQL and Redis.
#[test]
fn node() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    one_by_one(Scene::node_app)
}

/// Many requests at once: whatever call has a parent has the right one.
/// Returns the share of calls that have one.
fn at_once(app: impl FnOnce(&mut Scene, &Postgres, u16) -> Result<u16>) -> Result<f64> {
    let mut scene = Scene::new()?;
    let shop = shop(&mut scene, app)?;
    let daemon = Daemon::start(&scene)?;
    let paths: Vec<String> = (0..COMMANDS.len()).map(|n| format!("/t/{n}")).collect();
    let paths = paths.iter().flat_map(|path| ["--path", path]);
    // Seven connections ask for eight paths: each for all of them.
    let arguments = ["--connections", "7", "--requests", "1400"]
        .into_iter()
        .chain(paths);
    scene.load(shop.proxy, &arguments.collect::<Vec<_>>())?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let by_id = seen.by_id();
    let (mut all, mut joined) = (0, 0);
    let mut wrong = Vec::new();
    for port in [shop.postgres, shop.redis] {
        let calls: Vec<_> = seen
            .of(kind::CLIENT, port)
            .into_iter()
            .filter(|span| {
                // Connecting is a call, too, for PostgreSQL.
                port == shop.redis || span.text("db.operation.name") == "SELECT"
            })
            .collect();
        ensure!(calls.len() == 1400, "{} calls to {port}", calls.len());
        for call in calls {
            all += 1;
            let Some(parent) = by_id.get(call.parent.as_slice()) else {
                continue;
            };
            joined += 1;
            let number = parent.path().trim_start_matches("/t/");
            let right = if port == shop.postgres {
                call.text("db.collection.name") == format!("t{number}")
            } else {
                number
                    .parse()
                    .is_ok_and(|n: usize| call.text("db.operation.name") == COMMANDS[n])
            };
            if !right {
                wrong.push((call.clone(), (*parent).clone()));
            }
        }
    }
    // nginx is an event loop as well: its own calls.
    let mut proxied = 0;
    for call in seen.of(kind::CLIENT, shop.app) {
        let Some(parent) = by_id.get(call.parent.as_slice()) else {
            continue;
        };
        proxied += 1;
        if parent.path() != call.path() {
            wrong.push((call.clone(), (*parent).clone()));
        }
    }
    eprintln!(
        "{joined} of {all} calls and {proxied} of 1400 proxied requests have a parent; {} wrong",
        wrong.len()
    );
    ensure!(
        wrong.is_empty(),
        "{} wrong, e.g. {:#?}",
        wrong.len(),
        wrong[0]
    );
    Ok(f64::from(joined) / f64::from(all))
}

/// Checks that with a thread per connection every call has its parent, the
/// right one, whatever goes on beside it.
#[test]
fn python_at_once() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let joined = at_once(Scene::python_app)?;
    ensure!(joined > 0.999, "{joined} have a parent");
    Ok(())
}

/// Checks that on an event loop no call has a wrong parent; what is ambiguous
/// has none.
#[test]
fn node_at_once() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    at_once(Scene::node_app).map(drop)
}
