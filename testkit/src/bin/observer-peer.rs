//! Does TCP and UDP on command: `observer-peer NAME [NETNS]` reads commands, one per
//! line, and answers each with `ok ANSWER`:
//!
//! - `serve ADDRESS`: listens; reads each connection to its end, then answers
//!   with half as many bytes. Answers with the address.
//! - `listen ADDRESS`: listens, accepts nothing. Answers with the address.
//! - `connect ADDRESS N THREADS`: N short connections, by so many threads.
//!   Answers with the nanoseconds that all connect calls took together.
//! - `exchange ADDRESS BYTES`: sends, and reads the answer to its end.
//! - `hold ADDRESS N`: opens N connections and keeps them.
//! - `write BYTES`: sends on the first held connection, and waits until all of
//!   it is acknowledged.
//! - `push BYTES`: the same without waiting.
//! - `accept BYTES`: accepts a connection of the first `listen`, reads and
//!   keeps it.
//! - `read BYTES`: reads from the first held connection; accepts it if need be.
//! - `reset`: ends the first held connection with a reset.
//! - `delegate NAME`: accepts a connection of the first `listen`; a child process
//!   of that name reads it to its end.
//! - `half`: closes the first held connection for writing.
//! - `release`: closes held connections, in order.
//! - `fail ADDRESS MS`: a connect that fails, within a time. Answers with errno.
//! - `syn PORT`: a SYN from 10.77.0.9 to 10.77.0.2, made by hand.
//! - `mib TABLE NAME`: a counter of /proc/net/snmp or netstat, e.g. `Tcp RetransSegs`.
//! - `udp…`: those of [`observer_testkit::datagrams`].
//! - `states`: /proc/net/tcp and tcp6, as `STATE=COUNT …` with hex states.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage};
use nix::unistd::{ForkResult, fork};
use observer_testkit::datagrams::Datagrams;

#[derive(Default)]
struct Peer {
    listeners: Vec<TcpListener>,
    held: Vec<TcpStream>,
    datagrams: Datagrams,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().context("usage: observer-peer NAME [NETNS]")?;
    if let Some(namespace) = args.next() {
        let file = File::open(format!("/run/netns/{namespace}"))?;
        setns(file, CloneFlags::CLONE_NEWNET)?;
    }
    nix::sys::prctl::set_name(&CString::new(name)?)?;
    let mut peer = Peer::default();
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match peer.obey(&words) {
            Ok(answer) => println!("ok {answer}"),
            Err(error) => println!("failed {error:#}"),
        }
    }
    Ok(())
}

impl Peer {
    fn obey(&mut self, words: &[&str]) -> Result<String> {
        Ok(match words {
            ["serve", address] => serve(address)?,
            ["listen", address] => {
                let listener = TcpListener::bind(address)?;
                let address = listener.local_addr()?.to_string();
                self.listeners.push(listener);
                address
            }
            ["connect", address, n, threads] => {
                connect(address.parse()?, n.parse()?, threads.parse()?)?.to_string()
            }
            ["exchange", address, bytes] => exchange(address, bytes.parse()?)?.to_string(),
            ["hold", address, n] => {
                for _ in 0..n.parse::<u32>()? {
                    self.held.push(TcpStream::connect(address)?);
                }
                self.held.len().to_string()
            }
            ["write", bytes] => write(self.held.first().context("nothing held")?, bytes.parse()?)?,
            ["push", bytes] => {
                let mut stream = self.held.first().context("nothing held")?;
                stream.write_all(&vec![1; bytes.parse()?])?;
                bytes.to_string()
            }
            ["read", bytes] => {
                if self.held.is_empty() {
                    let listener = self.listeners.first().context("not listening")?;
                    self.held.push(listener.accept()?.0);
                }
                let mut buffer = vec![0; bytes.parse()?];
                self.held[0].read_exact(&mut buffer)?;
                buffer.len().to_string()
            }
            ["accept", bytes] => {
                let listener = self.listeners.first().context("not listening")?;
                let (mut stream, _) = listener.accept()?;
                let mut buffer = vec![0; bytes.parse()?];
                stream.read_exact(&mut buffer)?;
                self.held.push(stream);
                buffer.len().to_string()
            }
            ["reset"] => {
                ensure!(!self.held.is_empty(), "nothing held");
                reset(&self.held.remove(0))?;
                "0".into()
            }
            ["delegate", name] => {
                let listener = self.listeners.first().context("not listening")?;
                let (mut stream, _) = listener.accept()?;
                // SAFETY: without `serve` this process has one thread.
                match unsafe { fork() }? {
                    ForkResult::Child => {
                        nix::sys::prctl::set_name(&CString::new(*name)?)?;
                        let _ = stream.read_to_end(&mut Vec::new());
                        drop(stream);
                        std::process::exit(0);
                    }
                    ForkResult::Parent { child } => child.to_string(),
                }
            }
            ["half"] => {
                let stream = self.held.first().context("nothing held")?;
                stream.shutdown(std::net::Shutdown::Write)?;
                "0".into()
            }
            ["release"] => {
                let n = self.held.len();
                self.held.clear();
                n.to_string()
            }
            ["fail", address, ms] => {
                let limit = Duration::from_millis(ms.parse()?);
                match TcpStream::connect_timeout(&address.parse()?, limit) {
                    Ok(_) => bail!("it worked"),
                    Err(error) => error.raw_os_error().unwrap_or(0).to_string(),
                }
            }
            ["syn", port] => syn(port.parse()?)?,
            ["mib", table, name] => mib(table, name)?.to_string(),
            ["states"] => states()?,
            _ => match self.datagrams.obey(words)? {
                Some(answer) => answer,
                None => bail!("no such command: {words:?}"),
            },
        })
    }
}

