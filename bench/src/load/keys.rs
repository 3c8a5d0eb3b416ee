//! redis-benchmark against Redis.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

use super::{ALONE, bpftrace, path_of, plan, requests, sampled, section, tool_output};
use crate::Options;
use crate::matrix::{self, Figures, Outcome, Work};
use crate::report::Section;
use observer_testkit::packages::program;
use observer_testkit::requests::Scene;

/// Clients of redis-benchmark.
const CLIENTS: &str = "50";

/// GET, one after the other.
pub fn get(options: &Options) -> Result<Section> {
    run(options, "redis/get", "get", 1)
}

/// SET, one after the other.
pub fn set(options: &Options) -> Result<Section> {
    run(options, "redis/set", "set", 1)
}

/// GET, sixteen at once.
pub fn pipelined(options: &Options) -> Result<Section> {
    run(options, "redis/pipeline", "get", 16)
}

fn run(
    options: &Options,
    name: &'static str,
    command: &'static str,
    pipeline: u32,
) -> Result<Section> {
    let plan = plan(
        options,
        name,
        "what Redis pays",
        &format!(
            "redis-benchmark: {CLIENTS} clients send {} to Redis, {pipeline} at once each. bpftrace keeps a histogram of \
             the duration of Redis's function `call`. Truth: Redis's `total_commands_processed`.",
            command.to_uppercase()
        ),
    );
    let mut work = Keys::new(command, pipeline)?;
    let mut all = matrix::standard(&["requests"], |observer| {
        sampled(observer)
            .counts("served", |collector| {
                let served = ["redis-server", "redis", "server"];
                requests(collector, "observer.db.server.operation.duration", served)
            })
            .counts("asked", |collector| {
                let asked = ["redis-benchmark", "redis", "client"];
                requests(collector, "db.client.operation.duration", asked)
            })
    });
    let redis = path_of("redis-server")?;
    let script = format!(
        "uprobe:{redis}:call {{ @start[tid] = nsecs; }} uretprobe:{redis}:call /@start[tid]/ \
         {{ @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }} END {{ clear(@start); }}"
    );
    let peer = bpftrace("bpftrace, histogram of Redis's calls", script);
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

/// A server, and how it is asked.
pub struct Keys {
    // Ends it when dropped.
    _scene: Scene,
    port: u16,
    command: &'static str,
    pipeline: u32,
    /// Commands of a run that isn't quick.
    commands: u32,
}

impl Keys {
    /// Redis, asked by fifty clients for one `command` (`get`, `set`), so many
    /// at once each.
    pub fn new(command: &'static str, pipeline: u32) -> Result<Self> {
        let mut scene = Scene::new()?;
        let port = scene.redis()?;
        // Two seconds or three.
        let commands = if pipeline > 1 { 1_500_000 } else { 200_000 };
        Ok(Self {
            _scene: scene,
            port,
            command,
            pipeline,
            commands,
        })
    }

    /// How many commands the server has carried out before this one.
    fn commands(&self) -> Result<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"*2\r\n$4\r\nINFO\r\n$5\r\nstats\r\n")?;
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&said);
            if let Some((_, rest)) = text.split_once("total_commands_processed:")
                && let Some((count, _)) = rest.split_once("\r\n")
            {
                return Ok(count.parse()?);
            }
            let length = stream.read(&mut buffer)?;
            ensure!(length > 0, "Redis doesn't count: {text}");
            said.extend_from_slice(&buffer[..length]);
        }
    }
}

impl Work for Keys {
    fn unit(&self) -> &'static str {
        "commands/s"
    }

    fn run(&mut self, quick: bool) -> Result<Outcome> {
        let number = self.commands / if quick { 2 } else { 1 };
        let before = self.commands()?;
        let output = program("redis-benchmark", "redis-server")?
            .args(["-p", &self.port.to_string(), "-t", self.command, "--csv"])
            .args(["-c", CLIENTS, "-n", &number.to_string()])
            .args(["-P", &self.pipeline.to_string()])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "redis-benchmark: {said}");
        // The first question came before the count that it answers; the second
        // isn't in its own.
        let commands = self.commands()? - before + 1;
        Ok(Outcome {
            rate: column(&said, "rps")?,
            facts: Figures::from([
                ("served", commands as f64),
                // Both questions were ours.
                ("asked", (commands - 2) as f64),
            ]),
            extra: Figures::from([("p99 µs", column(&said, "p99_latency_ms")? * 1e3)]),
        })
    }
}

/// The last line's cell of a column, in redis-benchmark's CSV with its head.
fn column(csv: &str, name: &str) -> Result<f64> {
    let mut lines = csv.lines().filter(|line| line.starts_with('"'));
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split(',').map(|cell| cell.trim_matches('"').into());
        cells.collect()
    };
    let head = cells(lines.next().context("redis-benchmark says nothing")?);
    let last = cells(
        lines
            .next_back()
            .context("redis-benchmark has no figures")?,
    );
    let cell = head.iter().zip(&last).find(|(key, _)| *key == name);
    let (_, cell) = cell.with_context(|| format!("redis-benchmark has no {name}"))?;
    cell.parse().with_context(|| format!("{name}: {cell}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what is read from redis-benchmark's table.
    #[test]
    fn csv() -> Result<()> {
        let said = "\"test\",\"rps\",\"avg_latency_ms\",\"p99_latency_ms\"\n\
                    \"GET\",\"102040.82\",\"0.250\",\"0.423\"\n";
        assert_eq!(column(said, "rps")?, 102_040.82);
        assert_eq!(column(said, "p99_latency_ms")?, 0.423);
        assert!(column(said, "max").is_err());
        assert!(column("", "rps").is_err());
        Ok(())
    }
}
