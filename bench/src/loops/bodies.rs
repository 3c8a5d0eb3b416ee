//! What the loops do.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::time::{ClockId, clock_gettime};

use super::{Body, Burst, exec};

/// Rounds between two looks at the clock.
const BATCH: u64 = 500;

/// The loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The cheapest system call there is.
    Getppid,
    /// A read of one byte of /dev/zero.
    Zero,
    /// Two threads that wake each other by futexes.
    Futex,
    /// Two threads that pass a byte to and fro through pipes.
    Pipes,
    /// A fork, an exec of the program that follows the loop's name, and a wait
    /// for its end.
    Exec,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Getppid,
        Self::Zero,
        Self::Futex,
        Self::Pipes,
        Self::Exec,
    ];

    /// The word by which it is chosen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Zero => "zero",
            Self::Futex => "futex",
            Self::Pipes => "pipes",
            Self::Exec => "exec",
        }
    }

    /// The process's name, by which tools report it.
    pub fn comm(self) -> &'static str {
        match self {
            Self::Getppid => "bench-getppid",
            Self::Zero => "bench-zero",
            Self::Futex => "bench-futex",
            Self::Pipes => "bench-pipes",
            Self::Exec => "bench-exec",
        }
    }

    pub(super) fn body(self) -> Result<Body> {
        match self {
            Self::Getppid => Ok(Box::new(getppid)),
            Self::Zero => {
                let mut file = File::open("/dev/zero")?;
                Ok(Box::new(move |time| zero(&mut file, time)))
            }
            Self::Futex => futex(),
            Self::Pipes => pipes(),
            Self::Exec => exec::body(),
        }
    }
}

fn getppid(time: Duration) -> Result<Burst> {
    let burst = burst(time, ClockId::CLOCK_THREAD_CPUTIME_ID, || {
        // SAFETY: has no preconditions. Not through libc's wrapper, which
        // might one day cache.
        unsafe { libc::syscall(libc::SYS_getppid) };
        Ok(())
    })?;
    Ok(Burst {
        calls: burst.rounds,
        ..burst
    })
}

fn zero(file: &mut File, time: Duration) -> Result<Burst> {
    let mut byte = [1];
    let burst = burst(time, ClockId::CLOCK_THREAD_CPUTIME_ID, || {
        ensure!(file.read(&mut byte)? == 1, "/dev/zero ended");
        Ok(())
    })?;
    Ok(Burst {
        calls: burst.rounds,
        ..burst
    })
}

/// Goes round for that much time on CPU, so that whoever else runs here doesn't
/// count.
fn burst(time: Duration, clock: ClockId, mut once: impl FnMut() -> Result<()>) -> Result<Burst> {
    let begin = cpu_time(clock)?;
    let mut rounds = 0;
    loop {
        for _ in 0..BATCH {
            once()?;
        }
        rounds += BATCH;
        let passed = cpu_time(clock)? - begin;
        if passed >= time {
            return Ok(Burst {
                rounds,
                ns: passed.as_nanos() as f64,
                calls: 0,
            });
        }
    }
}

pub(super) fn cpu_time(clock: ClockId) -> Result<Duration> {
    Ok(clock_gettime(clock)?.into())
}

/// Whose turn it is; whoever waits sleeps until it changes.
static TURN: AtomicU32 = AtomicU32::new(0);
/// The other thread goes back to its pipe.
static STOP: AtomicBool = AtomicBool::new(false);
/// Calls of futex made so far.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Two threads by turns. Between bursts the other one waits at a pipe, so that
/// none of its futex calls lasts longer than a burst.
fn futex() -> Result<Body> {
    let (gate, open) = nix::unistd::pipe()?;
    std::thread::spawn(move || {
        while nix::unistd::read(&gate, &mut [0]) == Ok(1) {
            loop {
                wait(1);
                if STOP.load(Ordering::SeqCst) {
                    break;
                }
                pass(0);
            }
        }
    });
    Ok(Box::new(move |time| {
        TURN.store(0, Ordering::SeqCst);
        STOP.store(false, Ordering::SeqCst);
        let before = CALLS.load(Ordering::SeqCst);
        nix::unistd::write(&open, &[0])?;
        let burst = burst(time, ClockId::CLOCK_PROCESS_CPUTIME_ID, || {
            pass(1);
            wait(0);
            Ok(())
        })?;
        STOP.store(true, Ordering::SeqCst);
        pass(1);
        // It is back at its pipe soon, and makes no more calls of futex.
        std::thread::sleep(Duration::from_millis(2));
        let calls = CALLS.load(Ordering::SeqCst) - before;
        Ok(Burst { calls, ..burst })
    }))
}

fn pass(to: u32) {
    TURN.store(to, Ordering::SeqCst);
    call(libc::FUTEX_WAKE, 1);
}

fn wait(own: u32) {
    while TURN.load(Ordering::SeqCst) != own {
        call(libc::FUTEX_WAIT, 1 - own);
    }
}

fn call(operation: libc::c_int, value: u32) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the word is static, and there is no time limit. Errors say that the
    // word has changed already, which the caller looks at anyway.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            TURN.as_ptr(),
            operation | libc::FUTEX_PRIVATE_FLAG,
            value,
            std::ptr::null::<libc::timespec>(),
        )
    };
}

/// A byte goes to and fro between two threads, each of which sleeps until it
/// comes.
fn pipes() -> Result<Body> {
    let (to_read, to_write) = nix::unistd::pipe()?;
    let (back_read, back_write) = nix::unistd::pipe()?;
    std::thread::spawn(move || {
        while nix::unistd::read(&to_read, &mut [0]) == Ok(1) {
            if nix::unistd::write(&back_write, &[0]).is_err() {
                return;
            }
        }
    });
    Ok(Box::new(move |time| {
        let burst = burst(time, ClockId::CLOCK_PROCESS_CPUTIME_ID, || {
            nix::unistd::write(&to_write, &[0])?;
            let got = nix::unistd::read(&back_read, &mut [0])?;
            ensure!(got == 1, "the other thread ended");
            Ok(())
        })?;
        Ok(Burst {
            // Each of the two a read and a write.
            calls: burst.rounds * 4,
            ..burst
        })
    }))
}
