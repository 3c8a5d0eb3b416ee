//! Profilers that record the whole machine for a while and write collapsed
//! stacks, or what can be read like them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::stacks;
use crate::peers;
use observer_testkit::chain::Line;
use observer_testkit::observer_bin;
use observer_testkit::tool::{Spent, Tool};

/// How much longer than the recording a tool may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// `observer record`.
    Observer,
    /// probee, by frame pointers or by unwinding information.
    Probee {
        /// By unwinding information.
        dwarf: bool,
    },
    /// perf, likewise.
    Perf {
        /// By copies of stacks, which are unwound when they are read.
        dwarf: bool,
    },
    /// bpftrace, by frame pointers.
    Bpftrace,
    /// The BCC tool, by frame pointers.
    Bcc,
    /// lightswitch.
    Lightswitch,
}

/// What is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// Samples per second and CPU.
    pub rate: u32,
    /// How long.
    pub seconds: u64,
    /// Where files may be left.
    pub folder: &'a Path,
}

/// A recording.
pub struct Recorded {
    /// What it took.
    pub spent: Spent,
    /// What is in it; `None` of a tool whose stacks can't be had.
    pub lines: Option<Vec<Line>>,
}

impl Who {
    /// Names it in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observer => "observer record",
            Self::Probee { dwarf: true } => "probee --dwarf",
            Self::Probee { dwarf: false } => "probee",
            Self::Perf { dwarf: true } => "perf record --call-graph dwarf, perf script",
            Self::Perf { dwarf: false } => "perf record --call-graph fp, perf script",
            Self::Bpftrace => "bpftrace, profile:hz, @[comm, ustack]",
            Self::Bcc => "profile-bpfcc",
            Self::Lightswitch => "lightswitch (at 2 Hz less, no profile)",
        }
    }

    /// Why it can't be measured here, if it can't.
    ///
    /// # Errors
    /// The reason.
    pub fn usable(self) -> Result<()> {
        let there = |path: Option<PathBuf>| match path {
            Some(path) if path.is_file() => Ok(()),
            Some(path) => bail!("{} is not there", path.display()),
            None => bail!("it is not in PATH"),
        };
        match self {
            Self::Observer => Ok(()),
            Self::Probee { .. } => there(super::probee()),
            Self::Perf { .. } => there(peers::find("perf")),
            Self::Bpftrace => there(peers::find("bpftrace")),
            Self::Bcc => {
                there(peers::find("profile-bpfcc"))?;
                peers::kernel_headers()
            }
            Self::Lightswitch => there(lightswitch()),
        }
    }

    /// Records; `watch` gets the running tool's process id.
    ///
    /// # Errors
    /// When the tool fails or leaves nothing.
    pub fn record(self, recording: Recording<'_>, watch: &dyn Fn(u32)) -> Result<Recorded> {
        let Recording {
            rate,
            seconds,
            folder,
        } = recording;
        let out = folder.join("out.folded");
        // Nothing of an earlier run may be taken for this one's.
        let _ = fs::remove_file(&out);
        let (rate, time) = (rate.to_string(), seconds.to_string());
        let written = || -> Result<String> {
            let text = fs::read(&out).context("it wrote nothing")?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let run = |command: &mut Command| -> Result<Spent> {
            let tool = Tool::start(command)?;
            watch(tool.pid());
            tool.spent(Duration::from_secs(seconds) + PATIENCE)
        };
        let mut command = match self {
            Self::Observer => {
                let mut command = Command::new(observer_bin());
                command.args(["record", "--frequency", &rate, "--duration"]);
                command.arg(format!("{seconds}s")).arg("-o").arg(&out);
                command
            }
            Self::Probee { dwarf } => {
                let mut command = Command::new(super::probee().context("it isn't there")?);
                command.args(dwarf.then_some("--dwarf"));
                command.args(["-f", &rate, "-t", &(seconds * 1000).to_string()]);
                command.arg("-o").arg(&out);
                command
            }
            Self::Perf { dwarf } => {
                let data = folder.join("perf.data");
                let mut record = Command::new("perf");
                let graph = if dwarf { "dwarf" } else { "fp" };
                record.args(["record", "-q", "-F", &rate, "--call-graph", graph, "-a"]);
                record.arg("-o").arg(&data).args(["--", "sleep", &time]);
                let recorded = run(&mut record)?;
                let mut script = Command::new("sh");
                script.args([
                    "-c",
                    "exec perf script -F comm,pid,ip,sym -i \"$0\" >\"$1\"",
                ]);
                // Only the latter unwinds what was copied.
                let read = run(script.arg(&data).arg(&out))?;
                let _ = fs::remove_file(&data);
                let lines = stacks::perf_script(&written()?);
                let spent = Spent {
                    user: recorded.user + read.user,
                    system: recorded.system + read.system,
                    peak: recorded.peak.max(read.peak),
                    printed: recorded.printed + &read.printed,
                };
                return Ok(Recorded {
                    spent,
                    lines: Some(lines),
                });
            }
            Self::Bpftrace => {
                let mut command = Command::new("bpftrace");
                command.arg("-e").arg(format!(
                    "profile:hz:{rate} {{ @[comm, ustack] = count(); }} interval:s:{time} {{ exit(); }}"
                ));
                command
            }
            Self::Bcc => {
                let mut command = Command::new("profile-bpfcc");
                command.args(["-f", "-F", &rate, &time]);
                command
            }
            Self::Lightswitch => {
                // It wants a prime number: 97 for 99, 997 for 999.
                let mut command = Command::new(lightswitch().context("it isn't there")?);
                let prime = (recording.rate - 2).to_string();
                command.args(["--sample-freq", &prime, "--duration", &time]);
                command.args(["--profile-format", "none"]);
                command
            }
        };
        if self != Self::Observer {
            peers::with_tracefs(&mut command);
        }
        let spent = run(&mut command)?;
        let lines = match self {
            Self::Observer | Self::Probee { .. } => Some(stacks::folded(&written()?)),
            Self::Bpftrace => Some(stacks::bpftrace(&spent.printed)),
            Self::Bcc => Some(stacks::folded(&spent.printed)),
            Self::Perf { .. } | Self::Lightswitch => None,
        };
        if let Some(lines) = &lines {
            ensure!(!lines.is_empty(), "there are no samples in what it wrote");
        }
        Ok(Recorded { spent, lines })
    }
}

/// Where lightswitch is: what `OBSERVER_LIGHTSWITCH` says, else where `PATH`
/// leads.
fn lightswitch() -> Option<PathBuf> {
    let said = std::env::var_os("OBSERVER_LIGHTSWITCH");
    said.map(PathBuf::from)
        .or_else(|| peers::find("lightswitch"))
}
