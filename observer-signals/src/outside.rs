//! Text that came from outside: names of processes, services, functions and files, what
//! was on the wire, what a collector answers.
//!
//! Anybody on the host can put anything into it, of any length. So it is cut where it
//! comes in ([`bounded`]), which is counted; and whoever shows it asks here which of its
//! characters may not be shown as they are. OTLP, pprof and JSON carry it as it is: their
//! strings have a length and can hold any character.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest text that is kept of what comes from outside, in bytes.
pub const LONGEST: usize = 4096;

/// Longest name that is kept, in bytes: of services, methods, routes, what metrics are
/// told apart by.
pub const LONGEST_NAME: usize = 256;

/// What stands for the rest of a text that was cut.
pub const MARK: char = '…';

/// Texts that were cut, since the start of the process.
static CUT: AtomicU64 = AtomicU64::new(0);

/// How many texts were cut since the start of the process.
pub fn cut_texts() -> u64 {
    CUT.load(Ordering::Relaxed)
}

/// Counts a text that was cut elsewhere.
pub fn note_cut() {
    CUT.fetch_add(1, Ordering::Relaxed);
}

/// `text`, or as much of it as fits into `longest` bytes with a [`MARK`] behind it, which
/// is counted.
pub fn bounded<'a>(text: impl Into<Cow<'a, str>>, longest: usize) -> Cow<'a, str> {
    let text = text.into();
    if text.len() <= longest {
        return text;
    }
    note_cut();
    Cow::Owned(shortened(&text, longest))
}

/// As [`bounded`], without counting: for what is only shown.
pub fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest.saturating_sub(MARK.len_utf8()));
    let mut short = text.get(..end).unwrap_or_default().to_owned();
    short.push(MARK);
    short
}

/// Whether a character does something else than to be seen: control characters (C0, DEL,
/// C1) and line ends, which a terminal obeys and which end a line; marks that turn the
/// direction of writing (Unicode UAX 9); and what is invisible (joiners, fillers,
/// selectors, tags, noncharacters), by which two names look alike.
pub fn is_obeyed(c: char) -> bool {
    // Nearly all that is ever asked.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}'
        | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}'
        | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Text with a `\u{fffd}` for each character that [`is_obeyed`].
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let shown = |c| {
        if is_obeyed(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Writes text on, with characters that are obeyed as escapes (`\n`, `\u{1b}`), up to a
/// number of bytes; what is longer ends in a [`MARK`].
///
/// For lines of text that somebody reads later: what was there can still be told, on one
/// line.
#[derive(Debug)]
pub struct Escaping<W> {
    out: W,
    left: usize,
    over: bool,
}

impl<W: Write> Escaping<W> {
    /// Writes to `out`, `longest` bytes at most without the mark.
    pub fn new(out: W, longest: usize) -> Self {
        Self {
            out,
            left: longest,
            over: false,
        }
    }
}

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.over {
                break;
            }
            let escaped = is_obeyed(c);
            let length = match escaped {
                true => c.escape_default().len(),
                false => c.len_utf8(),
            };
            let Some(left) = self.left.checked_sub(length) else {
                self.over = true;
                self.out.write_char(MARK)?;
                break;
            };
            self.left = left;
            match escaped {
                true => write!(self.out, "{}", c.escape_default())?,
                false => self.out.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Something as one line of harmless text, of `longest` bytes at most; see [`Escaping`].
pub fn one_line(text: impl fmt::Display, longest: usize) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write!(Escaping::new(&mut out, longest), "{text}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks against the standard library that all control characters are obeyed and no
    /// letter or digit is, and some of each other kind.
    #[test]
    fn what_is_obeyed() {
        for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
            assert!(is_obeyed(c) || !c.is_control(), "{c:?}");
        }
        for c in "aé日ψ🦀 ́~\u{fffd}\u{ffe5}".chars() {
            assert!(!is_obeyed(c), "{c:?}");
        }
        let others =
            "\u{202e}\u{2066}\u{200b}\u{200d}\u{feff}\u{2028}\u{e0041}\u{fe0f}\u{3164}\u{1ffff}";
        assert!(others.chars().all(is_obeyed));
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}"), "a\u{fffd}[2Jb\u{fffd}");
        assert!(matches!(plain("GET /é"), Cow::Borrowed(_)));
    }

    /// Checks that texts are cut at whole characters, with a mark, and counted.
    #[test]
    fn lengths_are_bounded() {
        let before = cut_texts();
        assert_eq!(bounded("abcdef", 6), "abcdef");
        assert_eq!(bounded("abcdefg", 6), "abc…");
        assert_eq!(bounded("ééééé", 7), "éé…");
        assert!(cut_texts() >= before + 2);
        assert_eq!(bounded("é", 1), "…");
    }

    /// Checks that what is escaped is one line, and that lengths are of what is written,
    /// also if it comes in pieces.
    #[test]
    fn escaping() {
        assert_eq!(
            one_line("a\nERROR\u{1b}[0m\u{9b}é", 100),
            r"a\nERROR\u{1b}[0m\u{9b}é"
        );
        assert_eq!(one_line("ab\ncd", 4), r"ab\n…");
        assert_eq!(one_line("ab\ncd", 3), "ab…");
        assert_eq!(
            one_line(format_args!("{}{}{}", "ab", "cd", "ef"), 3),
            "abc…"
        );
        assert_eq!(one_line("abc", 3), "abc");
    }
}
