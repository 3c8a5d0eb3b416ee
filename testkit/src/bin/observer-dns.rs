//! Looks names up as any program does (getaddrinfo), in a network of its own with
//! a name server of its own: `observer-dns NAME…` prints a line per name, `NAME
//! ADDRESSES`. Of the domain `test` the server knows `known` (192.0.2.1 and
//! 2001:db8::1) and, over TCP only, `long`; to `silent` it never answers; others
//! don't exist.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, ToSocketAddrs, UdpSocket};

use anyhow::{Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Types of records (RFC 1035, 3.2.2, and RFC 3596).
const A: u16 = 1;
const AAAA: u16 = 28;
/// Codes of answers (RFC 1035, 4.1.1).
const NXDOMAIN: u16 = 3;
/// Flags: an answer; one that is cut; recursion was desired and is available.
const ANSWER: u16 = 0x8180;
const TRUNCATED: u16 = 0x0200;

fn main() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    loopback_up()?;
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("resolv.conf");
    // One try of a second: silence costs a test no more.
    fs::write(
        &settings,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(
        Some(&settings),
        "/etc/resolv.conf",
        none,
        MsFlags::MS_BIND,
        none,
    )?;
    let udp = UdpSocket::bind("127.0.0.1:53")?;
    let tcp = TcpListener::bind("127.0.0.1:53")?;
    std::thread::spawn(move || serve_udp(&udp));
    std::thread::spawn(move || serve_tcp(&tcp));
    for name in std::env::args().skip(1) {
        let found = (name.as_str(), 80).to_socket_addrs();
        let mut found: Vec<String> = found
            .into_iter()
            .flatten()
            .map(|address| address.ip().to_string())
            .collect();
        found.sort();
        found.dedup();
        println!("{name} {}", found.join(" "));
    }
    Ok(())
}

/// A new network's loopback is down.
fn loopback_up() -> Result<()> {
    // SAFETY: plain calls; the structure is initialized and ours.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        ensure!(fd >= 0, "a socket");
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        let result = libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw const request);
        libc::close(fd);
        ensure!(
            result == 0,
            "SIOCSIFFLAGS: {}",
            std::io::Error::last_os_error()
        );
    }
    Ok(())
}

fn serve_udp(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if let Some(answer) = answer(&buffer[..length], false) {
            let _ = socket.send_to(&answer, client);
        }
    }
}

fn serve_tcp(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        // glibc sends length and question at once, sometimes two on a connection.
        std::thread::spawn(move || -> std::io::Result<()> {
            loop {
                let mut length = [0; 2];
                stream.read_exact(&mut length)?;
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question)?;
                if let Some(answer) = answer(&question, true) {
                    let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
                    framed.extend(answer);
                    stream.write_all(&framed)?;
                }
            }
        });
    }
}

/// The message that answers `question`, with the question repeated in it.
fn answer(question: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at + 1..=at + length)?).into_owned());
        at += 1 + length;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]);
    let name = labels.join(".").to_ascii_lowercase();
    let (flags, known) = match name.as_str() {
        "silent.test" => return None,
        "known.test" => (ANSWER, true),
        "long.test" if tcp => (ANSWER, true),
        "long.test" => (ANSWER | TRUNCATED, false),
        _ => (ANSWER | NXDOMAIN, false),
    };
    let data: &[u8] = match kind {
        A if known => &[192, 0, 2, 1],
        AAAA if known => &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        _ => &[],
    };
    let mut message = question.get(..2)?.to_vec();
    message.extend(flags.to_be_bytes());
    message.extend([0, 1, 0, u8::from(!data.is_empty()), 0, 0, 0, 0]);
    message.extend(question.get(12..end)?);
    if !data.is_empty() {
        // The name is the one at offset 12.
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    }
    Some(message)
}
