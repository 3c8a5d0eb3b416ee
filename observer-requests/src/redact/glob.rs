//! Patterns with `*`.

/// A pattern in which `*` stands for any characters, also none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<str>);

/// Longer patterns are a mistake, and would cost.
const LONGEST: usize = 256;

impl std::str::FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(format!("a pattern has 1 to {LONGEST} bytes"));
        }
        Ok(Self(text.into()))
    }
}

impl Glob {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether all of `text` is what the pattern says.
    pub fn matches(&self, text: &str) -> bool {
        matches(self.0.as_bytes(), text.as_bytes(), |a, b| a == b)
    }

    /// As [`Self::matches`], with ASCII letters of either case.
    pub fn matches_any_case(&self, text: &str) -> bool {
        matches(self.0.as_bytes(), text.as_bytes(), |a, b| {
            a.eq_ignore_ascii_case(&b)
        })
    }

    /// Whether it has a `*`.
    pub fn is_open(&self) -> bool {
        self.0.contains('*')
    }
}

/// At most `pattern` times `text` steps: after a mismatch only the last `*` has
/// to take one character more, because it can do whatever an earlier one could.
fn matches(mut pattern: &[u8], mut text: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
    // What comes behind the last `*`, and what of the text it hasn't taken.
    let mut star: Option<(&[u8], &[u8])> = None;
    while let [c, behind @ ..] = text {
        match pattern {
            [b'*', rest @ ..] => {
                star = Some((rest, text));
                pattern = rest;
            }
            [due, rest @ ..] if same(*due, *c) => {
                pattern = rest;
                text = behind;
            }
            _ => {
                let Some((rest, [_, behind @ ..])) = star else {
                    return false;
                };
                star = Some((rest, behind));
                pattern = rest;
                text = behind;
            }
        }
    }
    pattern.iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a table of patterns.
    #[test]
    fn patterns() {
        let table = [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*secret*", "my-secret-7", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a**", "a", true),
            ("*.internal", "db.internal", true),
        ];
        for (pattern, text, expected) in table {
            let glob: Glob = pattern.parse().expect(pattern);
            assert_eq!(glob.matches(text), expected, "{pattern} {text}");
        }
        let glob: Glob = "toKEN*".parse().expect("a pattern");
        assert!(glob.matches_any_case("Token-1") && !glob.matches("Token-1"));
        assert!("".parse::<Glob>().is_err());
    }
}
