//! Recognises a protocol by the first bytes of a piece.
//!
//! Runs in the kernel half for each message of a connection that isn't
//! recognised yet, so it decides by a few words, without loops. What looks
//! right and isn't fails in the daemon's parser, which costs a count.

use super::protocol::{SNIFFED, Sniffed, sniff_datagram, sniff_stream};

/// Of a piece of `length` bytes, which begins with `first` (zeroes behind its
/// end). `datagram` says that it is a message of its own.
#[inline(always)]
pub fn sniff(first: &[u8; SNIFFED], length: u32, datagram: bool) -> Option<Sniffed> {
    if datagram {
        return sniff_datagram(first, length);
    }
    if length < 4 {
        return None;
    }
    sniff_stream(first, length)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::requests::Protocol;
    use std::vec::Vec;

    fn is(protocol: Protocol, request: bool) -> Option<Sniffed> {
        Some(Sniffed { protocol, request })
    }

    fn look(bytes: &[u8], datagram: bool) -> Option<Sniffed> {
        let mut first = [0; SNIFFED];
        let n = bytes.len().min(SNIFFED);
        first[..n].copy_from_slice(&bytes[..n]);
        sniff(&first, bytes.len() as u32, datagram)
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from([kind]);
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Checks that first messages are recognised, with the side they come from.
    #[test]
    fn recognises() {
        let mut startup = Vec::from(*b"\0\0\0\0\0\x03\0\0user\0me\0\0");
        startup[3] = startup.len() as u8;
        let query = message(b'Q', b"select 1\0");
        let mut parse = message(b'P', b"\0select $1\0\0\0");
        parse.extend(message(b'S', b""));
        let mut greeting = Vec::from(*b"\0\0\0\0\x0a8.0.36\0");
        greeting.resize(78, 7);
        greeting[0] = 74;
        let cases: &[(&[u8], Protocol, bool)] = &[
            (b"GET / HTTP/1.1\r\n\r\n", Protocol::Http1, true),
            (b"OPTIONS * HTTP/1.1\r\n\r\n", Protocol::Http1, true),
            (b"CONNECT a:1 HTTP/1.1\r\n\r\n", Protocol::Http1, true),
            (b"PURGE /a HTTP/1.1\r\n\r\n", Protocol::Http1, true),
            (b"PROPFIND /a HTTP/1.1\r\n\r\n", Protocol::Http1, true),
            (b"VERSION-CONTROL /a HTTP/1.1\r\n", Protocol::Http1, true),
            (b"M-SEARCH http://a/ HTTP/1.1\r\n", Protocol::Http1, true),
            (b"COPY /a HTTP/1.1\r\n\r\n", Protocol::Http1, true),
            (b"HTTP/1.0 200 OK\r\n\r\n", Protocol::Http1, false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2, true),
            (
                b"\0\0\x04\x01\x04\0\0\0\x03\x82\x86\x84\x41",
                Protocol::Http2,
                true,
            ),
            (
                b"\0\0\x04\x01\x04\0\0\0\x03\x88\x5f\x01\x61",
                Protocol::Http2,
                false,
            ),
            (
                b"\0\0\x06\x01\x04\0\0\0\x09\xc3\xc2\x83\x86\xc1\xc0",
                Protocol::Http2,
                true,
            ),
            (
                b"\0\0\x03\x01\x04\0\0\0\x09\xc3\x86\xc1",
                Protocol::Http2,
                true,
            ),
            (&startup, Protocol::Postgres, true),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Protocol::Postgres, true),
            (&query, Protocol::Postgres, true),
            (&parse, Protocol::Postgres, true),
            (b"*1\r\n$4\r\nPING\r\n", Protocol::Redis, true),
            (b"PING\r\n", Protocol::Redis, true),
            (b"*12\r\n$4\r\nMGET\r\n", Protocol::Redis, true),
            (&greeting, Protocol::MySql, false),
            (b"\x09\0\0\0\x03select 1", Protocol::MySql, true),
        ];
        for (bytes, protocol, request) in cases {
            let expected = is(*protocol, *request);
            assert_eq!(look(bytes, false), expected, "{bytes:?}");
        }
    }

    /// Checks DNS over datagrams and streams, questions and answers.
    #[test]
    fn recognises_dns() {
        let query = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x07example\x03com\0\0\x01\0\x01";
        assert_eq!(look(query, true), is(Protocol::Dns, true));
        let mut stream = Vec::from([0, query.len() as u8]);
        stream.extend(query);
        assert_eq!(look(&stream, false), is(Protocol::Dns, true));
        let pair = [stream.as_slice(), stream.as_slice()].concat();
        assert_eq!(look(&pair, false), is(Protocol::Dns, true));
        let answer = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\x01\x07example\x03com\0\0\x01\0\x01";
        assert_eq!(look(answer, true), is(Protocol::Dns, false));
    }

    /// Checks that other things are left alone.
    #[test]
    fn leaves_others_alone() {
        let cases: &[&[u8]] = &[
            b"",
            b"GET",
            b"GETX / HTTP/1.1",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            b"220 mail ESMTP\r\n",
            // FTP, SMTP, SIP, and words.
            b"RETR /pub/a.tar.gz\r\n",
            b"CWD /pub\r\n",
            b"EHLO /a\r\n",
            b"INVITE sip:a@b SIP/2.0\r\n",
            b"PROPFIND",
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZ /",
            b"*hello\r\n",
            // HTTP/2's, of which nobody knows who asks.
            b"\0\0\x04\x01\x04\0\0\0\x09\xc3\xc2\xc1\xc0",
            b"\0\0\x04\x01\x04\0\0\0\x09\xc3\x8f\x83\x84",
            b"Quit now please",
            &[0; 64],
            &[0xff; 64],
        ];
        for bytes in cases {
            assert_eq!(look(bytes, false), None, "{bytes:?}");
        }
        assert_eq!(look(&[0xff; 64], true), None);
        assert_eq!(look(&[0; 64], true), None);
    }
}
