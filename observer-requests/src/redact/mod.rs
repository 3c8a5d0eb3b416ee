//! What may leave the daemon of what was on the wire.
//!
//! What comes out of it is [`Redacted`], and spans and metrics are made of nothing else.
//!
//! Always hidden: values in query strings, names and passwords in URLs, values
//! of a path's parameters (`;jsessionid=…`), e-mail addresses and access tokens
//! in paths and user agents. Cookies and `Authorization` are not even taken from a request's
//! head, nor are bodies; literals leave a statement in its parser. Rules of the
//! user hide more:
//!
//! - A rule that begins with `/` is a path: `/reset/*` hides what stands where
//!   it has a `*`. A `*` is within one segment; `/**` at the end hides all that
//!   follows. Names (`{token}`) count as `*`.
//! - Any other is a word, with or without `*`: `*secret*`. It is hidden wherever
//!   it occurs: as a segment of a path, a name in a query string, a label of
//!   a domain name or the whole of it, a word of a statement.
//!
//! Both in small letters and capitals alike.

mod agent;
mod glob;
mod rule;
mod told;

use std::borrow::Cow;
use std::fmt::Write as _;

pub use glob::Glob;
pub use rule::Rule;
pub use told::{Redacted, Told};

use super::identifier::is_id;
use super::target::Target;

/// What stands for what was hidden.
pub const REDACTED: &str = "REDACTED";

/// Signatures and credentials, which semantic conventions (`url.query`) want
/// hidden by default; hidden also where the user allows everything.
const SIGNATURES: [&str; 5] = [
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "sig",
    "X-Goog-Signature",
];

/// Parameters of a query string that are told; the rest is left out.
const PARAMETERS: usize = 64;

/// Segments of a path that rules can tell apart.
const SEGMENTS: usize = 64;

/// Hides what may not leave. Made once; every use is read-only.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    paths: Vec<rule::Path>,
    words: Vec<Glob>,
    query_keys: Vec<Glob>,
}

impl Redactor {
    /// Hides what the rules say beside the usual; values of query parameters
    /// whose names match `query_keys` (letter by letter) stay.
    pub fn new(rules: &[Rule], query_keys: &[Glob]) -> Self {
        let mut redactor = Self {
            query_keys: query_keys.to_vec(),
            ..Self::default()
        };
        for rule in rules {
            match rule {
                Rule::Path(path) => redactor.paths.push(path.clone()),
                Rule::Word(word) => redactor.words.push(word.clone()),
            }
        }
        redactor
    }

    /// Which segments of a path are hidden by a rule, as bits. Segments beyond
    /// the 64th aren't looked at.
    pub fn hidden(&self, segments: &[&str]) -> u64 {
        let mut hidden = self
            .paths
            .iter()
            .fold(0, |hidden, rule| hidden | rule.hides(segments));
        if !self.words.is_empty() {
            for (i, segment) in segments.iter().take(SEGMENTS).enumerate() {
                let name = segment.split(';').next().unwrap_or_default();
                hidden |= u64::from(self.is_word(segment) || self.is_word(name)) << i;
            }
        }
        hidden
    }

    /// A path (`url.path`).
    pub fn path(&self, path: &str) -> Redacted {
        let mut out = String::with_capacity(path.len());
        self.write_path(path, &mut out);
        Redacted::new(out)
    }

