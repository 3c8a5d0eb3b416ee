//! Which exchanges are followed, if not all of them are.
//!
//! Decided when the side that asks takes its turn. What a parser needs later
//! on (a session's beginning, statements that are prepared under a name) is
//! followed in any case, and what belongs to an exchange that has begun goes
//! its way.

use super::protocol::{Beginning, begins};
use super::proxy::begins_proxied;

/// Numbers that stand for no request in [`crate::slot::Slot::request`].
pub mod request {
    /// The thread serves none that is known.
    pub const NONE: u64 = 0;
    /// It serves one that isn't followed: nor are the calls made for it.
    pub const UNFOLLOWED: u64 = u64::MAX;

    /// The number of a request, if it is followed; otherwise [`NONE`].
    #[inline(always)]
    pub const fn followed(number: u64) -> u64 {
        if number == UNFOLLOWED { NONE } else { number }
    }
}

/// Why an exchange isn't followed: bits 16 and up of the label by which it is counted
/// ([`crate::tally::Kind::RequestUnfollowed`]).
pub mod unfollowed {
    /// Only a share is ([`crate::tunables::Tunables::request_share`]).
    pub const SHARE: u32 = 0;
    /// The ring had no room: the daemon was late, or too little of the ring is the tenant's.
    pub const NO_ROOM: u32 = 1;
}

/// What a piece of `length` bytes begins, by its first eight (in order, zeroes
/// behind its end); `None` if they can't be read. `pieces` of the connection
/// were followed before.
#[inline(always)]
pub fn beginning(protocol: u8, first: Option<u64>, length: u32, pieces: u32) -> Beginning {
    match first {
        // Something stands before it.
        Some(first) if pieces == 0 && begins_proxied(first) => Beginning::EXCHANGE,
        Some(first) => begins(protocol, first, length, pieces),
        None => Beginning::EXCHANGE,
    }
}

/// Whether the exchange with this `seed` is one of the 2^`share`th part that is
/// followed. Both ends of a connection decide alike by the same seed.
#[inline(always)]
pub fn chosen(seed: u64, share: u32) -> bool {
    share < crate::tunables::Tunables::NO_REQUESTS && mixed(seed) & ((1 << share) - 1) == 0
}

/// A seed's bits, mixed (the finalizer of splitmix64, but for its last step).
#[inline(always)]
pub fn mixed(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Protocol;

    const GOES_ON: Beginning = Beginning::NONE;
    const BEGINS: Beginning = Beginning::EXCHANGE;
    const NEEDED: Beginning = Beginning::NEEDED;

    fn look(protocol: Protocol, bytes: &[u8], pieces: u32) -> Beginning {
        let mut first = [0; 8];
        let n = bytes.len().min(8);
        first[..n].copy_from_slice(&bytes[..n]);
        let first = Some(u64::from_le_bytes(first));
        beginning(protocol as u8, first, bytes.len() as u32, pieces)
    }

    /// Checks what is taken for an exchange, and what must be followed.
    #[test]
    fn exchanges_begin() {
        use Protocol::*;
        let cases: &[(Protocol, &[u8], Beginning)] = &[
            (Http1, b"GET / HTTP/1.1\r\n", BEGINS),
            (Http1, b"OPTIONS * HTTP/1.1\r\n", BEGINS),
            (Http1, b"a body that goes on", GOES_ON),
            (Http1, b"\x81\x85frame", GOES_ON),
            (Postgres, b"Q\0\0\0\x0dselect 1\0", BEGINS),
            (Postgres, b"P\0\0\0\x10\0select 1\0\0\0", BEGINS),
            (Postgres, b"P\0\0\0\x12s1\0select 1\0\0\0", NEEDED),
            (Postgres, b"B\0\0\0\x0e\0s1\0\0\0\0\0\0\0", BEGINS),
            (Postgres, b"C\0\0\0\x08Ss1\0", NEEDED),
            (Postgres, b"d\0\0\0\x081\t2\n", GOES_ON),
            (Postgres, b"X\0\0\0\x04", GOES_ON),
            (MySql, b"\x09\0\0\0\x03select 1", BEGINS),
            (MySql, b"\x06\0\0\0\x03USE a", NEEDED),
            (MySql, b"\x09\0\0\0\x16select 1", NEEDED),
            (MySql, b"\x0a\0\0\0\x17\x01\0\0\0\0", BEGINS),
            (MySql, b"\x20\0\0\x01\x85\xa6\xff\x01", GOES_ON),
            (MySql, b"\x01\0\0\0\x01", GOES_ON),
            (Redis, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", BEGINS),
            (Redis, b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n", NEEDED),
            (Dns, b"\x12\x34\x01\x20\0\x01\0\0", BEGINS),
            (Http2, b"\0\0\x04\x01\x04\0\0\0", BEGINS),
        ];
        for (protocol, bytes, expected) in cases {
            assert_eq!(look(*protocol, bytes, 100), *expected, "{bytes:?}");
        }
        assert!(look(Redis, b"*1\r\n$4\r\nPING\r\n", 0).needed);
        let window = look(Http2, b"\0\0\x04\x08\0\0\0\0", 9);
        assert!(window.exchange && !window.counted);
        let startup = look(Postgres, b"\0\0\0\x08\x04\xd2\x16\x2f", 0);
        assert!(startup.needed && !startup.counted);
        assert_eq!(beginning(Http1 as u8, None, 5, 0), BEGINS);
        let proxied = b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\nGET / HTTP/1.1\r\n";
        assert_eq!(look(Http1, proxied, 0), BEGINS);
        assert_eq!(look(Http1, proxied, 5), GOES_ON);
    }

    /// Checks that about the right part is chosen, of seeds in a row too.
    #[test]
    fn a_share_is_chosen() {
        for (share, step) in [(0, 1), (1, 1), (4, 40), (4, 36), (7, 1)] {
            let total = 1u64 << 16;
            let chosen = (0..total).filter(|i| chosen(i * step, share)).count();
            let expected = (total >> share) as f64;
            let off = (chosen as f64 - expected).abs();
            assert!(off <= 4.0 * expected.sqrt(), "{share}: {chosen}");
        }
        assert!(!chosen(0, crate::tunables::Tunables::NO_REQUESTS));
    }
}
