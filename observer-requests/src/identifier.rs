//! Tells names that a program's author gave from what stands for one of many
//! things.

/// Names that people give aren't longer.
const LONGEST_NAME: usize = 40;

/// Whether the text is one of many: a number, a date, an address, a UUID, a
/// hash, a token, a title; and not a name that a program's author gave
/// (`users`, `v2`, `oauth2`, `x86_64`, `sign-in`).
pub fn is_id(text: &str) -> bool {
    let mut seen = Seen::default();
    for byte in text.bytes() {
        if !seen.take(byte) {
            // Escapes, `@`, other languages: text, not a name.
            return true;
        }
    }
    let (letters, digits) = (seen.letters, seen.digits);
    let length = text.len();
    if is_version(text) {
        return false;
    }
    if length > LONGEST_NAME || seen.separators > 4 {
        return true;
    }
    if digits == 0 {
        // Letters that change their case all the time are base64 of something.
        return length >= 12 && seen.turns * 2 >= length as u32;
    }
    letters == 0
        || digits >= 6
        || seen.most_digits >= 4
        || (seen.hex && letters + digits >= 8)
        || (seen.most_turns >= 3 && length >= 6)
        || (length >= 8 && seen.turns * 2 >= length as u32)
        || (length >= 20 && seen.separators == 0)
}

/// `v2`, `v1beta1`.
fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v').filter(|rest| rest.len() <= 9) else {
        return false;
    };
    let rest = rest.trim_matches(|c: char| c.is_ascii_digit());
    matches!(rest, "" | "alpha" | "beta" | "rc")
}

/// What was counted in a text.
struct Seen {
    letters: u32,
    digits: u32,
    separators: u32,
    /// Only hexadecimal digits so far, beside separators.
    hex: bool,
    /// How often the kind of character changed within a word: small letter,
    /// capital, digit.
    turns: u32,
    /// As `turns`, between letters and digits, of the word with the most.
    most_turns: u32,
    most_digits: u32,
    word_turns: u32,
    word_digits: u32,
    last: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Separator,
    Digit,
    Small,
    Capital,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            letters: 0,
            digits: 0,
            separators: 0,
            hex: true,
            turns: 0,
            most_turns: 0,
            most_digits: 0,
            word_turns: 0,
            word_digits: 0,
            last: Kind::Separator,
        }
    }
}

impl Seen {
    /// Counts one character; `false` if it is none of a name's.
    fn take(&mut self, byte: u8) -> bool {
        let kind = match byte {
            b'0'..=b'9' => Kind::Digit,
            b'a'..=b'z' => Kind::Small,
            b'A'..=b'Z' => Kind::Capital,
            b'-' | b'_' | b'.' | b'~' => Kind::Separator,
            _ => return false,
        };
        match kind {
            Kind::Separator => {
                self.separators += 1;
                (self.word_turns, self.word_digits) = (0, 0);
            }
            Kind::Digit => {
                self.digits += 1;
                self.word_digits += 1;
                self.most_digits = self.most_digits.max(self.word_digits);
            }
            Kind::Small | Kind::Capital => {
                self.letters += 1;
                self.hex &= byte.is_ascii_hexdigit();
            }
        }
        if kind != self.last && kind != Kind::Separator && self.last != Kind::Separator {
            self.turns += 1;
            if kind == Kind::Digit || self.last == Kind::Digit {
                self.word_turns += 1;
                self.most_turns = self.most_turns.max(self.word_turns);
            }
        }
        self.last = kind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks names that authors give: they stay.
    #[test]
    fn names_stay() {
        for name in [
            "users",
            "v1",
            "v2beta1",
            "oauth2",
            "x86_64",
            "sign-in",
            "k8s",
            "i18n",
            "s3",
            "en-US",
            "api",
            "sha256",
            "getUserProfile",
            "ListOrders",
            ".well-known",
            "deadbeef",
            "2fa",
            "http2",
            "index.php",
            "a",
            "log4j",
            "forgot_password",
            "v1.2",
            "cgi-bin",
        ] {
            assert!(!is_id(name), "{name}");
        }
    }

    /// Checks things that there are many of: they are identifiers.
    #[test]
    fn identifiers_are_found() {
        for id in [
            "42",
            "007",
            "-1",
            "1.5",
            "2026-11-21",
            "20261121",
            "10.0.0.1",
            "550e8400-e29b-41d4-a716-446655440000",
            "550E8400E29B41D4A716446655440000",
            "3f2a9c01",
            "d41d8cd98f00b204e9800998ecf8427e",
            "dQw4w9WgXcQ",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "aGVsbG8gd29ybGQ",
            "a@example.com",
            "caf%C3%A9",
            "é",
            "order-12345",
            "k3j9x2mq",
            "my-first-post-about-low-cardinality",
            "user:7",
            "a b",
            "'or'1'='1",
            "\u{0}",
            "1,2,3",
            "xKcDfQpWzRtY",
            "2026-11-21T10:00:00Z",
            "tok_1NXyZ2abcdEFgh",
        ] {
            assert!(is_id(id), "{id}");
        }
    }
}