    fn write_path(&self, path: &str, out: &mut String) {
        if self.paths.is_empty() && self.words.is_empty() && is_plain(path) {
            return out.push_str(path);
        }
        let rest = path.strip_prefix('/').unwrap_or(path);
        let segments: Vec<&str> = rest.split('/').take(SEGMENTS).collect();
        let rules = self.hidden(&segments);
        for (i, segment) in segments.iter().enumerate() {
            if i > 0 || path.starts_with('/') {
                out.push('/');
            }
            if rules >> i & 1 != 0 || is_secret(segment) {
                out.push_str(REDACTED);
                continue;
            }
            let mut parameters = segment.split(';');
            push_printable(parameters.next().unwrap_or_default(), out);
            for parameter in parameters {
                out.push(';');
                match parameter.split_once('=') {
                    Some((name, _)) if !self.hides_name(name) => {
                        push_printable(name, out);
                        out.push('=');
                        out.push_str(REDACTED);
                    }
                    _ => out.push_str(REDACTED),
                }
            }
        }
        if rest.split('/').nth(SEGMENTS).is_some() {
            // Nobody's rules can say anything about so long a path.
            out.push('/');
            out.push_str(REDACTED);
        }
    }

    /// A query string (`url.query`), without the `?`.
    pub fn query(&self, query: &str) -> Redacted {
        let mut out = String::with_capacity(query.len().min(256));
        self.write_query(query, &mut out);
        Redacted::new(out)
    }

    fn write_query(&self, query: &str, out: &mut String) {
        for (i, parameter) in query.split(['&', ';']).take(PARAMETERS).enumerate() {
            if i > 0 {
                out.push('&');
            }
            // What has no name may be the secret itself, and so may a name
            // that looks like one.
            let Some((name, value)) = parameter
                .split_once('=')
                .filter(|(name, _)| !self.hides_name(name))
            else {
                if !parameter.is_empty() {
                    out.push_str(REDACTED);
                }
                continue;
            };
            out.push_str(name);
            out.push('=');
            if value.is_empty() {
                continue;
            }
            if self.is_allowed(name) && !self.is_word(value) {
                push_printable(value, out);
            } else {
                out.push_str(REDACTED);
            }
        }
    }

    /// A whole URL (`url.full`) of a request to `host`; `port` if it isn't the
    /// usual one.
    pub fn url(
        &self,
        scheme: &str,
        host: &str,
        port: Option<u16>,
        target: &Target<'_>,
    ) -> Redacted {
        let query = target.query.map_or(0, |query| query.len() + 16);
        let mut out = String::with_capacity(scheme.len() + host.len() + target.path.len() + query);
        out.push_str(scheme);
        out.push_str("://");
        if let Some(user) = target.user {
            out.push_str(REDACTED);
            if user.contains(':') {
                out.push(':');
                out.push_str(REDACTED);
            }
            out.push('@');
        }
        let address = host.contains(':');
        if address {
            out.push('[');
        }
        out.push_str(&self.without(host, |c| c == '.'));
        if address {
            out.push(']');
        }
        if let Some(port) = port {
            // Writing to a String can't fail.
            let _ = write!(out, ":{port}");
        }
        self.write_path(target.path, &mut out);
        if let Some(query) = target.query {
            out.push('?');
            self.write_query(query, &mut out);
        }
        Redacted::new(out)
    }

    /// A domain name: labels that match a word are hidden, or else all of it.
    pub fn name(&self, name: &str) -> Redacted {
        Redacted::new(self.without(name, |c| c == '.').into_owned())
    }

    /// A text (a statement, a table's name): words that match a rule are hidden,
    /// or else all of it.
    pub fn text(&self, text: &str) -> Redacted {
        Redacted::new(self.without_words(text).into_owned())
    }

    /// gRPC's `package.Service/Method`: segments that can't be names of these are
    /// hidden, and words that match a rule.
    pub fn rpc_method(&self, service: &str, method: &str) -> Redacted {
        let usual = |b: u8| b.is_ascii_alphanumeric() || b"_-.$+".contains(&b);
        let shown = |segment| match str::bytes(segment).all(usual) && !is_web_token(segment) {
            true => segment,
            false => REDACTED,
        };
        let segments = service.split('/').chain([method]);
        let segments: Vec<&str> = segments.map(shown).collect();
        self.text(&segments.join("/"))
    }

