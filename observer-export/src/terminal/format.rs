//! Numbers as people read them: three digits and a unit.

use super::Interval;

/// A duration: `950 ns`, `12.3 µs`, `4.56 ms`, `10 s`.
pub fn seconds(value: f64) -> String {
    let ns = value * 1e9;
    if ns < 0.5 {
        "0".into()
    } else if ns < 999.5 {
        format!("{ns:.0} ns")
    } else if ns < 999.5e3 {
        format!("{} µs", three_digits(ns / 1e3))
    } else if ns < 999.5e6 {
        format!("{} ms", three_digits(ns / 1e6))
    } else {
        format!("{} s", three_digits(value))
    }
}

/// A quantile, or a dash where nothing was recorded.
pub fn quantile(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), seconds)
}

/// A count: `7`, `12.3k`, `4.56M`.
pub fn count(value: f64) -> String {
    if value < 0.05 {
        "0".into()
    } else if value < 9.95 && value.fract() > 0.05 {
        format!("{value:.1}")
    } else if value < 999.5 {
        format!("{value:.0}")
    } else if value < 999.5e3 {
        format!("{}k", three_digits(value / 1e3))
    } else if value < 999.5e6 {
        format!("{}M", three_digits(value / 1e6))
    } else {
        format!("{}G", three_digits(value / 1e9))
    }
}

/// Bytes in powers of 1024: `512 B`, `1.5 MiB`.
pub fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 999.5 {
            return format!("{} {unit}", three_digits(value));
        }
        value /= 1024.0;
    }
    format!("{} TiB", three_digits(value))
}

/// A share: `0.4 %`, `12 %`.
pub fn percent(share: f64) -> String {
    // Not "-0.0 %" for what is nothing.
    let value = (share * 100.0).max(0.0);
    if value < 9.95 {
        format!("{value:.1} %")
    } else {
        format!("{value:.0} %")
    }
}

/// Three significant digits, without zeros behind the point.
fn three_digits(value: f64) -> String {
    let text = if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        return format!("{value:.0}");
    };
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// A heading, bold where that can be.
pub fn heading(text: &str, interval: &Interval<'_>) -> String {
    if interval.colours {
        format!("\u{1b}[1m{text}\u{1b}[0m")
    } else {
        text.to_string()
    }
}

/// Text in a colour (an SGR number), where that can be.
pub fn paint(text: &str, colour: u8, colours: bool) -> String {
    if colours && !text.is_empty() {
        format!("\u{1b}[{colour}m{text}\u{1b}[0m")
    } else {
        text.to_string()
    }
}

/// Without characters that a terminal obeys: control characters, and those
/// that turn the direction of writing (Unicode UAX 9).
pub fn plain(text: &str) -> String {
    let obeyed =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c| if obeyed(c) { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// Characters that are seen: all but those that set colours.
pub fn visible(text: &str) -> usize {
    let mut escaped = false;
    let seen = |c: &char| {
        let hidden = escaped || *c == '\u{1b}';
        escaped = hidden && *c != 'm';
        !hidden
    };
    text.chars().filter(seen).count()
}

/// Cuts text to `width` characters that are seen, with an ellipsis.
pub fn cut(text: &str, width: usize) -> String {
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

    /// Checks numbers at the edges between units.
    #[test]
    fn units() {
        assert_eq!(seconds(0.0), "0");
        assert_eq!(seconds(999e-9), "999 ns");
        assert_eq!(seconds(1e-6), "1 µs");
        assert_eq!(seconds(0.012345), "12.3 ms");
        assert_eq!(seconds(10.0), "10 s");
        assert_eq!(count(0.0), "0");
        assert_eq!(count(2.5), "2.5");
        assert_eq!(count(1234.0), "1.23k");
        assert_eq!(count(999_600.0), "1M");
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(percent(0.0123), "1.2 %");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcdef", 6), "abcdef");
    }

    /// Checks that colours take no room, and end where the text is cut.
    #[test]
    fn colours_take_no_room() {
        let text = format!("{}, {}", paint("abc", 31, true), paint("def", 32, true));
        assert_eq!(visible(&text), 8);
        assert_eq!(cut(&text, 8), text);
        let red = "\u{1b}[31mab";
        assert_eq!(cut(&text, 3), format!("{red}…\u{1b}[0m"));
        assert_eq!(cut(&text, 4), format!("{red}c\u{1b}[0m…\u{1b}[0m"));
        assert_eq!(paint("abc", 31, false), "abc");
    }
}
