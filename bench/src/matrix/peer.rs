//! Somebody else's tool that runs until it is interrupted and then reports.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Contender, Losses, Report, Role, Running, Work};
use crate::peers;
use observer_testkit::daemon;
use observer_testkit::tool::Tool;

/// How one knows that it sees everything.
#[derive(Clone, Copy, Debug)]
pub enum Ready {
    /// It prints this.
    Says(&'static str),
    /// It prints this (anything, if empty) and then opens no more descriptors for
    /// that long: those that attach after they said so.
    Settles(&'static str, Duration),
    /// It says nothing; by then it is.
    After(Duration),
}

type CommandOf = Box<dyn Fn(&dyn Work) -> Result<Command>>;
type Reader = Box<dyn Fn(&str) -> Result<f64>>;

/// A tool of which Debian has a package.
pub struct Peer {
    name: &'static str,
    program: &'static str,
    package: &'static str,
    command: CommandOf,
    ready: Ready,
    counts: Vec<(&'static str, Reader)>,
    lost: Option<fn(&str) -> u64>,
    usable: fn() -> Result<()>,
}

impl Peer {
    /// `program` of the Debian package `package`, called by `command` with
    /// arguments that may depend on the workload; it gets tracefs.
    pub fn new(
        name: &'static str,
        [program, package]: [&'static str; 2],
        ready: Ready,
        arguments: impl Fn(&dyn Work, &mut Command) -> Result<()> + 'static,
    ) -> Self {
        let command = move |work: &dyn Work| {
            let mut command =
                Command::new(peers::locate(program, package).context("it isn't there")?);
            arguments(work, &mut command)?;
            // Python keeps back what it prints to a file.
            command.env("PYTHONUNBUFFERED", "1");
            peers::with_tracefs(&mut command);
            Ok(command)
        };
        Self {
            name,
            program,
            package,
            command: Box::new(command),
            ready,
            counts: Vec::new(),
            lost: Some(lost_lines),
            usable: || Ok(()),
        }
    }

    /// bpftrace with this program.
    pub fn bpftrace(name: &'static str, script: &'static str) -> Self {
        let ready = Ready::Settles("Attaching", Duration::from_millis(700));
        Self::new(name, ["bpftrace", "bpftrace"], ready, move |_, command| {
            command.args(["-e", script]);
            Ok(())
        })
    }

    /// One of Debian's libbpf-tools; they keep back what they print to a file.
    pub fn libbpf(
        name: &'static str,
        program: &'static str,
        arguments: &'static [&'static str],
    ) -> Self {
        let ready = Ready::Settles("", Duration::from_millis(1000));
        Self::new(name, [program, "libbpf-tools"], ready, move |_, command| {
            command.args(arguments);
            Ok(())
        })
    }

    /// Reads a figure from all it printed.
    pub fn counts(
        mut self,
        what: &'static str,
        read: impl Fn(&str) -> Result<f64> + 'static,
    ) -> Self {
        self.counts.push((what, Box::new(read)));
        self
    }

    /// Reads from what it printed how many events it lost; without, what
    /// [`lost_lines`] finds.
    pub fn loses(mut self, lost: fn(&str) -> u64) -> Self {
        self.lost = Some(lost);
        self
    }

    /// It doesn't say what it loses.
    pub fn silent(mut self) -> Self {
        self.lost = None;
        self
    }

    /// It needs more than its package.
    pub fn needs(mut self, usable: fn() -> Result<()>) -> Self {
        self.usable = usable;
        self
    }
}

impl Contender for Peer {
    fn name(&self) -> String {
        self.name.into()
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn narrow(&self) -> bool {
        true
    }

    fn prepare(&self) -> Result<()> {
        peers::ensure(self.program, self.package)?;
        (self.usable)()
    }

    fn start<'a>(&'a self, work: &dyn Work) -> Result<Box<dyn Running + 'a>> {
        let mut command = (self.command)(work)?;
        let mut tool = Tool::start(&mut command)?;
        self.ready.wait(&mut tool)?;
        Ok(Box::new(Attached { tool, of: self }))
    }
}

impl Ready {
    fn wait(self, tool: &mut Tool) -> Result<()> {
        match self {
            Self::Says(text) => tool.wait_until(|tool| Ok(tool.printed()?.contains(text))),
            Self::Settles(text, quiet) => {
                let mut descriptors = (0, Instant::now());
                tool.wait_until(|tool| {
                    let now = daemon::descriptors(tool.pid()).count();
                    if now != descriptors.0 || !tool.printed()?.contains(text) {
                        descriptors = (now, Instant::now());
                    }
                    Ok(descriptors.1.elapsed() > quiet)
                })
            }
            Self::After(time) => {
                let begin = Instant::now();
                tool.wait_until(|_| Ok(begin.elapsed() > time))
            }
        }
    }
}

struct Attached<'a> {
    tool: Tool,
    of: &'a Peer,
}

impl Running for Attached<'_> {
    fn pids(&self) -> Vec<u32> {
        vec![self.tool.pid()]
    }

    fn finish(self: Box<Self>) -> Result<Report> {
        let Self { tool, of } = *self;
        let (printed, peak) = tool.end_and_peak()?;
        let mut report = Report {
            lost: of
                .lost
                .map(|lost| Losses::from([("events".into(), lost(&printed))])),
            peak,
            ..Report::default()
        };
        for (what, read) in &of.counts {
            let figure = read(&printed).with_context(|| format!("its {what}"))?;
            report.counted.insert(what, figure);
        }
        Ok(report)
    }
}

/// The numbers in lines that tell of loss, as bpftrace ("Lost 12 events"), the
/// BCC tools ("Possibly lost 12 samples") and perf ("LOST 12 events!") have them.
pub fn lost_lines(printed: &str) -> u64 {
    printed
        .lines()
        .filter_map(|line| {
            let lower = line.to_ascii_lowercase();
            let mut words = lower.split_whitespace().skip_while(|word| *word != "lost");
            words.nth(1)?.parse::<u64>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that losses are found as tools tell of them, and nothing else.
    #[test]
    fn losses_of_peers() {
        let printed = "Attaching 2 probes...\nLost 12 events\nPossibly lost 30 samples\nlost in space\n@lost: 7\n";
        assert_eq!(lost_lines(printed), 42);
    }
}
