//! Processes of our own that carry TCP, on command: the bench program under
//! another name, in a network namespace of its own if need be.
//!
//! Each line on its standard input is a command, each line on its standard
//! output the answer; it ends with its input.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{Backlog, listen};

/// The argument by which our own program becomes an agent; after it come its
/// name and, if it has one, its network namespace.
pub const ARGUMENT: &str = "--load-agent";

/// Bytes that are written and read at once.
const CHUNK: usize = 64 * 1024;

/// A running agent; ends when dropped.
pub struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts one named `comm` (at most 15 bytes), in our own network namespace
    /// or in one that `ip netns` knows.
    pub fn start(comm: &str, namespace: Option<&str>) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, comm])
            .args(namespace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start an agent")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("a piped output")?);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// Has it carry out a command; its answer.
    pub fn ask<const N: usize>(&mut self, command: &str) -> Result<[u64; N]> {
        let input = self.input.as_mut().context("a piped input")?;
        writeln!(input, "{command}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
        let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
        numbers.with_context(|| format!("the agent answers {command:?} with {line:?}"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does until its input ends.
pub fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(2);
    let name = arguments.next().context("an agent has a name")?;
    if let Some(namespace) = arguments.next() {
        // Before there are threads: they inherit it.
        let file = File::open(format!("/run/netns/{namespace}"))?;
        setns(file, CloneFlags::CLONE_NEWNET)?;
    }
    nix::sys::prctl::set_name(&CString::new(name)?)?;
    let accepted = Arc::new(AtomicU64::new(0));
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match obey(&words, &accepted) {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("failed: {error:#}"),
        }
    }
    Ok(())
}

fn obey(words: &[&str], accepted: &Arc<AtomicU64>) -> Result<String> {
    Ok(match words {
        // So many threads take connections and close them when the other side
        // has. The answer: the port.
        ["serve", threads] => serve(threads.parse()?, accepted)?.to_string(),
        // How many it has taken so far.
        ["accepted"] => accepted.load(Ordering::SeqCst).to_string(),
        // So many threads open and close connections to a port of the loopback
        // for so many milliseconds. The answer: how many, in nanoseconds.
        ["connect", port, threads, milliseconds] => connect(
            port.parse()?,
            threads.parse()?,
            Duration::from_millis(milliseconds.parse()?),
        )?,
        // Sends to an address on so many connections for so many milliseconds,
        // and waits until all is there. The answer: bytes, in nanoseconds.
        ["send", to, connections, milliseconds] => send(
            to.parse()?,
            connections.parse()?,
            Duration::from_millis(milliseconds.parse()?),
        )?,
        // A counter of TCP in its network namespace.
        ["mib", name] => mib(name)?.to_string(),
        _ => bail!("no such command: {words:?}"),
    })
}

fn serve(threads: usize, accepted: &Arc<AtomicU64>) -> Result<u16> {
    let listener = Arc::new(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?);
    // std's backlog of 128 is short for hundreds at once.
    listen(&*listener, Backlog::new(4096)?)?;
    let port = listener.local_addr()?.port();
    for _ in 0..threads {
        let (listener, accepted) = (listener.clone(), accepted.clone());
        std::thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            for mut stream in listener.incoming().flatten() {
                accepted.fetch_add(1, Ordering::SeqCst);
                // An error is an end, too.
                while matches!(stream.read(&mut buffer), Ok(1..)) {}
            }
        });
    }
    Ok(port)
}

fn connect(port: u16, threads: usize, time: Duration) -> Result<String> {
    together(threads, move |thread, begin| {
        let mut count = 0;
        while begin.elapsed() < time {
            // All of 127.0.0.0/8 is the loopback: with one address of it the
            // kernel would soon search long for a free port.
            let [_, _, high, low] = (count as u32 % 4096).to_be_bytes();
            let host = Ipv4Addr::new(127, 1 + thread as u8, high, low.max(1));
            let mut stream = TcpStream::connect((host, port))?;
            stream.shutdown(Shutdown::Write)?;
            // The other side closes, too: the connection has ended.
            let _ = stream.read(&mut [0])?;
            count += 1;
        }
        Ok(count)
    })
}

fn send(to: SocketAddrV4, connections: usize, time: Duration) -> Result<String> {
    together(connections, move |_, begin| {
        let mut stream = TcpStream::connect(SocketAddr::V4(to))?;
        let chunk = vec![1; CHUNK];
        let mut bytes = 0_u64;
        while begin.elapsed() < time {
            stream.write_all(&chunk)?;
            bytes += CHUNK as u64;
        }
        stream.shutdown(Shutdown::Write)?;
        // The other side closes when it has read all.
        let _ = stream.read(&mut [0])?;
        Ok(bytes)
    })
}

/// What so many threads did, added up, and how many nanoseconds it took.
fn together(
    threads: usize,
    work: impl Fn(usize, Instant) -> Result<u64> + Copy + Send + 'static,
) -> Result<String> {
    let begin = Instant::now();
    let threads = 0..threads;
    let running: Vec<_> = threads
        .map(|thread| std::thread::spawn(move || work(thread, begin)))
        .collect();
    let mut sum = 0;
    for thread in running {
        sum += thread
            .join()
            .map_err(|_| anyhow::anyhow!("it panicked"))??;
    }
    Ok(format!("{sum} {}", begin.elapsed().as_nanos()))
}

/// A counter of `/proc/net/snmp`, whose lines come in pairs: names, values.
fn mib(name: &str) -> Result<u64> {
    // The main thread's namespace; /proc/net would be it, too.
    let text = fs::read_to_string("/proc/self/net/snmp")?;
    let mut tcp = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let names = tcp.next().unwrap_or_default().split_whitespace();
    let values = tcp.next().unwrap_or_default().split_whitespace();
    let found = names.zip(values).find(|(key, _)| *key == name);
    let (_, value) = found.with_context(|| format!("no counter {name} of TCP"))?;
    Ok(value.parse()?)
}
