//! Takes literals and comments out of SQL.
//!
//! A lexer of its own, since it sees each statement that has values in its
//! text, at a nanosecond or two per byte, and since it must err on one side
//! only: where servers could read a quote in two ways, or where a byte can't
//! be part of SQL, the rest is dropped.

mod literals;

use super::Dialect;

/// Longest result in bytes.
pub const MAX_TEXT: usize = 2048;

/// Appends `text` without literals and comments to `out`, which is empty.
pub fn scrub(text: &[u8], dialect: Dialect, out: &mut Vec<u8>) {
    // Other encodings have quotes and backslashes inside of characters.
    let text = match std::str::from_utf8(text) {
        Ok(text) => text.as_bytes(),
        Err(error) => text.get(..error.valid_up_to()).unwrap_or_default(),
    };
    let mut scrubber = Scrubber {
        text,
        at: 0,
        out,
        mysql: dialect != Dialect::Postgres,
        backslash: dialect == Dialect::MySql,
        hint: false,
        list: List::default(),
        setting: Setting::Begins,
        for_statement: false,
    };
    while scrubber.at < text.len() && scrubber.out.len() < MAX_TEXT {
        if scrubber.step().is_none() {
            break;
        }
    }
    if out.len() > MAX_TEXT {
        let mut end = MAX_TEXT;
        let within = |byte: &u8| *byte & 0xc0 == 0x80;
        while end > 0 && out.get(end).is_some_and(within) {
            end -= 1;
        }
        out.truncate(end);
    }
    while matches!(out.last(), Some(b' ' | b';')) {
        out.pop();
    }
}

/// The innermost parenthesis, as long as there are only values in it.
#[derive(Default)]
struct List {
    /// Where it begins in the output, behind the parenthesis; 0 = not in one.
    begin: usize,
    /// Whether it has a value.
    value: bool,
    /// Whether it follows IN.
    after_in: bool,
}

struct Scrubber<'a> {
    text: &'a [u8],
    at: usize,
    out: &'a mut Vec<u8>,
    mysql: bool,
    /// Whether a backslash in a plain string protects what follows.
    backslash: bool,
    /// Whether in one of MySQL's comments that are code.
    hint: bool,
    list: List,
    setting: Setting,
    /// Whether behind MariaDB's SET STATEMENT, whose FOR begins another one.
    for_statement: bool,
}

/// Whether names are values, as in `SET name = value`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// A statement begins.
    Begins,
    /// Another statement.
    No,
    /// SET, and the name.
    Name,
    /// Its value.
    Value,
}

/// What may be in a name behind its first byte.
const fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

