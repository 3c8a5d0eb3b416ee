//! RESP2 and RESP3 (Redis serialization protocol specification): one element is
//! a line, or a line and the string whose length it tells.

use crate::frames::Head;

/// Longest line.
const MAX_LINE: usize = 1024;
/// Bytes of a string that are looked at.
const MAX_STRING: u64 = 32;
/// No string is longer (`proto-max-bulk-len` can be set to this).
const MAX_BULK: i64 = i64::MAX / 4;

/// A line with its end; `None` if the end isn't there.
fn line(data: &[u8]) -> Option<&[u8]> {
    let looked_at = data.get(..MAX_LINE).unwrap_or(data);
    let end = looked_at.iter().position(|b| *b == b'\n')?;
    data.get(..=end)
}

/// The number that a line tells behind its first byte.
pub fn number(line: &[u8]) -> Option<i64> {
    let digits = line.get(1..)?;
    let mut value: i64 = 0;
    let mut any = false;
    let (negative, digits) = match digits {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, digits),
    };
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                any = true;
                value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            }
            b'\r' | b'\n' => break,
            _ => return None,
        }
    }
    any.then_some(if negative { -value } else { value })
}

/// An element that is a string, of which `line` tells the length.
fn string(line: &[u8]) -> Head {
    match number(line) {
        Some(-1) => whole(line),
        Some(bytes @ 0..=MAX_BULK) => Head::Message {
            length: line.len() as u64 + bytes as u64 + 2,
            wanted: line.len() + (bytes as u64).min(MAX_STRING) as usize,
        },
        _ => Head::Wrong,
    }
}

fn short(data: &[u8]) -> Head {
    if data.len() < MAX_LINE {
        Head::Short
    } else {
        Head::Wrong
    }
}

/// An element of the client's; `inside` an array, or at its beginning.
pub fn command(data: &[u8], inside: bool) -> Head {
    if inside && data.first() != Some(&b'$') {
        return Head::Wrong;
    }
    let Some(line) = line(data) else {
        return short(data);
    };
    match line {
        [b'$', ..] if inside => string(line),
        [b'*', ..] if number(line).is_none_or(|n| n > MAX_ARGUMENTS) => Head::Wrong,
        // An array's head, or an inline command.
        [b'*' | b'\r' | b'\n', ..] => whole(line),
        [first, ..] if first.is_ascii_alphabetic() => whole(line),
        _ => Head::Wrong,
    }
}

/// Redis's own limit (`processMultibulkBuffer`).
const MAX_ARGUMENTS: i64 = i32::MAX as i64;

/// The head of an element that is a line.
fn whole(line: &[u8]) -> Head {
    Head::Message {
        length: line.len() as u64,
        wanted: line.len(),
    }
}

/// An element of the server's.
pub fn reply(data: &[u8]) -> Head {
    match data.first() {
        None => return Head::Short,
        Some(
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' | b'$' | b'=' | b'!' | b'*' | b'~'
            | b'>' | b'%' | b'|',
        ) => {}
        Some(_) => return Head::Wrong,
    }
    let Some(line) = line(data) else {
        return short(data);
    };
    match line {
        [b'$' | b'=' | b'!', ..] => string(line),
        [b'*' | b'~' | b'>' | b'%' | b'|', ..] if number(line).is_none() => Head::Wrong,
        _ => whole(line),
    }
}

/// Elements that belong to this one.
pub fn children(element: &[u8]) -> u64 {
    let twice = match element.first() {
        Some(b'*' | b'~' | b'>') => 1,
        Some(b'%' | b'|') => 2,
        _ => return 0,
    };
    u64::try_from(number(element).unwrap_or(0))
        .unwrap_or(0)
        .saturating_mul(twice)
}

/// The string of an element, as much as was captured.
pub fn content(element: &[u8], length: u64) -> &[u8] {
    let begin = line(element).map_or(element.len(), <[u8]>::len);
    let end = length.saturating_sub(2).min(element.len() as u64) as usize;
    element.get(begin..end).unwrap_or(&[])
}

/// The first word of an error, if it looks like a code and not like a text.
pub fn error(element: &[u8]) -> String {
    let text = match element.first() {
        Some(b'!') => content(element, element.len() as u64),
        _ => element.get(1..).unwrap_or(&[]),
    };
    let mut words = text.split(|b| matches!(b, b' ' | b'\r' | b'\n'));
    let word = words.next().unwrap_or_default();
    let is_code = word.first().is_some_and(u8::is_ascii_uppercase)
        && word.len() <= 32
        && word
            .iter()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_');
    String::from(match std::str::from_utf8(word) {
        Ok(word) if is_code => word,
        _ => "ERR",
    })
}
