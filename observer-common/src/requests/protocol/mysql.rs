//! MySQL.

use super::Beginning;
use super::Protocol;
use super::first::{SNIFFED, Sniffed, is, little32};

/// MySQL's source, "Client/Server Protocol": the server's greeting, or one of
/// the commands that carry a text or a statement.
#[inline(always)]
pub fn sniff(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    let payload = little32(first, 0) & 0x00ff_ffff;
    if payload == 0 || payload + 4 != length || first[3] != 0 {
        return None;
    }
    match first[4] {
        // Protocol::HandshakeV10 with a version like 8.0.36 or 5.5.5-10.11.
        10 if length > 32
            && first[5].is_ascii_digit()
            && (first[6] == b'.' || (first[6].is_ascii_digit() && first[7] == b'.')) =>
        {
            is(Protocol::MySql, false)
        }
        // COM_QUERY and COM_STMT_PREPARE with a statement's first letter. (With
        // query attributes a count and a 1 come first.)
        3 | 22
            if length > 8
                && (first[5].is_ascii_alphabetic() || (first[5] == 0 && first[6] == 1)) =>
        {
            is(Protocol::MySql, true)
        }
        _ => None,
    }
}

/// MySQL's source, "Client/Server Protocol", "Text Protocol" and others.
#[inline(always)]
pub fn beginning(first: u64, _length: u32, _pieces: u32) -> Beginning {
    const QUIT: u8 = 1;
    const INIT_DB: u8 = 2;
    const QUERY: u8 = 3;
    const CHANGE_USER: u8 = 17;
    const STMT_PREPARE: u8 = 22;
    const RESET_CONNECTION: u8 = 31;
    let bytes = first.to_le_bytes();
    // Number of the packet: a login, a file's contents.
    if bytes[3] != 0 {
        return Beginning::NONE;
    }
    match bytes[4] {
        QUIT => Beginning::NONE,
        INIT_DB | CHANGE_USER | STMT_PREPARE | RESET_CONNECTION => Beginning::NEEDED,
        // `USE …` chooses a database.
        QUERY if bytes[5] | 0x20 == b'u' && bytes[6] | 0x20 == b's' && bytes[7] | 0x20 == b'e' => {
            Beginning::NEEDED
        }
        _ => Beginning::EXCHANGE,
    }
}
