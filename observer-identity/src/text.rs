//! Text from outside, cut to what it may be.

use observer_signals::outside::{LONGEST_NAME, bounded};

/// The most bytes that an attribute's value has.
pub const VALUE_LIMIT: usize = 1024;

/// `text` without control characters and without blanks around it; what is longer than
/// `limit` bytes is cut between two characters, with a mark behind it.
pub fn cut(text: &str, limit: usize) -> String {
    let clean: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    bounded(clean, limit).into_owned()
}

/// A service's name as it is sent; `None` if nothing is left.
pub fn name(text: &str) -> Option<String> {
    Some(cut(text, LONGEST_NAME)).filter(|name| !name.is_empty())
}

/// An attribute's value as it is sent; `None` if nothing is left.
pub fn value(text: &str) -> Option<String> {
    Some(cut(text, VALUE_LIMIT)).filter(|value| !value.is_empty())
}

/// Text in which `mark` and so many digits of this radix stand for a byte, with those
/// bytes: systemd's `\x2d` (systemd.unit(5)), `/proc/mounts`' `\040` (proc(5)).
pub fn unescaped<const DIGITS: usize>(text: &str, mark: &str, radix: u32) -> String {
    let code = |digits: &[u8; DIGITS]| {
        let digits = std::str::from_utf8(digits).ok()?;
        u8::from_str_radix(digits, radix).ok()
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        if let Some(escaped) = rest.strip_prefix(mark.as_bytes())
            && let Some((digits, behind)) = escaped.split_first_chunk()
            && let Some(code) = code(digits)
        {
            out.push(code);
            rest = behind;
        } else {
            out.push(*byte);
            rest = behind;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that cut text is whole characters, and nothing that a terminal obeys.
    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("aéé", 4), "a…");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut(" a\x1b[2J\nb ", 99), "a[2Jb");
        assert_eq!(name("\0 \n"), None);
        assert_eq!(name(&"é".repeat(200)).map(|n| n.len()), Some(255));
        assert_eq!(value(&"x".repeat(2000)).map(|v| v.len()), Some(VALUE_LIMIT));
    }
}
