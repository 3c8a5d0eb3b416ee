//! What the kernel's files look like: `name value` lines, pressure.

/// A number behind a name at the begin of a line (`pgfault 12`, `MemFree: 7 kB`).
pub(super) fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', ':']))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// The sum of all numbers whose names begin so (`allocstall_dma 0`, `allocstall_normal 3`);
/// `None` if there are none.
pub(super) fn sum(text: &str, prefix: &str) -> Option<u64> {
    let lines = text.lines().filter(|line| line.starts_with(prefix));
    let values = lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    values.reduce(u64::saturating_add)
}

/// A file that is one number; `None` also for `max`.
pub(super) fn number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Microseconds that some threads waited (`some`) or all of them did (`full`), since the
/// begin (Documentation/accounting/psi.rst).
pub(super) fn pressure(text: &str, share: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(share))?;
    let total = line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("total="))?;
    total.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks files as the kernel writes them, and that a name isn't taken for the begin
    /// of another.
    #[test]
    fn figures() {
        let stat = "pgfault_more 1\npgfault 12\nallocstall_dma 2\nallocstall_normal 3\n";
        assert_eq!(value(stat, "pgfault"), Some(12));
        assert_eq!(value(stat, "pgmajfault"), None);
        assert_eq!(value("MemFree:    77 kB\n", "MemFree"), Some(77));
        assert_eq!(sum(stat, "allocstall_"), Some(5));
        assert_eq!(sum(stat, "compact_"), None);
        assert_eq!(
            (number("42\n"), number("max\n"), number("")),
            (Some(42), None, None)
        );
    }

    /// Checks pressure with both lines, and of the CPU before 5.13, which had one.
    #[test]
    fn pressures() {
        let both = "some avg10=0.07 avg60=10.52 avg300=9.18 total=915769023\n\
                    full avg10=0.06 avg60=9.07 avg300=7.74 total=395151642\n";
        assert_eq!(pressure(both, "some"), Some(915_769_023));
        assert_eq!(pressure(both, "full"), Some(395_151_642));
        assert_eq!(pressure("some avg10=0.00 total=3\n", "full"), None);
    }
}
