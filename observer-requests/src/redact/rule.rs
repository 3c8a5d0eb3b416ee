//! Rules of the user: what to hide.

use std::str::FromStr;

use super::Glob;

/// What to hide; see [`super`] for how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Parts of paths.
    Path(Path),
    /// A word, wherever it occurs.
    Word(Glob),
}

/// A path with places in it that are hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    segments: Vec<Glob>,
    /// It ends in `/**`.
    open: bool,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let Some(path) = text.strip_prefix('/') else {
            if text.bytes().all(|b| b == b'*') {
                return Err(format!("`{text}` hides everything or nothing"));
            }
            return Ok(Self::Word(text.parse()?));
        };
        let (path, open) = match path.strip_suffix("**") {
            Some(before) if before.is_empty() || before.ends_with('/') => {
                (before.trim_end_matches('/'), true)
            }
            _ => (path, false),
        };
        let segments = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(
                |segment| match segment.starts_with('{') && segment.ends_with('}') {
                    true => "*".parse(),
                    false => segment.parse(),
                },
            )
            .collect::<Result<Vec<Glob>, _>>()?;
        if !open && !segments.iter().any(Glob::is_open) {
            return Err(format!(
                "`{text}` hides nothing: put a `*` where the secret is"
            ));
        }
        Ok(Self::Path(Path { segments, open }))
    }
}

impl Path {
    /// The segments that it hides, as bits; 0 for paths that it doesn't match.
    pub(super) fn hides(&self, segments: &[&str]) -> u64 {
        let own = self.segments.len();
        let fits = match self.open {
            true => segments.len() > own,
            false => matches!(segments.get(own..), Some([] | [""])),
        };
        let matches =
            |(rule, segment): (&Glob, &&str)| rule.matches_any_case(&super::decode(segment));
        if !fits || !self.segments.iter().zip(segments).all(matches) {
            return 0;
        }
        let mut hidden = 0;
        for i in 0..segments.len().min(64) {
            let hides = match self.segments.get(i) {
                Some(rule) => rule.is_open(),
                None => self.open,
            };
            hidden |= u64::from(hides) << i;
        }
        hidden
    }
}
