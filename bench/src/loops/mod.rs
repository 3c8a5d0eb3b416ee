//! The measured programs: loops on command, in a process of their own that stays
//! on one CPU, so that its cost is that of one kind of work and nothing else.

mod bodies;
mod exec;
mod work;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::machine;

pub use bodies::Kind;
pub use work::{LoopWork, ON_THE_WALL};

/// The argument by which our own program becomes a loop.
pub const ARGUMENT: &str = "--loop";

/// The running loop; ends when dropped.
pub struct Loop {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What a burst came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Burst {
    /// How often it went round.
    pub rounds: u64,
    /// What that took, in nanoseconds, by the clock that the loop goes by.
    pub ns: f64,
    /// System calls that it made for that.
    pub calls: u64,
}

/// Goes round for that much time on CPU.
type Body = Box<dyn FnMut(Duration) -> Result<Burst>>;

impl Burst {
    /// Rounds per second.
    pub fn rate(&self) -> f64 {
        self.rounds as f64 / self.ns * 1e9
    }
}

impl Loop {
    /// Starts it on the last CPU; it waits.
    pub fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, &[])
    }

    /// The same with arguments of the loop's own.
    pub fn start_with(kind: Kind, arguments: &[&OsStr]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, kind.name()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the loop")?;
        let mut set = CpuSet::new();
        set.set(machine::cpus().saturating_sub(1))?;
        sched_setaffinity(Pid::from_raw(child.id().try_into()?), &set)?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("a piped output")?);
        let mut this = Self {
            child,
            input,
            output,
        };
        // It has its name by then.
        this.burst(Duration::ZERO)?;
        Ok(this)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it go round for that long, at least once.
    pub fn burst(&mut self, time: Duration) -> Result<Burst> {
        let input = self.input.as_mut().context("a piped input")?;
        // In one write, as the loop expects it.
        input.write_all(format!("{}\n", time.as_nanos()).as_bytes())?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let mut word = || words.next().context("the loop ended");
        Ok(Burst {
            rounds: word()?.parse()?,
            ns: word()?.parse()?,
            calls: word()?.parse()?,
        })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next command; `None` if there are no more. By `readv`, which none of the
/// loops calls, so that `read`s are the loop's.
fn command() -> Result<Option<Duration>> {
    let mut text = [0_u8; 32];
    let place = libc::iovec {
        iov_base: text.as_mut_ptr().cast(),
        iov_len: text.len(),
    };
    // SAFETY: the kernel writes into `text` as much as there is room. A command
    // is one write to a pipe and so comes whole.
    let length = unsafe { libc::readv(libc::STDIN_FILENO, &raw const place, 1) };
    let length = usize::try_from(length).context("cannot read a command")?;
    let text = std::str::from_utf8(&text[..length])?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(Duration::from_nanos(text.parse()?)))
}

/// What the process does: for each number of nanoseconds on standard input, it
/// goes round for that long; then it prints how often and how long it did.
pub fn main() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let name = std::env::args().nth(2).context("which loop?")?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    let kind = kind.context("no such loop")?;
    nix::sys::prctl::set_name(&std::ffi::CString::new(kind.comm())?)?;
    let mut body = kind.body()?;
    while let Some(time) = command()? {
        let burst = body(time)?;
        println!("{} {} {}", burst.rounds, burst.ns, burst.calls);
    }
    Ok(())
}
