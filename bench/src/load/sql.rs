//! pgbench against PostgreSQL.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{ALONE, bpftrace, plan, requests, sampled, seconds, section, tool_output};
use crate::Options;
use crate::matrix::{self, Figures, Outcome, Work};
use crate::report::Section;
use observer_testkit::requests::{Postgres, Scene};

/// What pgbench's clients do all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Its default, TPC-B or so: three updates, a question, an insertion, in a
    /// transaction.
    TpcB,
    /// `-S`: a question.
    Select,
}

impl Script {
    /// Statements of a transaction.
    fn statements(self) -> u64 {
        match self {
            Self::TpcB => 7,
            Self::Select => 1,
        }
    }
}

/// pgbench's default.
pub fn tpc_b(options: &Options) -> Result<Section> {
    run(options, "pgbench/tpcb", Script::TpcB)
}

/// pgbench's `-S`.
pub fn select(options: &Options) -> Result<Section> {
    run(options, "pgbench/select", Script::Select)
}

fn run(options: &Options, name: &'static str, script: Script) -> Result<Section> {
    let what = match script {
        Script::TpcB => "its default transaction, which is like TPC-B",
        Script::Select => "`-S`, a single question",
    };
    let plan = plan(
        options,
        name,
        "what PostgreSQL pays",
        &format!(
            "pgbench: {CLIENTS} clients, {what}, a million accounts; PostgreSQL runs with `fsync=off`. bpftrace keeps a \
             histogram of the time between PostgreSQL's own probes `query__start` and `query__done`. Truth: pgbench's \
             number of transactions, times their statements, and what it asks first."
        ),
    );
    let mut work = Sql::new(script)?;
    let mut all = matrix::standard(&["requests"], |observer| {
        sampled(observer)
            .counts("served", |collector| {
                let served = ["postgres", "postgresql", "server"];
                requests(collector, "observer.db.server.operation.duration", served)
            })
            .counts("asked", |collector| {
                let asked = ["pgbench", "postgresql", "client"];
                requests(collector, "db.client.operation.duration", asked)
            })
    });
    let postgres = work.postgres.client("postgres");
    let postgres = postgres.get_program().display();
    let probes = format!(
        "usdt:{postgres}:query__start {{ @start[tid] = nsecs; }} usdt:{postgres}:query__done /@start[tid]/ \
         {{ @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }} END {{ clear(@start); }}"
    );
    let peer = bpftrace("bpftrace, histogram of PostgreSQL's queries", probes);
    all.push(Box::new(peer.counts("served", |printed| {
        tool_output::buckets(printed, "@ns:")
    })));
    let results = plan.measure(&mut work, &all)?;
    let facts = [("served", "requests"), ("asked", "requests")];
    Ok(section(
        &plan,
        &results,
        Some(5.0),
        &facts,
        vec![ALONE.into()],
    ))
}

/// Clients of pgbench.
const CLIENTS: &str = "8";

/// Questions that pgbench asks about its tables before it begins
/// (`GetTableInfo` of its source): how many branches, which partitions.
const ABOUT: u64 = 2;

/// A server with pgbench's tables.
pub struct Sql {
    // Ends it when dropped.
    _scene: Scene,
    postgres: Postgres,
    script: Script,
}

impl Sql {
    /// PostgreSQL, with a million accounts.
    pub fn new(script: Script) -> Result<Self> {
        let mut scene = Scene::new()?;
        let postgres = scene.postgres()?;
        scene.run(postgres.client("pgbench").args(["-i", "-q", "-s", "10"]))?;
        Ok(Self {
            _scene: scene,
            postgres,
            script,
        })
    }
}

impl Work for Sql {
    fn unit(&self) -> &'static str {
        "transactions/s"
    }

    fn run(&mut self, quick: bool) -> Result<Outcome> {
        let mut pgbench: Command = self.postgres.client("pgbench");
        pgbench.args(["-n", "-c", CLIENTS, "-j", "1", "-T"]);
        pgbench.arg(seconds(quick).to_string());
        if self.script == Script::Select {
            pgbench.arg("-S");
        }
        let output = pgbench.output().context("cannot start pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "pgbench: {said}");
        let transactions: u64 = number(&said, "number of transactions actually processed: ")?;
        let statements = (transactions * self.script.statements() + ABOUT) as f64;
        Ok(Outcome {
            rate: number(&said, "tps = ")?,
            facts: Figures::from([("served", statements), ("asked", statements)]),
            extra: Figures::from([("average µs", {
                let milliseconds: f64 = number(&said, "latency average = ")?;
                milliseconds * 1e3
            })]),
        })
    }
}

/// The number behind some words.
fn number<T: std::str::FromStr>(said: &str, words: &str) -> Result<T> {
    let (_, rest) = said
        .split_once(words)
        .with_context(|| format!("pgbench doesn't say {words:?}: {said}"))?;
    let number = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next();
    let number = number.and_then(|number| number.parse().ok());
    number.with_context(|| format!("no number behind {words:?}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what is read from pgbench's report.
    #[test]
    fn report() -> Result<()> {
        let said = "pgbench (15.8)\nscaling factor: 1\nduration: 1 s\n\
                    number of transactions actually processed: 2153\n\
                    number of failed transactions: 0 (0.000%)\nlatency average = 3.711 ms\n\
                    initial connection time = 14.161 ms\n\
                    tps = 2155.873 (without initial connection time)\n";
        let processed: u64 = number(said, "number of transactions actually processed: ")?;
        assert_eq!(processed, 2153);
        assert_eq!(number::<f64>(said, "tps = ")?, 2155.873);
        assert_eq!(number::<f64>(said, "latency average = ")?, 3.711);
        assert!(number::<f64>(said, "latency stddev = ").is_err());
        Ok(())
    }
}
