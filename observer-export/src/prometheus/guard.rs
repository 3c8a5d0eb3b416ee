//! Who may scrape: whoever has the token, as `Bearer`, or as the password of `Basic`
//! (RFC 6750, RFC 7617).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest token, in bytes.
const LONGEST: u64 = 4096;

/// What has to be shown.
pub struct Token(String);

impl Token {
    /// The only line of a file.
    ///
    /// # Errors
    /// The file can't be read, is empty, or is something else than a line of text.
    pub fn read(path: &Path) -> Result<Self> {
        let reading = || {
            format!(
                "can't read the token for Prometheus from {}",
                path.display()
            )
        };
        let mut text = String::new();
        let file = File::open(path).with_context(reading)?;
        let mut file = file.take(LONGEST + 1);
        file.read_to_string(&mut text).with_context(reading)?;
        let token = text.trim();
        if token.is_empty() {
            bail!("{}: there is nothing in it", reading());
        }
        if text.len() as u64 > LONGEST || token.contains(char::is_control) {
            bail!(
                "{}: a token is one line of at most {LONGEST} bytes",
                reading()
            );
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether a header `Authorization` shows it.
    pub fn is_shown(&self, authorization: &str) -> bool {
        let Some((scheme, rest)) = authorization.trim().split_once(' ') else {
            return false;
        };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return same(rest.as_bytes(), self.0.as_bytes());
        }
        let decoded = STANDARD.decode(rest).unwrap_or_default();
        // The user is whoever it is.
        let password = decoded.iter().position(|b| *b == b':');
        let password = password.and_then(|colon| decoded.get(colon + 1..));
        scheme.eq_ignore_ascii_case("basic")
            && password.is_some_and(|password| same(password, self.0.as_bytes()))
    }
}

/// Compares in a time that depends on the lengths only.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text).expect("written");
        file
    }

    /// Checks that the token opens, as a bearer's and as a password, and nothing else does.
    #[test]
    fn only_the_token_opens() {
        let token = Token::read(file(b"s3:cret\n").path()).expect("a token");
        let basic = |text: &str| format!("basic {}", STANDARD.encode(text));
        for shown in ["Bearer s3:cret", "bearer  s3:cret ", &basic("any:s3:cret")] {
            assert!(token.is_shown(shown), "{shown}");
        }
        let wrong = [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3:cre",
            "Bearer s3:cret2",
            "s3:cret",
            "Basic s3:cret",
            "Digest s3:cret",
            &basic("s3:cret"),
            &basic("any:"),
            &basic("any"),
        ];
        for shown in wrong {
            assert!(!token.is_shown(shown), "{shown}");
        }
    }

    /// Checks that what is no token is said to be none, with the file's name.
    #[test]
    fn files_without_a_token_are_refused() {
        let long = vec![b'a'; 5000];
        for text in [&b""[..], b" \n\n", b"a\nb\n", &long, b"\xff"] {
            let file = file(text);
            let error = Token::read(file.path()).err().expect("refused");
            let name = file.path().display().to_string();
            assert!(format!("{error:#}").contains(&name), "{error:#}");
        }
        assert!(Token::read(Path::new("/nowhere/token")).is_err());
    }
}
