//! Two threads that pass a message of no known protocol to and fro over TCP, on
//! one CPU: `observer-pingpong SECONDS` prints the rounds per second.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Bytes that no protocol begins with.
const MESSAGE: [u8; 64] = [0xc3; 64];

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).context("SECONDS")?.parse()?;
    // On two CPUs the time would be that of waking the other one.
    let mut set = CpuSet::new();
    set.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.set_nodelay(true)?;
    let (mut server, _) = listener.accept()?;
    server.set_nodelay(true)?;
    std::thread::spawn(move || -> Result<()> {
        let mut buffer = [0; 64];
        loop {
            server.read_exact(&mut buffer)?;
            server.write_all(&buffer)?;
        }
    });
    let mut buffer = [0; 64];
    let time = Duration::from_secs_f64(seconds);
    let begin = Instant::now();
    let mut rounds = 0_u64;
    while begin.elapsed() < time {
        for _ in 0..100 {
            client.write_all(&MESSAGE)?;
            client.read_exact(&mut buffer)?;
        }
        rounds += 100;
    }
    println!("{}", rounds as f64 / begin.elapsed().as_secs_f64());
    Ok(())
}
