//! Short processes, as fast as they go or as many as asked for per second.

use std::ffi::CString;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, execv, fork};

use super::{Body, Burst};

/// The program is the second argument, processes per second (0 = as fast as they
/// go) the third.
pub(super) fn body() -> Result<Body> {
    let mut arguments = std::env::args().skip(3);
    let program = CString::new(arguments.next().context("which program?")?)?;
    let pace: f64 = arguments.next().context("how many per second?")?.parse()?;
    Ok(Box::new(move |time| burst(&program, pace, time)))
}

/// The time that counts is that on CPU, of the children with our own.
fn burst(program: &CString, pace: f64, time: Duration) -> Result<Burst> {
    let (begin, cpu) = (Instant::now(), cpu_time()?);
    let mut rounds = 0;
    while begin.elapsed() < time {
        once(program)?;
        rounds += 1;
        if pace > 0.0 {
            let due = Duration::from_secs_f64(rounds as f64 / pace);
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
    }
    Ok(Burst {
        rounds,
        ns: (cpu_time()? - cpu) * 1e9,
        calls: rounds,
    })
}

fn once(program: &CString) -> Result<()> {
    // SAFETY: this process has no other threads, so the child may do anything.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Child => {
            let _ = execv(program, &[program]);
            // SAFETY: ends the child and nothing else.
            unsafe { libc::_exit(1) }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None)?;
            ensure!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
            Ok(())
        }
    }
}

/// CPU seconds of this process and its children that have ended, to the
/// microsecond.
fn cpu_time() -> Result<f64> {
    let seconds = |usage: Usage| {
        [usage.user_time(), usage.system_time()]
            .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
            .iter()
            .sum::<f64>()
    };
    let own = seconds(getrusage(UsageWho::RUSAGE_SELF)?);
    Ok(own + seconds(getrusage(UsageWho::RUSAGE_CHILDREN)?))
}
