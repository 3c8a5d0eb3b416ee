//! Databases under the load of their own benchmarks.

use anyhow::{Context, Result, ensure};
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, Seen, Span, kind};

use crate::{counts, nothing_lost, turn};

const DURATION: &str = "db.client.operation.duration";

/// Transactions of each pgbench run; two statements each.
const TRANSACTIONS: u64 = 500;

/// Client spans of a service whose operation is this.
fn operations<'a>(seen: &'a Seen, service: &str, operation: &str) -> Vec<&'a Span> {
    let wanted = seen.spans.iter().filter(|span| {
        span.kind == kind::CLIENT
            && span.service == service
            && span.text("db.operation.name") == operation
    });
    wanted.collect()
}

/// Checks pgbench by each of its protocols: as many spans as statements, with
/// operation, table and text without literals, from metrics as well.
#[test]
fn pgbench() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    for protocol in ["simple", "extended", "prepared"] {
        pgbench_with(protocol).with_context(|| format!("protocol {protocol}"))?;
    }
    Ok(())
}

fn pgbench_with(protocol: &str) -> Result<()> {
    let mut scene = Scene::new()?;
    let postgres = scene.postgres()?;
    let script = scene.folder().join("script");
    std::fs::write(
        &script,
        "\\set x random(1, 1000)\nSELECT v FROM t1 WHERE v <> 'hush' LIMIT :x;\nUPDATE t2 SET v = 'hush' WHERE v = 'never';\n",
    )?;
    let daemon = Daemon::start(&scene)?;
    let mut pgbench = postgres.client("pgbench");
    let transactions = (TRANSACTIONS / 2).to_string();
    pgbench
        .args(["-n", "-c", "2", "-t", &transactions, "-M", protocol, "-f"])
        .arg(&script);
    scene.run(&mut pgbench)?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    ensure!(!format!("{:?}", seen.spans).contains("hush"), "a literal");
    for (operation, table) in [("SELECT", "t1"), ("UPDATE", "t2")] {
        let mut spans = operations(&seen, "pgbench", operation);
        // It asks a few things itself when it begins.
        spans.retain(|span| span.text("db.collection.name") == table);
        ensure!(
            spans.len() as u64 == TRANSACTIONS,
            "{} × {operation} {table}: {:?}",
            spans.len(),
            counts(
                seen.spans
                    .iter()
                    .map(|s| (s.service.clone(), s.kind, s.name.clone()))
            )
        );
        for span in &spans {
            assert_eq!(span.text("db.system.name"), "postgresql");
            assert_eq!(span.name, format!("{operation} {table}"), "{span:?}");
            assert_eq!(span.int("server.port"), Some(postgres.port.into()));
            assert_eq!(span.text("db.namespace"), "postgres", "{span:?}");
            ensure!(span.text("db.query.text").contains(table), "{span:?}");
            ensure!(span.status != 2, "{span:?}");
        }
        let with = [
            ("db.operation.name", operation),
            ("db.collection.name", table),
        ];
        assert_eq!(seen.sum(DURATION, "pgbench", &with), TRANSACTIONS);
    }
    Ok(())
}

/// Checks psql over a Unix domain socket, with statements that fail: their
/// SQLSTATE is the span's error.
#[test]
fn psql_and_errors() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let postgres = scene.postgres()?;
    let daemon = Daemon::start(&scene)?;
    for host in ["127.0.0.1", &postgres.folder.display().to_string()] {
        let mut psql = postgres.client("psql");
        psql.env("PGHOST", host);
        // One by one, as psql takes its arguments.
        for text in [
            "SELECT 1 / 0",
            "SELECT * FROM nobody",
            "INSERT INTO t3 VALUES ('hush')",
            "SELECT v FROM t4",
        ] {
            psql.args(["-c", text]);
        }
        scene.join(&mut psql)?.output()?;
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    ensure!(!format!("{:?}", seen.spans).contains("hush"), "a literal");
    let selects = operations(&seen, "psql", "SELECT");
    let of = |transport: &str| {
        let mine = selects.iter().filter(|span| {
            let unix = span.text("network.transport") == "unix";
            unix == (transport == "unix")
        });
        counts(mine.map(|span| {
            (
                span.text("db.response.status_code").to_owned(),
                span.text("error.type").to_owned(),
            )
        }))
    };
    for transport in ["tcp", "unix"] {
        let expected = [("", ""), ("22012", "22012"), ("42P01", "42P01")];
        let expected = expected.map(|(code, error)| ((code.to_owned(), error.to_owned()), 1));
        assert_eq!(of(transport), expected.into(), "{transport}: {selects:#?}");
    }
    assert_eq!(operations(&seen, "psql", "INSERT").len(), 2);
    Ok(())
}

/// Checks Redis under redis-benchmark, one by one and in pipelines: as many
/// operations as it says, and errors.
#[test]
fn redis() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.redis()?;
    let text = port.to_string();
    for pipeline in ["1", "16"] {
        let daemon = Daemon::start(&scene)?;
        let mut benchmark = program("redis-benchmark", "redis-server")?;
        benchmark.args([
            "-p", &text, "-q", "-c", "4", "-n", "4000", "-P", pipeline, "-t", "set,incr",
        ]);
        scene.run(&mut benchmark)?;
        let mut cli = program("redis-cli", "redis-server")?;
        cli.args(["-p", &text, "LPUSH", "counter:__rand_int__", "hush"]);
        scene.run(&mut cli)?;
        let seen = daemon.finish()?;
        nothing_lost(&seen).with_context(|| format!("-P {pipeline}"))?;
        for operation in ["SET", "INCR"] {
            let spans = operations(&seen, "redis-benchmark", operation);
            assert_eq!(spans.len(), 4000, "{operation} -P {pipeline}");
            ensure!(
                spans
                    .iter()
                    .all(|s| s.int("server.port") == Some(port.into()) && s.status != 2)
            );
            let with = [
                ("db.operation.name", operation),
                ("db.system.name", "redis"),
            ];
            assert_eq!(seen.sum(DURATION, "redis-benchmark", &with), 4000);
        }
        let pushed = operations(&seen, "redis-cli", "LPUSH");
        let [pushed] = pushed[..] else {
            anyhow::bail!("{} × LPUSH", pushed.len());
        };
        assert_eq!(pushed.text("error.type"), "WRONGTYPE", "{pushed:?}");
        ensure!(!format!("{:?}", seen.spans).contains("hush"), "a value");
    }
    Ok(())
}
