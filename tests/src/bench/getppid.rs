//! The measured program: a loop of getppid calls on command, in a process of
//! its own that stays on one CPU.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::{machine, stats};

/// The argument by which our own program becomes the loop.
pub const ARGUMENT: &str = "--getppid-loop";

/// The loop's name, by which the tools report it.
pub const COMM: &str = "bench-getppid";

/// Bursts of a measurement, whose median counts: what interrupts a burst makes
/// it an outlier.
const BURSTS: usize = 15;

/// The running loop; ends when dropped.
pub struct Loop {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Calls made so far.
    pub calls: u64,
}

impl Loop {
    /// Starts it on the last CPU; it waits.
    pub fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
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
            calls: 0,
        };
        this.burst(1)?;
        Ok(this)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU nanoseconds per call, after a burst that warms up.
    pub fn measure(&mut self, calls: u64) -> Result<f64> {
        self.burst(calls)?;
        let bursts: Vec<f64> = (0..BURSTS)
            .map(|_| Ok(self.burst(calls)? / calls as f64))
            .collect::<Result<_>>()?;
        Ok(stats::median(&bursts))
    }

    /// Nanoseconds that `calls` calls take.
    fn burst(&mut self, calls: u64) -> Result<f64> {
        let input = self.input.as_mut().context("a piped input")?;
        writeln!(input, "{calls}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        self.calls += calls;
        line.trim().parse().context("the loop ended")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does: for each number on standard input, that many calls;
/// then it prints how much CPU time they took, in nanoseconds.
pub fn main() -> Result<()> {
    nix::sys::prctl::set_name(&std::ffi::CString::new(COMM)?)?;
    for line in std::io::stdin().lines() {
        let calls: u64 = line?.trim().parse()?;
        let begin = cpu_time()?;
        for _ in 0..calls {
            // SAFETY: has no preconditions. Not through libc's wrapper, which
            // might one day cache.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        println!("{}", cpu_time()? - begin);
    }
    Ok(())
}

/// Time on CPU, so that whoever else runs here doesn't count.
fn cpu_time() -> Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
