//! What is looked at in a message, of which the end may be missing.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use simple_dns::Packet;
use simple_dns::rdata::RData;

/// Bytes of a message's header (RFC 1035, 4.1.1).
pub const HEADER_LENGTH: u16 = 12;
const HEADER: usize = HEADER_LENGTH as usize;
/// Answers that are told.
const MAX_ANSWERS: usize = 16;
/// Longest name.
const MAX_NAME: usize = 255;
/// The record that has more of the answer's code (RFC 6891, 6.1.3).
const OPT: u16 = 41;

/// Header and question.
pub struct Message {
    /// What answer and question have in common.
    pub id: u16,
    /// Whether it is an answer.
    pub response: bool,
    /// The answer's code.
    pub code: u8,
    /// Name, without its last dot, and type; if it has one.
    pub question: Option<(String, u16)>,
}

fn big16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Message {
    /// `None` if it isn't a standard query or the answer to one, or its
    /// question isn't there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let flags = big16(bytes, 2)?;
        if bytes.len() < HEADER || flags & 0x7800 != 0 {
            return None;
        }
        let question = match big16(bytes, 4)? {
            0 => None,
            _ => {
                let (name, end) = question_name(bytes)?;
                Some((name, big16(bytes, end)?))
            }
        };
        Some(Self {
            id: big16(bytes, 0)?,
            response: flags & 0x8000 != 0,
            code: code(bytes, flags),
            question,
        })
    }
}

/// The first question's name, and where it ends.
fn question_name(bytes: &[u8]) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*bytes.get(at)?);
        let label = bytes.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            return Some((name, at));
        }
        // There is nothing before it that a pointer could point to.
        if length > 63 || at - HEADER > MAX_NAME {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            match byte {
                b'.' | b'\\' => name.extend(['\\', char::from(*byte)]),
                b'!'..=b'~' => name.push(char::from(*byte)),
                // As master files have it (RFC 1035, 5.1).
                other => name.push_str(&format!("\\{other:03}")),
            }
        }
        if name.len() > MAX_NAME {
            let cut = (0..=MAX_NAME).rev().find(|at| name.is_char_boundary(*at));
            name.truncate(cut.unwrap_or(0));
        }
    }
}

/// Where a name ends that may end with a pointer.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length @ ..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// Where questions end.
fn skip_questions(bytes: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    for _ in 0..big16(bytes, 4)? {
        at = skip_name(bytes, at)? + 4;
    }
    Some(at)
}

/// Where the record at `at` ends, and its type and time to live.
fn skip_record(bytes: &[u8], at: usize) -> Option<(usize, u16, u32)> {
    let at = skip_name(bytes, at)?;
    let kind = big16(bytes, at)?;
    let ttl = u32::from_be_bytes(*bytes.get(at + 4..)?.first_chunk()?);
    let end = at + 10 + usize::from(big16(bytes, at + 8)?);
    (end <= bytes.len()).then_some((end, kind, ttl))
}

/// The answer's code, with its upper part if that is there.
fn code(bytes: &[u8], flags: u16) -> u8 {
    let low = (flags & 15) as u8;
    let high = || {
        let mut at = skip_questions(bytes)?;
        let answers = u32::from(big16(bytes, 6)?) + u32::from(big16(bytes, 8)?);
        let records = answers + u32::from(big16(bytes, 10)?);
        for number in 0..records {
            let (end, kind, ttl) = skip_record(bytes, at)?;
            if number >= answers && kind == OPT {
                return Some((ttl >> 24) as u8);
            }
            at = end;
        }
        None
    };
    // Codes from 16 on are few (BADVERS, BADCOOKIE): no more than 23 is assigned
    // to DNS messages.
    match high() {
        Some(high @ 1..=15) => high << 4 | low,
        _ => low,
    }
}

/// Addresses and names in the answers that are there.
pub fn answers(bytes: &[u8]) -> Vec<String> {
    known_answers(bytes).unwrap_or_default()
}

fn known_answers(bytes: &[u8]) -> Option<Vec<String>> {
    let told = big16(bytes, 6)?;
    if told == 0 || big16(bytes, 4)? > 1 {
        return None;
    }
    let first = skip_questions(bytes)?;
    let (mut at, mut whole) = (first, 0u16);
    while whole < told && usize::from(whole) < MAX_ANSWERS {
        let Some((end, _, _)) = skip_record(bytes, at) else {
            break;
        };
        at = end;
        whole += 1;
    }
    // The message as if these were all its records, without flags and types
    // that the library doesn't know.
    let (header, records) = bytes.get(..at)?.split_first_chunk::<HEADER>()?;
    let [id_high, id_low, _, _, asked_high, asked_low, ..] = *header;
    let [whole_high, whole_low] = whole.to_be_bytes();
    let mut copy = Vec::with_capacity(at);
    copy.extend([id_high, id_low, 0x80, 0, asked_high, asked_low]);
    copy.extend([whole_high, whole_low, 0, 0, 0, 0]);
    copy.extend_from_slice(records);
    if first > HEADER {
        *copy.get_mut(..first)?.last_chunk_mut()? = [0, 1, 0, 1];
    }
    let packet = Packet::parse(&copy).ok()?;
    let answer = |data: &RData<'_>| match data {
        RData::A(a) => Some(Ipv4Addr::from(a.address).to_string()),
        RData::AAAA(a) => Some(Ipv6Addr::from(a.address).to_string()),
        RData::CNAME(name) => Some(name.0.to_string()),
        RData::NS(name) => Some(name.0.to_string()),
        RData::PTR(name) => Some(name.0.to_string()),
        RData::MX(mx) => Some(mx.exchange.to_string()),
        RData::SRV(srv) => Some(srv.target.to_string()),
        _ => None,
    };
    let answers = packet.answers.iter();
    Some(answers.filter_map(|record| answer(&record.rdata)).collect())
}

/// What a type of questions is called.
pub fn type_name(kind: u16) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        43 => "DS",
        46 => "RRSIG",
        48 => "DNSKEY",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        257 => "CAA",
        other => return Cow::Owned(format!("TYPE{other}")),
    })
}
