//! Makes as much of one thing as it can, until its time is over: `observer-flood KIND
//! SECONDS`. Everything it makes is different. It prints a line when it has begun.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What was made so far.
static MADE: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().context("what?")?;
    let seconds: f64 = arguments.next().context("how long?")?.parse()?;
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    println!("{kind}");
    match kind.as_str() {
        "connections" => connections(b"", end)?,
        // The beginning of a TLS handshake (RFC 8446, 5.1).
        "handshakes" => connections(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", end)?,
        "heads" => connections(b"GET /half HTTP/1.1\r\nHost: ", end)?,
        "paths" => paths(end)?,
        "questions" => questions(end)?,
        "stacks" => stacks(end)?,
        "ends" => ends(end)?,
        "reads" => reads(end)?,
        "programs" => programs(end)?,
        "nothing" => {}
        other => bail!("{other}?"),
    }
    eprintln!("{} × {kind}", MADE.load(Ordering::Relaxed));
    Ok(())
}

fn next() -> u64 {
    MADE.fetch_add(1, Ordering::Relaxed)
}

/// A server that says the same to each request that comes in one piece.
fn server() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream) {
    let mut question = [0; 4096];
    while matches!(stream.read(&mut question), Ok(1..)) {
        if stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .is_err()
        {
            return;
        }
    }
}

/// Opens connections, says the beginning of something on each, and keeps as many as it may.
fn connections(beginning: &[u8], end: Instant) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let most = usize::try_from(hard.min(24_000))? / 2 - 50;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut kept = std::collections::VecDeque::new();
    while Instant::now() < end {
        let mut client = TcpStream::connect(address)?;
        let (mut server, _) = listener.accept()?;
        if !beginning.is_empty() {
            client.write_all(beginning)?;
            server.read_exact(&mut vec![0; beginning.len()])?;
        }
        next();
        kept.push_back((client, server));
        if kept.len() > most {
            kept.pop_front();
        }
    }
    Ok(())
}

/// Makes connections and ends them at once.
fn ends(end: Instant) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    // Each leaves a port behind for a minute.
    while Instant::now() < end && next() < 10_000 {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        drop((client, server));
    }
    Ok(())
}

/// Reads the file that is its standard input, one piece at a time.
fn reads(end: Instant) -> Result<()> {
    #[repr(align(4096))]
    struct Aligned([u8; 4096]);
    let mut piece = Aligned([0; 4096]);
    let file = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    while Instant::now() < end {
        file.read_exact_at(&mut piece.0, next() % 1024 * 4096)?;
    }
    Ok(())
}

/// Starts programs that do nothing.
fn programs(end: Instant) -> Result<()> {
    while Instant::now() < end && next() < 8000 {
        let mut program = std::process::Command::new("/proc/self/exe");
        program.args(["nothing", "0"]);
        let status = program
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()?;
        anyhow::ensure!(status.success(), "{status}");
    }
    Ok(())
}

/// Asks for a path that nobody asked for before, on four connections.
fn paths(end: Instant) -> Result<()> {
    let port = server()?;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || -> Result<()> {
                let mut stream = TcpStream::connect(("127.0.0.1", port))?;
                let mut answer = [0; 512];
                while Instant::now() < end {
                    let word = word(next());
                    write!(
                        stream,
                        "GET /{word}/{word} HTTP/1.1\r\nHost: {word}\r\n\r\n"
                    )?;
                    anyhow::ensure!(stream.read(&mut answer)? > 0, "no answer");
                }
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a thread ended"))??;
    }
    Ok(())
}

/// A number in letters: digits would be taken for an id.
fn word(mut number: u64) -> String {
    let mut word = String::from("w");
    while number > 0 {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

/// Asks a name server of its own, which denies, for one name after the other.
fn questions(end: Instant) -> Result<()> {
    let server = UdpSocket::bind("127.0.0.1:0")?;
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.connect(server.local_addr()?)?;
    let mut buffer = [0; 512];
    while Instant::now() < end {
        let number = next();
        let word = word(number);
        let mut question = vec![
            (number >> 8) as u8,
            number as u8,
            1,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        question.push(u8::try_from(word.len())?);
        question.extend_from_slice(word.as_bytes());
        question.extend_from_slice(b"\x04test\0\0\x01\0\x01");
        client.send(&question)?;
        let (length, from) = server.recv_from(&mut buffer)?;
        let mut answer = buffer[..length].to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x83]);
        server.send_to(&answer, from)?;
        client.recv(&mut buffer)?;
    }
    Ok(())
}

/// Waits for moments in ever other callers.
fn stacks(end: Instant) -> Result<()> {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                while Instant::now() < end {
                    descend(next(), 24);
                }
            })
        })
        .collect();
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a thread ended"))?;
    }
    Ok(())
}

#[inline(never)]
fn descend(path: u64, depth: u32) {
    if depth == 0 {
        return std::thread::sleep(Duration::from_micros(50));
    }
    if path & 1 == 0 {
        even(path >> 1, depth - 1);
    } else {
        odd(path >> 1, depth - 1);
    }
    std::hint::black_box(depth);
}

#[inline(never)]
fn even(path: u64, depth: u32) {
    descend(path, depth);
    std::hint::black_box(path);
}

#[inline(never)]
fn odd(path: u64, depth: u32) {
    descend(path, depth);
    std::hint::black_box(depth);
}
