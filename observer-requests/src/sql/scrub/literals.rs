//! Strings, quoted names and numbers.

use super::{Scrubber, Setting, in_word};

impl Scrubber<'_> {
    /// A string, whose first quote is next.
    pub(super) fn quoted(&mut self, quote: u8) -> Option<()> {
        if self.hint {
            // A server that skips the comment wouldn't see a string here.
            self.value();
            return None;
        }
        let escapes = self.prefix() || self.backslash;
        self.value();
        let mut at = self.at + 1;
        loop {
            match *self.text.get(at)? {
                b'\\' if escapes => at += 2,
                b'\\' => {
                    // The end of the string or not, by a setting of the server's.
                    if self.text.get(at + 1) == Some(&quote) {
                        return None;
                    }
                    at += 1;
                }
                byte if byte == quote => {
                    if self.text.get(at + 1) != Some(&quote) {
                        break;
                    }
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(())
    }

    /// Takes the letters that belong to the string behind them off the output;
    /// whether they say that backslashes escape.
    fn prefix(&mut self) -> bool {
        let belongs = |byte: u8| in_word(byte) || byte == b'&';
        if !self.before().is_some_and(belongs) {
            return false;
        }
        let mut words = self.out.rsplit(|byte| !belongs(*byte));
        let word = words.next().unwrap_or_default();
        let escapes = !self.mysql && word.eq_ignore_ascii_case(b"e");
        if escapes
            || [&b"b"[..], b"x", b"n", b"u&"]
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known))
            || (self.mysql && word.first() == Some(&b'_'))
        {
            self.out.truncate(self.out.len() - word.len());
        }
        escapes
    }

    /// A quoted name, which stays.
    pub(super) fn name(&mut self, quote: u8) -> Option<()> {
        self.list.begin = 0;
        if self.hint {
            return None;
        }
        let mut end = self.at + 1;
        loop {
            if *self.text.get(end)? == quote {
                end += 1;
                if self.text.get(end) != Some(&quote) {
                    break;
                }
            }
            end += 1;
        }
        let begin = self.at;
        self.at = end;
        if self.setting == Setting::Value {
            self.value();
        } else {
            self.out.extend_from_slice(self.since(begin));
        }
        Some(())
    }

    /// PostgreSQL's parameters and dollar-quoted strings.
    pub(super) fn dollar(&mut self) -> Option<()> {
        let begin = self.at;
        self.at += 1;
        while in_word(self.peek(0)) && self.peek(0) != b'$' {
            self.at += 1;
        }
        let tag = self.since(begin + 1);
        if self.peek(0) != b'$' {
            if tag.is_empty() || !tag.iter().all(u8::is_ascii_digit) {
                self.value();
                return None;
            }
            self.placeholder(self.since(begin));
            return Some(());
        }
        self.value();
        if tag.first().is_some_and(u8::is_ascii_digit) {
            return None;
        }
        self.at += 1;
        let delimiter = self.since(begin);
        let inside = find(self.text.get(self.at..)?, delimiter)?;
        self.at += inside + delimiter.len();
        Some(())
    }

    /// A number in any notation, with what is stuck to it.
    pub(super) fn number(&mut self) {
        let mut before = 0;
        loop {
            let byte = self.peek(0);
            let exponent = matches!(byte, b'+' | b'-')
                && matches!(before, b'e' | b'E')
                && self.peek(1).is_ascii_digit();
            // In PostgreSQL a dollar-quoted string may follow.
            let dollar = byte == b'$' && !self.mysql;
            if dollar || !(in_word(byte) || byte == b'.' || exponent) {
                break;
            }
            before = byte;
            self.at += 1;
        }
        self.value();
    }
}

/// Where `needle` is in `text`.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|part| part == needle)
}
