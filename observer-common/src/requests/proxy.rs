//! The PROXY protocol (haproxy's `proxy-protocol.txt`, versions 1 and 2): a header in
//! front of a connection, which says for whom a proxy made it. What follows is another
//! protocol's, in the same segment or in the next.

/// The text form (2.1), but for its addresses.
const V1: u64 = u64::from_le_bytes(*b"PROXY \0\0");
/// Its bytes.
const V1_MASK: u64 = (1 << 48) - 1;
/// The first eight of the twelve bytes that the binary form begins with (2.2).
const V2: u64 = u64::from_le_bytes(*b"\r\n\r\n\0\r\nQ");

/// Longest text form (2.1), with the end of its line.
const LONGEST: usize = 107;
/// Bytes of the binary form before its addresses (2.2), of which the last two say how
/// many there are.
const FIXED: usize = 16;

/// Bytes in which a header ends; what is longer isn't recognised.
pub const PROXY_HEADER: usize = 512;

/// Whether the first eight bytes, zeroes behind their end, begin a header.
#[inline(always)]
pub const fn begins_proxied(first: u64) -> bool {
    first & V1_MASK == V1 || first == V2
}

/// How long the header is that `data` begins with, as [`begins_proxied`] says, and of
/// which `captured` bytes are there; 0 if its end isn't among them, or it has none.
#[inline(always)]
pub fn proxy_header(data: &[u8; PROXY_HEADER], captured: usize) -> usize {
    let length = if data[0] == b'P' {
        let mut at = 8;
        loop {
            if at >= LONGEST {
                return 0;
            }
            if data[at] == b'\n' {
                break at + 1;
            }
            at += 1;
        }
    } else {
        FIXED + usize::from(u16::from_be_bytes([data[FIXED - 2], data[FIXED - 1]]))
    };
    if length <= captured { length } else { 0 }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// Checks where headers of both versions end, and what isn't one.
    #[test]
    fn headers_end() {
        let look = |bytes: &[u8]| {
            let mut data = [0; PROXY_HEADER];
            let n = bytes.len().min(PROXY_HEADER);
            data[..n].copy_from_slice(&bytes[..n]);
            let first = u64::from_le_bytes(*data.first_chunk().expect("eight bytes"));
            (begins_proxied(first), proxy_header(&data, n))
        };
        let text = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
        let longest = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        for header in [&text[..], longest, b"PROXY UNKNOWN\r\n"] {
            assert_eq!(look(header), (true, header.len()));
            let more = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(look(&more), (true, header.len()));
            assert_eq!(look(&header[..header.len() - 1]), (true, 0));
        }
        let mut binary = Vec::from(*b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
        assert_eq!(look(&binary), (true, 0));
        binary.extend([192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb]);
        assert_eq!(look(&binary), (true, 28));
        binary.extend(b"PRI * HTTP/2.0\r\n");
        assert_eq!(look(&binary), (true, 28));
        assert!(!look(b"PROXYING / HTTP/1.1\r\n\r\n").0);
        assert!(!look(b"\r\n\r\nGET / HTTP/1.1\r\n").0);
        assert_eq!(look(&[b'P'; 200]).1, 0);
    }
}
