//! Does a known amount of something under a chosen name:
//! `observer-workload NAME STEP…` with the steps
//!
//! - `getppid=N`: N getppid calls
//! - `enoent=N`: N openat calls that fail with ENOENT
//! - `sleep=N:MS`: N sleeps of MS milliseconds
//! - `slept=N:MS`: the same; prints how many nanoseconds they took by its own clock
//! - `ask=N`: getppid calls, N and then again N, until its standard input ends; prints how
//!   many that were
//! - `rename=N`: N names `n0`, `n1`, …, one after the other, a getppid call under each,
//!   again and again until its standard input ends; prints how many calls that were
//! - `connect=N`: N TCP connections to itself over the loopback
//! - `spin=MS`: MS milliseconds of CPU time
//! - `keep=N:MS`: N MiB of memory that it writes to and keeps, MS milliseconds after each
//! - `open=N:MS`: N descriptors that it keeps, MS milliseconds after each
//! - `spawn=N:CALLS:MS`: N child processes, at most 50 at once, that make
//!   CALLS getppid calls and live for MS milliseconds
//!
//! However slow the machine is, it ends after ten minutes: by SIGALRM.

use std::ffi::CString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::wait::wait;
use nix::unistd::{ForkResult, fork};

/// Seconds after which it ends in any case.
const LONGEST: libc::c_uint = 600;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().context("usage: observer-workload NAME STEP…")?;
    nix::sys::prctl::set_name(&CString::new(name)?)?;
    nix::unistd::alarm::set(LONGEST);
    for step in args {
        let (what, numbers) = step.split_once('=').context("a step is WHAT=N")?;
        let numbers = numbers
            .split(':')
            .map(str::parse)
            .collect::<Result<Vec<u64>, _>>()
            .with_context(|| step.clone())?;
        match (what, numbers.as_slice()) {
            ("getppid", [n]) => getppid(*n),
            ("enoent", [n]) => enoent(*n),
            ("sleep", [n, ms]) => sleep(*n, *ms),
            ("slept", [n, ms]) => slept(*n, *ms),
            ("ask", [n]) => ask(*n),
            ("spin", [ms]) => spin(*ms),
            ("keep", [n, ms]) => keep(*n, *ms),
            ("open", [n, ms]) => open(*n, *ms)?,
            ("rename", [n]) => rename(*n)?,
            ("connect", [n]) => connect(*n)?,
            ("spawn", [n, calls, ms]) => spawn(*n, *calls, *ms)?,
            _ => bail!("no such step: {step}"),
        }
    }
    Ok(())
}

fn getppid(n: u64) {
    for _ in 0..n {
        // SAFETY: has no preconditions. Not through libc's wrapper, which
        // might one day cache.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
}

/// Becomes true when standard input ends.
fn told() -> Arc<AtomicBool> {
    let told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&told);
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        tell.store(true, Ordering::Relaxed);
    });
    told
}

fn ask(n: u64) {
    let told = told();
    let mut calls = 0;
    while !told.load(Ordering::Relaxed) {
        getppid(n);
        calls += n;
    }
    println!("{calls}");
}

fn rename(n: u64) -> Result<()> {
    let told = told();
    let mut calls = 0;
    while !told.load(Ordering::Relaxed) {
        for i in 0..n {
            nix::sys::prctl::set_name(&CString::new(format!("n{i}"))?)?;
            getppid(1);
        }
        calls += n;
    }
    println!("{calls}");
    Ok(())
}

fn enoent(n: u64) {
    let path = c"/observer/does/not/exist";
    for _ in 0..n {
        // SAFETY: a valid path.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                path.as_ptr(),
                libc::O_RDONLY,
            )
        };
        assert_eq!(fd, -1);
    }
}

fn sleep(n: u64, ms: u64) {
    for _ in 0..n {
        std::thread::sleep(Duration::from_millis(ms));
    }
}

fn slept(n: u64, ms: u64) {
    let mut all = Duration::ZERO;
    for _ in 0..n {
        let begin = Instant::now();
        sleep(1, ms);
        all += begin.elapsed();
    }
    println!("{}", all.as_nanos());
}

/// Opens and closes connections to itself; each has two ends here.
fn connect(n: u64) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    for _ in 0..n {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        client.write_all(b"ping")?;
        let mut ping = [0; 4];
        server.read_exact(&mut ping)?;
        drop(client);
        // Only when the other end's FIN is here are both closed in order.
        server.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// Burns CPU time as the kernel accounts it to this thread.
fn spin(ms: u64) {
    let used = || {
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
            .map_or(Duration::ZERO, Duration::from)
    };
    let end = used() + Duration::from_millis(ms);
    let mut x = 1u64;
    while used() < end {
        for _ in 0..10_000 {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

/// Takes memory, and never gives it back.
fn keep(n: u64, ms: u64) {
    for _ in 0..n {
        let mebibyte = vec![1_u8; 1 << 20];
        std::hint::black_box(mebibyte).leak();
        sleep(1, ms);
    }
}

/// Takes descriptors, and never gives them back.
fn open(n: u64, ms: u64) -> Result<()> {
    for _ in 0..n {
        std::mem::forget(std::fs::File::open("/dev/null")?);
        sleep(1, ms);
    }
    Ok(())
}

fn spawn(n: u64, calls: u64, ms: u64) -> Result<()> {
    let mut running = 0;
    for _ in 0..n {
        if running == 50 {
            wait()?;
            running -= 1;
        }
        // SAFETY: this process has one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                getppid(calls);
                std::thread::sleep(Duration::from_millis(ms));
                std::process::exit(0);
            }
            ForkResult::Parent { .. } => running += 1,
        }
    }
    while running > 0 {
        wait()?;
        running -= 1;
    }
    Ok(())
}