    fn without_words<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let of_word = |c: char| c.is_alphanumeric() || "_-.@$".contains(c);
        self.without(text, |c| !of_word(c))
    }

    /// `text` without those of its parts between separators that match a word.
    fn without<'a>(&self, text: &'a str, separates: impl Fn(char) -> bool) -> Cow<'a, str> {
        if self.words.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::new();
        let mut hidden = false;
        for piece in text.split_inclusive(&separates) {
            let part = piece.strip_suffix(&separates).unwrap_or(piece);
            if part.is_empty() || !self.is_word(part) {
                out.push_str(piece);
                continue;
            }
            hidden = true;
            out.push_str(REDACTED);
            out.extend(piece.chars().next_back().filter(|last| separates(*last)));
        }
        // A pattern of several words.
        if self.is_word(&out) && out != REDACTED {
            return Cow::Borrowed(REDACTED);
        }
        match hidden {
            true => Cow::Owned(out),
            false => Cow::Borrowed(text),
        }
    }

    fn is_word(&self, text: &str) -> bool {
        if self.words.is_empty() {
            return false;
        }
        let decoded = decode(text);
        self.words
            .iter()
            .any(|word| word.matches_any_case(&decoded))
    }

    fn is_allowed(&self, name: &str) -> bool {
        self.query_keys.iter().any(|key| key.matches(name)) && !SIGNATURES.contains(&name)
    }

    /// Whether the name of a parameter is better not told.
    fn hides_name(&self, name: &str) -> bool {
        let usual = |b: u8| b.is_ascii_alphanumeric() || b"-_.~[]$:".contains(&b);
        let plain = match name.contains('%') {
            true => Cow::Owned(name.replace("%5B", "[").replace("%5D", "]")),
            false => Cow::Borrowed(name),
        };
        if !plain.bytes().all(usual) || self.is_word(name) {
            return true;
        }
        // `filter[name]`, `$top`, `fields:user` are of parts; numbers are places.
        plain
            .split(['[', ']', '$', ':'])
            .any(|part| part.len() >= 8 && is_id(part) && !self.is_allowed(name))
    }
}

/// Whether there is certainly nothing in a path to hide or to escape.
fn is_plain(path: &str) -> bool {
    let mut length = 0;
    path.len() <= 256
        && path.bytes().all(|b| {
            length = if b == b'/' { 0 } else { length + 1 };
            let usual = b.is_ascii_alphanumeric() || b"/-_.~:".contains(&b);
            usual && length < SECRET
        })
}

/// Access tokens are at least so long.
const SECRET: usize = 20;

/// Access tokens and e-mail addresses.
fn is_secret(segment: &str) -> bool {
    let segment = segment.split(';').next().unwrap_or_default();
    if segment.contains('@') || segment.contains("%40") {
        // `@babel` is a name.
        let name = segment.strip_prefix('@');
        return name.is_none_or(|name| name.contains('@'));
    }
    if is_web_token(segment) {
        return true;
    }
    // Base64 of 15 bytes or more; UUIDs and hashes have one case.
    let has = |what: fn(&u8) -> bool| segment.bytes().any(|b| what(&b));
    segment.len() >= SECRET
        && segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_=.~+".contains(&b))
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && longest_run(segment) < 12
}

/// Whether it is a JSON web token (RFC 7519): three parts, the first of JSON.
fn is_web_token(segment: &str) -> bool {
    segment.starts_with("eyJ") && segment.len() >= SECRET
}

/// Longest row of letters: names in capitals and small letters have words.
fn longest_run(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_lowercase())
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// Appends text with control characters and blanks escaped.
fn push_printable(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_control() || c == ' ' {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                // Writing to a String can't fail.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
}

/// Percent-decoded, so that an escape doesn't hide a word from its rule.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let [byte, behind @ ..] = rest {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        rest = behind;
        if let (b'%', [high, low, behind @ ..]) = (byte, behind)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push((high * 16 + low) as u8);
            rest = behind;
        } else {
            out.push(*byte);
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests;
