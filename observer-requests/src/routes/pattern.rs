//! Routes that the user has told of.

use std::str::FromStr;
use std::sync::Arc;

use crate::redact::Glob;

/// A route as people write it: `/api/{tenant}/x/{id}`. A name in braces stands
/// for one segment, a `*` for any characters within one, `/**` at the end for
/// whatever follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    route: Arc<str>,
    segments: Vec<Glob>,
    open: bool,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let path = text
            .strip_prefix('/')
            .ok_or_else(|| format!("`{text}` is no route: it begins with `/`"))?;
        let (path, open) = match path.strip_suffix("**") {
            Some(before) if before.is_empty() || before.ends_with('/') => (before, true),
            _ => (path, false),
        };
        let segments = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| outside_braces(segment).parse())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            route: text.into(),
            segments,
            open,
        })
    }
}

impl Pattern {
    /// The route as it was written.
    pub fn route(&self) -> &Arc<str> {
        &self.route
    }

    /// Whether a path, as its segments that aren't empty, has this route.
    pub(super) fn matches(&self, segments: &[&str]) -> bool {
        (segments.len() == self.segments.len()
            || (self.open && segments.len() > self.segments.len()))
            && self
                .segments
                .iter()
                .zip(segments)
                .all(|(glob, segment)| glob.matches(segment))
    }
}

/// `{name}` as `*`, within a segment: `{id}.json`.
fn outside_braces(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        out.push('*');
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what patterns match.
    #[test]
    fn patterns_match_paths() {
        let table = [
            ("/api/{tenant}/x", "api/acme/x", true),
            ("/api/{tenant}/x", "api/acme/y", false),
            ("/api/{tenant}/x", "api/acme/x/z", false),
            ("/files/**", "files/a/b", true),
            ("/files/**", "files", true),
            ("/x/{id}.json", "x/7.json", true),
            ("/x/{id}.json", "x/7.xml", false),
            ("/**", "a", true),
            ("/a-*", "a-b", true),
        ];
        for (pattern, path, expected) in table {
            let segments: Vec<&str> = path.split('/').collect();
            let parsed: Pattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(&segments), expected, "{pattern} {path}");
            assert_eq!(&**parsed.route(), pattern);
        }
        assert!("users".parse::<Pattern>().is_err());
    }
}
