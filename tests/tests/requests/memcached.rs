//! Memcached in its three protocols: spans and metrics of both ends, against
//! what the client asked for and what memcached's own `stats` counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, Span, free_port, kind, said};
use serde_json::Value;

use crate::{counts, nothing_lost, turn};

/// Of each protocol.
const ROUNDS: u64 = 50;

fn memcached(scene: &mut Scene) -> Result<u16> {
    let port = free_port()?;
    let mut server = program("memcached", "memcached")?;
    server.args(["-u", "nobody", "-l", "127.0.0.1", "-U", "0"]);
    scene.start(server.args(["-p", &port.to_string()]))?;
    scene.wait_until("memcached", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })?;
    Ok(port)
}

/// What the client's report says under `key`, without zeroes.
fn numbers(report: &Value, key: &str) -> Result<BTreeMap<String, u64>> {
    let found = report[key].as_object().context("a report")?;
    let numbers = found.iter();
    Ok(numbers
        .filter_map(|(name, n)| Some((name.clone(), n.as_u64()?)))
        .collect())
}

/// The sum of an attribute over spans of some operations.
fn total(spans: &[&Span], operations: &[&str], attribute: &str) -> u64 {
    let of = spans
        .iter()
        .filter(|s| operations.contains(&s.text("db.operation.name")));
    of.map(|s| s.int(attribute).unwrap_or(0) as u64).sum()
}

/// The number of spans of some operations with a result.
fn with(spans: &[&Span], operations: &[&str], result: &str) -> u64 {
    let of = spans
        .iter()
        .filter(|s| operations.contains(&s.text("db.operation.name")));
    of.filter(|s| s.text("observer.cache.result") == result)
        .count() as u64
}

/// Checks the spans of one end against the client's and memcached's counts.
fn check(
    spans: &[&Span],
    asked: &BTreeMap<String, u64>,
    counted: &BTreeMap<String, u64>,
) -> Result<()> {
    let operations = counts(spans.iter().map(|s| s.text("db.operation.name").to_owned()));
    assert_eq!(&operations, asked);
    let gets = ["get", "gets", "mg"];
    assert_eq!(
        total(spans, &gets, "observer.cache.hits"),
        counted["get_hits"]
    );
    assert_eq!(
        total(spans, &gets, "observer.cache.misses"),
        counted["get_misses"]
    );
    let stores = ["set", "add", "append", "ms"];
    let stored = spans
        .iter()
        .filter(|s| stores.contains(&s.text("db.operation.name")));
    assert_eq!(stored.count() as u64, counted["cmd_set"]);
    for (operations, hits, misses) in [
        (&["delete", "md"][..], "delete_hits", "delete_misses"),
        (&["touch"][..], "touch_hits", "touch_misses"),
        (&["decr"][..], "decr_hits", "decr_misses"),
    ] {
        assert_eq!(with(spans, operations, "hit"), counted[hits], "{hits}");
        assert_eq!(with(spans, operations, "miss"), counted[misses], "{misses}");
    }
    // Values that aren't numbers, in text and in binary.
    let errors = counts(spans.iter().filter_map(|s| {
        let error = s.text("error.type");
        (!error.is_empty()).then(|| (error.to_owned(), s.text("db.operation.name").to_owned()))
    }));
    let expected = ["CLIENT_ERROR", "DELTA_BADVAL"];
    let expected = expected.map(|error| ((error.to_owned(), "incr".to_owned()), ROUNDS));
    assert_eq!(errors, expected.into());
    for span in spans {
        assert_eq!(span.text("db.system.name"), "memcached");
        ensure!(
            (span.status == 2) != span.text("error.type").is_empty(),
            "{span:?}"
        );
    }
    Ok(())
}

/// Checks text, meta and binary requests, quiet ones among them.
#[test]
fn counts_what_memcached_counts() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = memcached(&mut scene)?;
    let daemon = Daemon::start(&scene)?;
    let mut client = Command::new("python3");
    client.args(["-c", include_str!("memcached/client.py")]);
    client.args([port.to_string(), ROUNDS.to_string()]);
    let report: Value = serde_json::from_str(&said(&scene.run(&mut client)?))?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let (asked, counted) = (numbers(&report, "asked")?, numbers(&report, "counted")?);
    let requests: u64 = asked.values().sum();
    for (end, metric) in [
        (kind::CLIENT, "db.client.operation.duration"),
        (kind::SERVER, "observer.db.server.operation.duration"),
    ] {
        let spans = seen.of(end, port);
        check(&spans, &asked, &counted).with_context(|| metric.to_owned())?;
        // An interpreter that is found by a script is another program for a moment.
        let services: BTreeSet<_> = spans.iter().map(|span| span.service.as_str()).collect();
        let all = |with: &[(&str, &str)]| -> u64 {
            let sums = services
                .iter()
                .map(|service| seen.sum(metric, service, with));
            sums.sum()
        };
        assert_eq!(all(&[("db.system.name", "memcached")]), requests);
        for result in ["hit", "miss", "partial", "stored", "not_stored", "exists"] {
            let of = spans
                .iter()
                .filter(|s| s.text("observer.cache.result") == result);
            let with = [("observer.cache.result", result)];
            let counted = all(&with);
            assert_eq!(counted, of.count() as u64, "{result}");
            ensure!(counted > 0 || result == "exists", "no {result}");
        }
    }
    let all = format!("{:?}", seen.spans);
    ensure!(!all.contains("secret") && !all.contains("hidden"), "a key");
    Ok(())
}
