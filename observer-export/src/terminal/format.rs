//! Numbers as people read them: three digits and a unit.

use super::shown::visible;
use super::{Interval, Shown};

/// The SGR number of bold text.
const BOLD: u8 = 1;

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
pub fn heading(text: impl Into<Shown>, interval: &Interval<'_>) -> Shown {
    text.into().painted(BOLD, interval.colours)
}

/// Text in a colour (an SGR number), where that can be.
pub fn paint(text: impl Into<Shown>, colour: u8, colours: bool) -> Shown {
    text.into().painted(colour, colours)
}

/// Blanks before what goes on in the next line.
const INDENT: usize = 7;

/// Text in lines of at most `width` characters, broken at blanks; what goes on is indented.
/// A longer word is cut.
pub fn wrapped(text: impl Into<Shown>, width: usize) -> Shown {
    let text = text.into();
    let mut out = Shown::default();
    let begin = text.as_str().chars().take_while(|c| *c == ' ').count();
    let (mut line, mut is_empty) = (" ".repeat(begin), true);
    for word in text.as_str().split(' ').filter(|word| !word.is_empty()) {
        if !is_empty && visible(&line) + 1 + visible(word) > width {
            out.push(Shown::from(std::mem::take(&mut line)).cut(width));
            out.end_line();
            (line, is_empty) = (" ".repeat(INDENT), true);
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    out.push(Shown::from(line).cut(width));
    out.end_line();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that no line is longer than there is room, that all words are there, in their
    /// order, and that a word without room is cut.
    #[test]
    fn lines_are_broken() {
        let text = "  sent 4.57 MiB/s; retransmitted 12 (timeout 12)";
        let shown = wrapped(text, 24);
        let expected = "  sent 4.57 MiB/s;\n       retransmitted 12\n       (timeout 12)\n";
        assert_eq!(shown.as_str(), expected);
        assert_eq!(wrapped(text, 80).as_str(), format!("{text}\n"));
        assert_eq!(wrapped("a bbbbbbbbbb", 9).as_str(), "a\n       b…\n");
    }

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
    }
}
