//! Ports for servers that are told theirs.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

/// Below are ports of well-known services.
const FIRST: u16 = 10_000;

/// How many there must be of those that nobody is given, for one to be looked for there.
const ENOUGH: u16 = 1000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port of the loopback that nobody listens at. The kernel gives it to nobody who
/// connects to somewhere, so it also stays free while a server is away: ip(7),
/// `ip_local_port_range`. (Where that is nearly all ports, only for the next few
/// milliseconds.)
///
/// # Errors
/// There is none.
pub fn free() -> Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let given = first_given().unwrap_or(FIRST);
    let count = given.saturating_sub(FIRST);
    if count >= ENOUGH {
        // Other tests look at the same time, in this process and in others.
        let numbers = std::iter::repeat_with(|| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = std::process::id().wrapping_mul(31).wrapping_add(next);
            FIRST + (number % u32::from(count)) as u16
        });
        if let Some(port) = numbers.take(count.into()).find(is_free) {
            return Ok(port);
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The first port that the kernel gives those who ask for any.
fn first_given() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that two that look at the same time find different ports, which can be
    /// listened at, and which the kernel doesn't give whoever asks for any.
    #[test]
    fn different() {
        let (one, other) = (free().expect("a port"), free().expect("a port"));
        assert_ne!(one, other);
        for port in [one, other] {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
            let given = first_given().expect("a range");
            assert!(given < FIRST + ENOUGH || port < given, "{port} of {given}");
        }
    }
}