impl<'a> Scrubber<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The byte before the next one.
    fn before(&self) -> Option<u8> {
        self.text.get(self.at.checked_sub(1)?).copied()
    }

    /// What was gone through since `begin`.
    fn since(&self, begin: usize) -> &'a [u8] {
        self.text.get(begin..self.at).unwrap_or_default()
    }

    /// Deals with one token; `None` drops the rest.
    fn step(&mut self) -> Option<()> {
        let byte = *self.text.get(self.at)?;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                self.at += 1;
                self.space();
            }
            b'\'' => self.quoted(b'\'')?,
            b'"' if self.mysql => self.quoted(b'"')?,
            b'"' => self.name(b'"')?,
            b'`' if self.mysql => self.name(b'`')?,
            b'$' if !self.mysql => self.dollar()?,
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() && !self.after_name() => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80.. => self.word(),
            b'-' if self.peek(1) == b'-' && self.dashes() => self.line(),
            b'#' if self.mysql => self.line(),
            b'/' if self.peek(1) == b'*' => self.comment()?,
            b'*' if self.hint && self.peek(1) == b'/' => {
                self.at += 2;
                self.hint = false;
                self.space();
            }
            b'-' | b'+' if self.sign() => self.at += 1,
            b'?' => {
                self.at += 1;
                self.placeholder(b"?");
            }
            b'(' => {
                let after_in = match self.out.trim_ascii_end() {
                    [.., before, b'i' | b'I', b'n' | b'N'] => !in_word(*before),
                    _ => false,
                };
                self.put(byte);
                self.list = List {
                    begin: self.out.len(),
                    value: false,
                    after_in,
                };
            }
            b')' => {
                self.no_space();
                self.put(byte);
                self.list.begin = 0;
                // Rows of values, one after the other.
                for rows in [&b"(?), (?)"[..], b"(?),(?)"] {
                    if self.out.ends_with(rows) {
                        self.out.truncate(self.out.len() - rows.len() + 3);
                    }
                }
            }
            b',' => {
                self.no_space();
                self.put(byte);
            }
            b'!'..=b'~' if byte != b'\\' && byte != b'`' => {
                self.list.begin = 0;
                self.setting = match (byte, self.setting) {
                    (b';', _) => Setting::Begins,
                    (b'=', Setting::Name) => Setting::Value,
                    (_, setting) => setting,
                };
                self.put(byte);
            }
            _ => return None,
        }
        Some(())
    }

    fn put(&mut self, byte: u8) {
        self.out.push(byte);
        self.at += 1;
    }

    fn space(&mut self) {
        if !matches!(self.out.last(), None | Some(b' ' | b'(')) {
            self.out.push(b' ');
        }
    }

    fn no_space(&mut self) {
        if self.out.last() == Some(&b' ') {
            self.out.pop();
        }
    }

    /// Whether a name ends right here, so that a dot belongs to it.
    fn after_name(&self) -> bool {
        let ends = |byte| in_word(byte) || matches!(byte, b'"' | b'`' | b']' | b')');
        self.before().is_some_and(ends)
    }

    /// Whether two dashes begin a comment.
    fn dashes(&self) -> bool {
        // MySQL wants white space or a control character behind them.
        !self.mysql || self.peek(2) <= b' '
    }

    /// Whether a sign belongs to the number behind it: it follows an operator.
    fn sign(&self) -> bool {
        let next = self.peek(1);
        (next.is_ascii_digit() || (next == b'.' && self.peek(2).is_ascii_digit()))
            && matches!(
                self.out.trim_ascii_end().last(),
                Some(b'=' | b'(' | b',' | b'<' | b'>')
            )
    }

    /// A literal was left out.
    fn value(&mut self) {
        self.item(b"?", true);
    }

    /// A parameter: `?` or `$1`.
    fn placeholder(&mut self, text: &[u8]) {
        let in_list = self.list.after_in;
        self.item(text, in_list);
    }

    fn item(&mut self, text: &[u8], collapse: bool) {
        let list = &mut self.list;
        if list.begin > 0 && collapse && (list.value || list.after_in) {
            self.out.truncate(list.begin);
            self.out.push(b'?');
        } else {
            if !collapse {
                list.begin = 0;
            }
            self.out.extend_from_slice(text);
        }
        list.value = true;
    }

    fn word(&mut self) {
        self.list.begin = 0;
        let begin = self.at;
        while in_word(self.peek(0)) {
            self.at += 1;
        }
        let word = self.since(begin);
        let is = |words: &[&[u8]]| words.iter().any(|w| word.eq_ignore_ascii_case(w));
        self.setting = match self.setting {
            Setting::Begins if is(&[b"set"]) => Setting::Name,
            Setting::Begins => Setting::No,
            Setting::Name | Setting::Value if self.for_statement && is(&[b"for"]) => {
                self.for_statement = false;
                Setting::Begins
            }
            Setting::Name if self.mysql && is(&[b"statement"]) => {
                self.for_statement = true;
                Setting::Name
            }
            Setting::Name if is(&[b"to"]) => Setting::Value,
            Setting::Value if !is(&[b"on", b"off", b"default"]) => return self.value(),
            setting => setting,
        };
        self.out.extend_from_slice(word);
    }

    /// A comment up to the end of its line.
    fn line(&mut self) {
        while !matches!(self.peek(0), b'\n' | b'\r') && self.at < self.text.len() {
            self.at += 1;
        }
        self.space();
    }

    fn comment(&mut self) -> Option<()> {
        self.at += 2;
        if self.mysql && (self.peek(0) == b'!' || (self.peek(0) == b'M' && self.peek(1) == b'!')) {
            // Code for some servers (manual, 11.7 "Comments"), behind a version.
            self.at += if self.peek(0) == b'!' { 1 } else { 2 };
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            self.hint = true;
            self.space();
            return Some(());
        }
        let mut depth = 1;
        while depth > 0 {
            match (*self.text.get(self.at)?, self.peek(1)) {
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                }
                (b'/', b'*') if !self.mysql => {
                    depth += 1;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.space();
        Some(())
    }
}
