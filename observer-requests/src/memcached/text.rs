//! Text and meta commands and their answers (`doc/protocol.txt` of memcached's
//! source): lines, some with data behind them.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use super::commands::{Command, Kind};
use super::{Question, Quiet};
use crate::frames::Head;

/// Longest first word.
const MAX_WORD: usize = 32;
/// No value is longer (1 GiB is the largest item size that can be set).
const MAX_VALUE: u64 = 1 << 40;

/// The words of a line.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = line.split(u8::is_ascii_whitespace);
    words.filter(|word| !word.is_empty())
}

/// A message's line, without what follows it.
pub fn line(message: &[u8]) -> &[u8] {
    let mut lines = message.split(|byte| *byte == b'\n');
    lines.next().unwrap_or(message)
}

/// A line, by a test of its first word, and as long as `data_bytes` tells of
/// what follows it.
fn head(data: &[u8], is_word: fn(u8) -> bool, data_bytes: fn(&[u8]) -> Option<u64>) -> Head {
    let first = data.iter().position(|byte| !is_word(*byte));
    match (first, data.get(first.unwrap_or(0))) {
        (None, _) if data.is_empty() => return Head::Short,
        (None, _) if data.len() <= MAX_WORD => return Head::Line,
        (Some(1..=MAX_WORD), Some(b' ' | b'\r' | b'\n')) => {}
        _ => return Head::Wrong,
    }
    let line = line(data);
    if line.len() == data.len() {
        return Head::Line;
    }
    let behind = data_bytes(line).filter(|bytes| *bytes <= MAX_VALUE);
    let wanted = line.len() + 1;
    Head::Message {
        length: wanted as u64 + behind.map_or(0, |bytes| bytes + 2),
        wanted,
    }
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The head of a command.
pub fn question(data: &[u8]) -> Head {
    let is_word = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    head(data, is_word, |line| {
        let mut words = words(line);
        match Command::find(words.next()?).kind() {
            Kind::Store(size) => number(words.nth(size - 1)?),
            _ => None,
        }
    })
}

/// The head of an answer.
pub fn answer(data: &[u8]) -> Head {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'=');
    head(data, is_word, |line| {
        let mut words = words(line);
        match words.next()? {
            b"VALUE" => number(words.nth(2)?),
            b"VA" => number(words.next()?),
            _ => None,
        }
    })
}

fn hash(word: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(word);
    hasher.finish()
}

impl Question {
    /// Of a command's line.
    pub fn text(line: &[u8]) -> Self {
        let mut words = words(line);
        let command = Command::find(words.next().unwrap_or_default());
        let mut question = Self::new(command);
        let meta = matches!(command.name(), "mg" | "ms" | "md" | "ma");
        let (mut count, mut last, mut key): (u32, &[u8], &[u8]) = (0, &[], &[]);
        for word in words {
            count = count.saturating_add(1);
            last = word;
            match (count, meta, word) {
                (1, _, _) => key = word,
                (_, true, b"q") => question.quiet = Quiet::Mostly,
                (_, true, b"k") => question.key = Some(hash(key)),
                (_, true, [b'O', opaque @ ..]) => question.opaque = Some(hash(opaque)),
                _ => {}
            }
        }
        if let Kind::Get(before) = command.kind() {
            question.keys = count.saturating_sub(before);
        } else if last == b"noreply" {
            question.quiet = Quiet::Always;
            count -= 1;
        }
        question.arguments = count;
        question
    }

    /// Whether an answer may be for this question, which isn't answered each
    /// time.
    fn may_take(&self, answer: &Answer<'_>) -> bool {
        if answer.is_error() {
            return true;
        }
        let words: &[&[u8]] = match (self.quiet, self.command.name()) {
            (Quiet::Always, _) => &[],
            (_, "mg") => &[b"VA", b"HD"],
            (_, "ms") => &[b"NS", b"EX", b"NF"],
            (_, "md") => &[b"EX"],
            (_, "ma") => &[b"VA", b"NS", b"EX"],
            _ => &[],
        };
        // Some versions repeat nothing where nothing was done.
        let bare = !matches!(answer.word, b"VA" | b"HD");
        let fits = |own: Option<u64>, told| own == told || (bare && told.is_none());
        words.contains(&answer.word)
            && fits(self.opaque, answer.opaque)
            && fits(self.key, answer.key)
    }
}

/// A line of an answer.
pub struct Answer<'a> {
    /// Its first word.
    pub word: &'a [u8],
    opaque: Option<u64>,
    key: Option<u64>,
}

impl<'a> Answer<'a> {
    /// Of an answer's line.
    pub fn read(line: &'a [u8]) -> Self {
        let mut words = words(line);
        let mut answer = Self {
            word: words.next().unwrap_or_default(),
            opaque: None,
            key: None,
        };
        if matches!(answer.word, b"VA" | b"HD" | b"NS" | b"EX" | b"NF") {
            for word in words {
                match word {
                    [b'O', opaque @ ..] => answer.opaque = Some(hash(opaque)),
                    [b'k', key @ ..] => answer.key = Some(hash(key)),
                    _ => {}
                }
            }
        }
        answer
    }

    fn is_error(&self) -> bool {
        matches!(self.word, b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR")
    }

    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<&'static str> {
        match self.word {
            b"ERROR" => Some("ERROR"),
            b"CLIENT_ERROR" => Some("CLIENT_ERROR"),
            b"SERVER_ERROR" => Some("SERVER_ERROR"),
            _ => None,
        }
    }

    /// Whether others follow that belong to it.
    pub fn goes_on(&self) -> bool {
        matches!(
            self.word,
            b"VALUE" | b"STAT" | b"ITEM" | b"PREFIX" | b"mg" | [b'k', b'e', b'y', b'=', ..]
        )
    }

    /// The place of the question that it answers: the first one that is
    /// answered in any case, unless it looks like one before that.
    pub fn place<'q>(&self, mut questions: impl Iterator<Item = &'q Question>) -> Option<usize> {
        questions.position(|question| question.quiet == Quiet::Never || question.may_take(self))
    }

    /// Whether it may be for others than the first of these questions, which are
    /// told so: those up to the first one that is answered in any case.
    pub fn doubt<'q>(&self, questions: impl Iterator<Item = &'q mut Question>) -> bool {
        let mut doubt = false;
        for (place, question) in questions.enumerate() {
            if question.quiet == Quiet::Never || self.is_error() {
                break;
            }
            if place > 0 && question.may_take(self) {
                question.unsure = true;
                doubt = true;
            }
        }
        doubt
    }
}
