//! `observer run` with a collector of ours.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Scene, Seen};
use crate::collector::Collector;
use crate::observer_bin;

/// How long loading and attaching may take: on an emulated processor it is long.
const PATIENCE: Duration = Duration::from_secs(180);

/// A daemon; killed if the test ends before it does.
pub struct Daemon {
    child: Child,
    collector: Collector,
    log: Option<JoinHandle<String>>,
}

impl Daemon {
    /// Observes the requests of a scene and keeps every span.
    pub fn start(scene: &Scene) -> Result<Self> {
        Self::start_with(
            Some(&scene.cgroup()),
            "always_on",
            &["--probes", "requests"],
        )
    }

    /// The same with other options. Without a cgroup everybody is observed.
    pub fn start_with(cgroup: Option<&Path>, sampler: &str, arguments: &[&str]) -> Result<Self> {
        let collector = Collector::start()?;
        let mut command = Command::new(observer_bin());
        command.arg("run").args(arguments);
        command.args(["--interval", "1s", "--otlp-protocol", "http/protobuf"]);
        command.args(["--otlp-endpoint", &collector.endpoint()]);
        // Nothing is left out because there is much of it, or because the daemon,
        // which isn't optimized here, is slow.
        command.args(["--budget", "off"]);
        command.args(["--requests-ring", "256MiB", "--otlp-queue-size", "1GiB"]);
        command.args(["--span-rate", "1000000", "--span-burst", "1000000"]);
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        Self::start_command(command, sampler, collector)
    }

    /// The same with no other options than these, and without a governor.
    pub fn start_plain(sampler: &str, arguments: &[&str]) -> Result<Self> {
        let collector = Collector::start()?;
        let mut command = Command::new(observer_bin());
        command.args(["run", "--budget", "off"]).args(arguments);
        command.args(["--otlp-endpoint", &collector.endpoint()]);
        command.args(["--otlp-protocol", "http/protobuf"]);
        Self::start_command(command, sampler, collector)
    }

    /// Starts one that sends to this collector.
    fn start_command(mut command: Command, sampler: &str, collector: Collector) -> Result<Self> {
        let (sampler, argument) = sampler.split_once('=').unwrap_or((sampler, ""));
        let mut child = command
            .env("OTEL_TRACES_SAMPLER", sampler)
            .env("OTEL_TRACES_SAMPLER_ARG", argument)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start observer")?;
        let stderr = child.stderr.take().context("a pipe")?;
        let (ready, observes) = mpsc::channel();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains("observing ") {
                    // Nobody waits a second time.
                    let _ = ready.send(());
                }
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        let mut daemon = Self {
            child,
            collector,
            log: Some(log),
        };
        if observes.recv_timeout(PATIENCE).is_err() {
            let _ = daemon.child.kill();
            bail!("it doesn't observe: {}", daemon.log());
        }
        Ok(daemon)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it sent so far.
    pub fn seen(&self) -> Result<Seen> {
        Seen::decode(&self.collector)
    }

    /// Waits until the daemon sees requests: what follows is observed. There is
    /// no telling when a library's uprobes are there but by their effect.
    pub fn wait_until(
        &self,
        ready: impl Fn(&Seen) -> bool,
        poke: impl Fn() -> Result<()>,
    ) -> Result<()> {
        let begin = Instant::now();
        loop {
            poke()?;
            std::thread::sleep(Duration::from_millis(300));
            if ready(&self.seen()?) {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < Duration::from_secs(60),
                "it never saw what it should see"
            );
        }
    }

    /// Waits until what ended by now is known, ends the daemon in order, and
    /// returns what the collector got.
    pub fn finish(self) -> Result<Seen> {
        Ok(self.finish_with(|_| Ok(()))?.0)
    }

    /// The same, and what `read` makes of the collector.
    pub fn finish_with<T>(self, read: impl FnOnce(&Collector) -> Result<T>) -> Result<(Seen, T)> {
        std::thread::sleep(Duration::from_millis(700));
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        self.ended_with(read)
    }

    /// Kills it, and returns what the collector got.
    pub fn killed(mut self) -> Result<Seen> {
        self.child.kill()?;
        self.child.wait()?;
        Seen::decode(&self.collector)
    }

    /// Waits until the daemon ends, and returns what the collector got.
    pub fn ended(self) -> Result<Seen> {
        Ok(self.ended_with(|_| Ok(()))?.0)
    }

    fn ended_with<T>(mut self, read: impl FnOnce(&Collector) -> Result<T>) -> Result<(Seen, T)> {
        let status = self.child.wait()?;
        let log = self.log();
        ensure!(status.success(), "the daemon ended with {status}: {log}");
        let mut seen = Seen::decode(&self.collector)?;
        seen.log = log;
        Ok((seen, read(&self.collector)?))
    }

    fn log(&mut self) -> String {
        let log = self.log.take().and_then(|log| log.join().ok());
        log.unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
