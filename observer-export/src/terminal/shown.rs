//! Text for a terminal, in which nothing can be obeyed but what Observer itself put there.

use std::fmt;

use observer_signals::outside::plain;

/// Text that may be shown on a terminal: it has no characters that are obeyed (see
/// [`observer_signals::outside`]) but the colours and line ends that are asked for here.
///
/// Texts become it by `into`, which makes them harmless, and there is no other way to
/// standard output. So what nobody thought of is harmless, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown(String);

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self(plain(text).into_owned())
    }
}

impl From<String> for Shown {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Shown {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for Shown {
    /// Like a string's, but for colours taking no room: see [`Self::cell`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: Into<Shown>> Extend<T> for Shown {
    fn extend<I: IntoIterator<Item = T>>(&mut self, texts: I) {
        for text in texts {
            self.push(text);
        }
    }
}

impl<T: Into<Shown>> FromIterator<T> for Shown {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut all = Self::default();
        all.extend(texts);
        all
    }
}

impl Shown {
    /// Adds to it.
    pub fn push(&mut self, more: impl Into<Self>) {
        self.0.push_str(&more.into().0);
    }

    /// It with more behind it.
    #[must_use]
    pub fn with(mut self, more: impl Into<Self>) -> Self {
        self.push(more);
        self
    }

    /// Ends the line.
    pub fn end_line(&mut self) {
        self.0.push('\n');
    }

    /// Without blanks at its end.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        self.0.truncate(self.0.trim_end().len());
        self
    }

    /// In a colour or bold (an SGR number), where that can be.
    #[must_use]
    pub fn painted(self, sgr: u8, colours: bool) -> Self {
        if colours && !self.0.is_empty() {
            Self(format!("\u{1b}[{sgr}m{}\u{1b}[0m", self.0))
        } else {
            self
        }
    }

    /// Characters that are seen: all but those that set colours.
    pub fn width(&self) -> usize {
        visible(&self.0)
    }

    /// Cut to `width` characters that are seen, with an ellipsis.
    #[must_use]
    pub fn cut(&self, width: usize) -> Self {
        Self(cut(&self.0, width))
    }

    /// In a column of `width`, to its left.
    #[must_use]
    pub fn cell(self, width: usize) -> Self {
        let room = width.saturating_sub(self.width());
        self.with(" ".repeat(room))
    }

    /// What is written to the terminal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters that are seen: all but those that set colours.
pub(crate) fn visible(text: &str) -> usize {
    let mut escaped = false;
    let seen = |c: &char| {
        let hidden = escaped || *c == '\u{1b}';
        escaped = hidden && *c != 'm';
        !hidden
    };
    text.chars().filter(seen).count()
}

/// Cuts text to `width` characters that are seen, with an ellipsis.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if visible(text) <= width {
        return text.to_string();
    }
    if width == 0 {
        return String::new();
    }
    let (mut short, mut seen) = (String::new(), 0);
    let (mut escaped, mut coloured) = (false, false);
    for c in text.chars() {
        if escaped || c == '\u{1b}' {
            escaped = c != 'm';
            coloured = true;
        } else if seen + 1 >= width {
            break;
        } else {
            seen += 1;
        }
        short.push(c);
    }
    short.push('…');
    if coloured {
        short.push_str("\u{1b}[0m");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that colours take no room, and end where the text is cut.
    #[test]
    fn colours_take_no_room() {
        let part = |text: &str, colour| Shown::from(text).painted(colour, true);
        let text = part("abc", 31).with(", ").with(part("def", 32));
        assert_eq!(text.width(), 8);
        assert_eq!(text.cut(8), text);
        let red = "\u{1b}[31mab";
        assert_eq!(text.cut(3).as_str(), format!("{red}…\u{1b}[0m"));
        assert_eq!(text.cut(4).as_str(), format!("{red}c\u{1b}[0m…\u{1b}[0m"));
        assert_eq!(Shown::from("abc").painted(31, false).as_str(), "abc");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcdef", 6), "abcdef");
    }

    /// Checks that whatever a text is made of, nothing is obeyed but what was asked for.
    #[test]
    fn texts_are_harmless() {
        let hostile = "a\u{1b}]0;x\u{7}\n\u{9b}2J\u{202e}b";
        let mut shown = Shown::from(hostile).painted(31, true);
        shown.push(hostile.to_owned());
        shown.end_line();
        let harmless = "a\u{fffd}]0;x\u{fffd}\u{fffd}\u{fffd}2J\u{fffd}b";
        assert_eq!(
            shown.as_str(),
            format!("\u{1b}[31m{harmless}\u{1b}[0m{harmless}\n")
        );
    }
}
