//! A blindness in words.

use std::fmt;

use super::{Blind, Unit};

impl Blind {
    /// What is compared, in an amount: `592 disk operations of vda`.
    fn amount(&self, n: u64) -> String {
        let what = &self.what;
        match self.unit {
            Unit::Events => format!("{n} {what}"),
            Unit::Time => format!("{:.1} s of {what}", n as f64 / 1e9),
        }
    }

    /// What it saw of it.
    fn share(&self) -> String {
        match self.unit {
            _ if self.seen == 0 => "nothing".to_owned(),
            Unit::Events => format!("only {}", self.seen),
            Unit::Time => format!("only {:.1} s", self.seen as f64 / 1e9),
        }
    }
}

/// What is seen, and what there was.
impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, share, source) = (self.family, self.share(), self.source);
        let amount = self.amount(self.counted);
        write!(f, "{family} sees {share} of {amount} that {source} counts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_common::family::Family;

    /// Checks the sentences for nothing and for a part, of things and of time.
    #[test]
    fn sentences() {
        let blind = |unit, seen, counted| Blind {
            family: Family::Block,
            what: "disk operations of vda".to_owned(),
            source: "/proc/diskstats",
            unit,
            seen,
            counted,
            since: 0,
        };
        let said = blind(Unit::Events, 0, 592).to_string();
        let expected =
            "block sees nothing of 592 disk operations of vda that /proc/diskstats counts";
        assert_eq!(said, expected);
        let said = blind(Unit::Events, 12, 592).to_string();
        assert!(said.contains("sees only 12 of 592 disk"), "{said}");
        let said = blind(Unit::Time, 1_540_000_000, 9_000_000_000).to_string();
        assert!(said.contains("sees only 1.5 s of 9.0 s of disk"), "{said}");
    }
}
