//! The PROXY protocol (haproxy's `proxy-protocol.txt`, versions 1 and 2): a header
//! before the first bytes of the side that asks, which says for whom a proxy made the
//! connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use observer_common::requests::begins_proxied;

/// What the binary form begins with (2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest text form (2.1).
const LONGEST: usize = 107;
/// Version 2 and the command PROXY; LOCAL says nothing of a client (2.2).
const PROXY: u8 = 0x21;
/// `AF_INET` and `AF_INET6` (2.2), above the transport.
const INET: u8 = 1;
const INET6: u8 = 2;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes.
    pub length: usize,
    /// The address of the client, if it is told.
    pub client: Option<IpAddr>,
}

/// The header that `data` begins with; `None` if there is none, or not all of it.
pub fn header(data: &[u8]) -> Option<Header> {
    let first = u64::from_le_bytes(*data.first_chunk()?);
    if !begins_proxied(first) {
        return None;
    }
    match data.strip_prefix(SIGNATURE) {
        Some(rest) => binary(rest),
        None => text(data),
    }
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT\r\n`, or `PROXY UNKNOWN …\r\n` (2.1).
fn text(data: &[u8]) -> Option<Header> {
    let end = data.iter().take(LONGEST).position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(data.get(..end)?).ok()?;
    let mut words = line.strip_suffix('\r')?.split(' ').skip(1);
    let client = match words.next()? {
        "TCP4" | "TCP6" => words.next()?.parse().ok(),
        _ => None,
    };
    Some(Header {
        length: end + 1,
        client,
    })
}

/// What follows the signature (2.2).
fn binary(rest: &[u8]) -> Option<Header> {
    let ([command, family, high, low], addresses) = rest.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let addresses = addresses.get(..length)?;
    let client = match (*command, *family >> 4) {
        (PROXY, INET) => addresses
            .first_chunk::<4>()
            .map(|source| Ipv4Addr::from(*source).into()),
        (PROXY, INET6) => addresses
            .first_chunk::<16>()
            .map(|source| Ipv6Addr::from(*source).into()),
        _ => None,
    };
    Some(Header {
        length: SIGNATURE.len() + 4 + length,
        client,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &[u8]) -> Option<(usize, String)> {
        let header = header(data)?;
        let client = header.client.map(|client| client.to_string());
        Some((header.length, client.unwrap_or_default()))
    }

    /// Checks the text form, by the examples of 2.1.
    #[test]
    fn version_1() {
        let tcp4 = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
        let tcp6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\nGET";
        let unknown = b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n";
        assert_eq!(of(tcp4), Some((tcp4.len(), "255.255.255.255".into())));
        assert_eq!(of(tcp6), Some((tcp6.len() - 3, "2001:db8::7".into())));
        assert_eq!(of(unknown), Some((unknown.len(), String::new())));
        assert_eq!(of(b"PROXY UNKNOWN\r\n"), Some((15, String::new())));
        assert_eq!(of(b"PROXY TCP4 nobody\r\n"), Some((19, String::new())));
        assert_eq!(of(b"PROXY TCP4 192.0.2.7 192.0.2.8 1"), None);
        assert_eq!(of(b"PROXYING / HTTP/1.1\r\n"), None);
        assert_eq!(of(&[&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat()), None);
    }

    /// Checks the binary form: addresses, what follows them, and LOCAL.
    #[test]
    fn version_2() {
        let make = |command: u8, family: u8, addresses: &[u8]| {
            let length = (addresses.len() as u16).to_be_bytes();
            [&SIGNATURE[..], &[command, family], &length, addresses].concat()
        };
        let inet = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        let more = [&inet[..], &[4, 0, 1, 0]].concat();
        assert_eq!(
            of(&make(PROXY, 0x11, &inet)),
            Some((28, "192.0.2.7".into()))
        );
        assert_eq!(
            of(&make(PROXY, 0x11, &more)),
            Some((32, "192.0.2.7".into()))
        );
        assert_eq!(of(&make(0x20, 0x11, &inet)), Some((28, String::new())));
        assert_eq!(of(&make(0x20, 0, &[])), Some((16, String::new())));
        let inet6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 20]].concat();
        assert_eq!(
            of(&make(PROXY, 0x21, &inet6)),
            Some((52, "2001:db8::7".into()))
        );
        let unix = make(PROXY, 0x31, &[0; 216]);
        assert_eq!(of(&unix), Some((232, String::new())));
        assert_eq!(of(&unix[..231]), None);
        assert_eq!(of(SIGNATURE), None);
    }
}