fn serve(address: &str) -> Result<String> {
    let listener = TcpListener::bind(address)?;
    // std's backlog of 128 is too short for thousands at once.
    nix::sys::socket::listen(&listener, Backlog::new(4096)?)?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut received = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            n => received += n,
        }
    }
    stream.write_all(&vec![7; received / 2])?;
    Ok(())
}

fn connect(address: SocketAddr, n: u64, threads: u64) -> Result<u64> {
    let took = AtomicU64::new(0);
    let to = SockaddrStorage::from(address);
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                let took = &took;
                scope.spawn(move || -> Result<()> {
                    for _ in 0..n / threads + u64::from(index < n % threads) {
                        let socket = nix::sys::socket::socket(
                            family,
                            SockType::Stream,
                            SockFlag::SOCK_CLOEXEC,
                            None,
                        )?;
                        let begin = Instant::now();
                        nix::sys::socket::connect(socket.as_raw_fd(), &to)?;
                        took.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
                        let mut stream = TcpStream::from(socket);
                        stream.shutdown(std::net::Shutdown::Write)?;
                        // The other side closes too: the connection has ended.
                        stream.read_to_end(&mut Vec::new())?;
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })?;
    Ok(took.into_inner())
}

fn exchange(address: &str, bytes: usize) -> Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    send(&mut stream, bytes)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.len())
}

fn send(stream: &mut TcpStream, mut bytes: usize) -> Result<()> {
    let chunk = vec![1; 64 * 1024];
    while bytes > 0 {
        let n = bytes.min(chunk.len());
        stream.write_all(&chunk[..n])?;
        bytes -= n;
    }
    Ok(())
}

fn write(stream: &TcpStream, bytes: usize) -> Result<String> {
    send(&mut stream.try_clone()?, bytes)?;
    for _ in 0..1000 {
        let mut left: libc::c_int = 0;
        // SAFETY: TIOCOUTQ writes an int: what isn't acknowledged.
        unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) };
        if left == 0 {
            return Ok(bytes.to_string());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("not acknowledged")
}

/// Closes with SO_LINGER 0.
fn reset(stream: &TcpStream) -> Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option's value and its size.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as u32,
        )
    };
    ensure!(result == 0, "SO_LINGER");
    Ok(())
}

fn syn(port: u16) -> Result<String> {
    let (from, to) = ([10, 77, 0, 9], [10, 77, 0, 2]);
    let mut tcp = [0; 20];
    tcp[..2].copy_from_slice(&40_000u16.to_be_bytes());
    tcp[2..4].copy_from_slice(&port.to_be_bytes());
    tcp[4..8].copy_from_slice(&12_345u32.to_be_bytes());
    tcp[12] = 5 << 4; // five words of header
    tcp[13] = 2; // SYN
    tcp[14..16].copy_from_slice(&1000u16.to_be_bytes());
    // Over the pseudo header of RFC 9293, 3.1.
    let pseudo = [&from[..], &to[..], &[0, 6, 0, 20]].concat();
    let mut sum: u32 = pseudo
        .chunks(2)
        .chain(tcp.chunks(2))
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    tcp[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    // The kernel fills in the IP header's lengths and checksum (raw(7)).
    let ip = [
        &[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0][..],
        &from[..],
        &to[..],
    ]
    .concat();
    let packet = [&ip[..], &tcp[..]].concat();
    // SAFETY: plain socket calls; the address is initialized.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW);
        ensure!(fd >= 0, "raw socket");
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as u16;
        address.sin_addr.s_addr = u32::from_ne_bytes(to);
        let sent = libc::sendto(
            fd,
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_in>() as u32,
        );
        libc::close(fd);
        ensure!(
            sent == packet.len() as isize,
            "sendto: {}",
            std::io::Error::last_os_error()
        );
    }
    Ok("0".into())
}

fn mib(table: &str, name: &str) -> Result<u64> {
    for file in ["/proc/self/net/snmp", "/proc/self/net/netstat"] {
        let text = std::fs::read_to_string(file)?;
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            if names.split(':').next() == Some(table)
                && let Some(index) = names.split_whitespace().position(|n| n == name)
            {
                let value = values.split_whitespace().nth(index).context("no value")?;
                return Ok(value.parse()?);
            }
        }
    }
    bail!("no counter {table} {name}")
}

fn states() -> Result<String> {
    let mut states = BTreeMap::<String, u32>::new();
    for file in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let file = std::io::BufReader::new(File::open(file)?);
        for line in file.lines().skip(1) {
            let line = line?;
            let state = line.split_whitespace().nth(3).context("no state")?;
            *states.entry(state.to_string()).or_default() += 1;
        }
    }
    let states: Vec<String> = states.iter().map(|(s, n)| format!("{s}={n}")).collect();
    Ok(format!("- {}", states.join(" ")))
}
