//! What `observer-peer` does with datagrams:
//!
//! - `udp ADDRESS BYTES`: binds a socket with a receive buffer of so many bytes (the kernel
//!   takes twice that; 0: its default). Answers with the address.
//! - `udp-receive N`: receives N datagrams of the first socket. Answers with their bytes.
//! - `udp-send ADDRESS N BYTES`: N datagrams of so many bytes, from a socket of their own.
//! - `udp-segments ADDRESS N BYTES`: N sends, each of ten datagrams of so many bytes, which the
//!   kernel or the network card cuts (`UDP_SEGMENT`).
//! - `udp-broken PORT N`: N datagrams to 10.77.0.2 with a wrong checksum, made by hand.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, setsockopt,
    socket, sockopt,
};

/// How long a datagram may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Datagrams of one send with `udp-segments`.
pub const SEGMENTS: usize = 10;

/// The sockets of a peer.
#[derive(Debug, Default)]
pub struct Datagrams {
    sockets: Vec<UdpSocket>,
}

impl Datagrams {
    /// Carries out a command, and returns its answer; `None` if it is another's.
    ///
    /// # Errors
    /// When a socket can't do it.
    pub fn obey(&mut self, words: &[&str]) -> Result<Option<String>> {
        Ok(Some(match words {
            ["udp", address, bytes] => self.bind(address, bytes.parse()?)?,
            ["udp-receive", n] => self.receive(n.parse()?)?.to_string(),
            ["udp-send", address, n, bytes] => {
                send(address.parse()?, n.parse()?, bytes.parse()?, 1)?;
                (*n).to_owned()
            }
            ["udp-segments", address, n, bytes] => {
                send(address.parse()?, n.parse()?, bytes.parse()?, SEGMENTS)?;
                (*n).to_owned()
            }
            ["udp-broken", port, n] => {
                broken(port.parse()?, n.parse()?)?;
                (*n).to_owned()
            }
            _ => return Ok(None),
        }))
    }

    fn bind(&mut self, address: &str, bytes: usize) -> Result<String> {
        let socket = UdpSocket::bind(address)?;
        if bytes != 0 {
            setsockopt(&socket, sockopt::RcvBuf, &bytes)?;
        }
        socket.set_read_timeout(Some(PATIENCE))?;
        let address = socket.local_addr()?.to_string();
        self.sockets.push(socket);
        Ok(address)
    }

    fn receive(&self, n: u64) -> Result<usize> {
        let socket = self.sockets.first().context("there is no socket")?;
        let mut room = [0; 65536];
        let mut bytes = 0;
        for _ in 0..n {
            bytes += socket.recv(&mut room)?;
        }
        Ok(bytes)
    }
}

fn send(to: SocketAddr, n: u64, bytes: usize, segments: usize) -> Result<()> {
    let any = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    // Not connected: it isn't told that nobody listens.
    let socket = UdpSocket::bind(any)?;
    if segments > 1 {
        setsockopt(&socket, sockopt::UdpGsoSegment, &i32::try_from(bytes)?)?;
    }
    let message = vec![7; bytes * segments];
    for _ in 0..n {
        socket.send_to(&message, to)?;
    }
    Ok(())
}

fn broken(port: u16, n: u64) -> Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Udp,
    )?;
    let mut datagram = [0_u8; 16];
    let words = [40_000, port, 16, 0xbad];
    for (bytes, word) in datagram.chunks_exact_mut(2).zip(words) {
        bytes.copy_from_slice(&u16::to_be_bytes(word));
    }
    let to = SockaddrIn::new(10, 77, 0, 2, 0);
    for _ in 0..n {
        sendto(socket.as_raw_fd(), &datagram, &to, MsgFlags::empty())?;
    }
    Ok(())
}
