//! What in a path is a name, and what stands for one of many things.

/// What stands for an identifier.
pub const ID: &str = "{id}";

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

/// Appends what a segment is called in a route. `last`: it ends the path, and
/// may be the name of a file.
pub fn write(segment: &str, last: bool, out: &mut String) {
    // Parameters of a segment (RFC 3986, 3.3), like `;jsessionid=…`.
    let segment = segment.split(';').next().unwrap_or_default();
    // A verb after the thing: `/books/42:archive`.
    if let Some((thing, verb)) = segment.split_once(':')
        && (3..=24).contains(&verb.len())
        && verb.bytes().all(|b| b.is_ascii_alphabetic())
    {
        out.push_str(if is_id(thing) { ID } else { thing });
        out.push(':');
        out.push_str(verb);
        return;
    }
    if last
        && let Some((stem, extension)) = segment.rsplit_once('.')
        && !stem.is_empty()
        && !stem.contains('@')
        && is_extension(extension)
    {
        write_stem(stem, out);
        out.push('.');
        out.push_str(extension);
        return;
    }
    out.push_str(if is_id(segment) { ID } else { segment });
}

/// `png`, `woff2`, `7z`.
fn is_extension(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && text.bytes().filter(u8::is_ascii_digit).count() <= 1
}

/// A file's name without its extension: `app.3f2a` is `app.{id}`, `index-BcD3f9aX`
/// is `index-{id}`.
fn write_stem(stem: &str, out: &mut String) {
    let mut before_was_id = false;
    for (i, part) in stem.split('.').enumerate() {
        let tail = part
            .rsplit_once(['-', '_'])
            .filter(|(name, hash)| hash.len() >= 4 && !name.is_empty() && !is_id(name))
            .filter(|(_, hash)| is_id(hash) || is_short_hash(hash));
        let id = tail.is_none() && (is_id(part) || is_short_hash(part));
        if id && before_was_id {
            continue;
        }
        before_was_id = id;
        if i > 0 {
            out.push('.');
        }
        match tail {
            Some((name, _)) => {
                out.push_str(&part[..=name.len()]);
                out.push_str(ID);
            }
            None if id => out.push_str(ID),
            None => out.push_str(part),
        }
    }
}

/// `3f2a`: what builders put into the names of files.
fn is_short_hash(text: &str) -> bool {
    text.len() >= 4
        && text.bytes().all(|b| b.is_ascii_hexdigit())
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
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

    /// Checks files, verbs and parameters of segments.
    #[test]
    fn segments() {
        let table = [
            ("app.3f2a.js", "app.{id}.js"),
            ("index-BcD3f9aX.js", "index-{id}.js"),
            ("main.abc123ef.chunk.css", "main.{id}.chunk.css"),
            ("logo.png", "logo.png"),
            ("12345.png", "{id}.png"),
            ("font.woff2", "font.woff2"),
            ("jquery-3.6.0.min.js", "jquery-3.{id}.min.js"),
            ("report-2026-11-21.pdf", "{id}.pdf"),
            ("order-12345.pdf", "order-{id}.pdf"),
            ("robots.txt", "robots.txt"),
            ("joe@example.com", "{id}"),
            ("42:archive", "{id}:archive"),
            ("projects:list", "projects:list"),
            ("login;jsessionid=A1B2", "login"),
            ("42;v=1", "{id}"),
        ];
        for (segment, expected) in table {
            let mut out = String::new();
            write(segment, true, &mut out);
            assert_eq!(out, expected, "{segment}");
        }
    }
}
