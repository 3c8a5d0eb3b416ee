//! Whether programs have become dearer to verify than the committed table says.

use std::collections::BTreeMap;

use super::{Costs, TOLERANCE, page::Recorded};

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What must not be.
    pub failures: Vec<String>,
    /// What may be said.
    pub hints: Vec<String>,
}

/// Compares what was found with what is in the tree. Which programs there are
/// is compared anywhere; their counts only on the series of kernels that the
/// table is of, since each verifier counts differently.
pub fn compare(recorded: &Recorded, found: &Costs) -> Comparison {
    let mut comparison = Comparison::default();
    let programs: BTreeMap<&str, u32> = found
        .programs
        .iter()
        .map(|program| (program.name.as_str(), program.verified))
        .collect();
    for name in programs.keys() {
        if !recorded.verified.contains_key(*name) {
            comparison
                .failures
                .push(format!("{name} is not in the table"));
        }
    }
    for name in recorded.verified.keys() {
        if !programs.contains_key(name.as_str()) {
            comparison.failures.push(format!(
                "{name} is in the table, but there is no such program"
            ));
        }
    }
    let here = found.platform.series();
    if here != recorded.series {
        comparison.hints.push(format!(
            "the table is of Linux {}, this is {here}: instructions verified are not compared",
            recorded.series
        ));
        return comparison;
    }
    for (name, before) in &recorded.verified {
        let Some(now) = programs.get(name.as_str()) else {
            continue;
        };
        let (before, now) = (u64::from(*before), u64::from(*now));
        if now * 100 > before * (100 + TOLERANCE) {
            comparison.failures.push(format!(
                "{name} takes {now} instructions to verify, {before} in the table: {}",
                change(before, now)
            ));
        } else if now * 100 < before * (100 - TOLERANCE) {
            comparison.hints.push(format!(
                "{name} takes {now} instructions to verify, {before} in the table: {}; renew the \
                 table, so that it stays so",
                change(before, now)
            ));
        }
    }
    comparison
}

/// As in `+11.0 %`.
fn change(before: u64, now: u64) -> String {
    let percent = (now as f64 / before.max(1) as f64 - 1.0) * 100.0;
    format!("{percent:+.1} %")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::{Platform, Program};

    fn found(programs: &[(&str, u32)]) -> Costs {
        let program = |(name, verified): &(&str, u32)| Program {
            name: (*name).to_owned(),
            verified: *verified,
            ..Program::default()
        };
        Costs {
            platform: Platform {
                release: "6.18.5".to_owned(),
                architecture: "x86_64".to_owned(),
                cpus: 2,
            },
            programs: programs.iter().map(program).collect(),
            ..Costs::default()
        }
    }

    fn recorded(series: &str, programs: &[(&str, u32)]) -> Recorded {
        Recorded {
            series: series.to_owned(),
            verified: programs
                .iter()
                .map(|(name, verified)| ((*name).to_owned(), *verified))
                .collect(),
        }
    }

    /// Checks that 11 % more fails and says from what to what, and that 9 % more
    /// and exactly 10 % more pass without a word.
    #[test]
    fn growth() {
        let table = recorded("6.18 x86_64", &[("a", 1000)]);
        let grown = compare(&table, &found(&[("a", 1110)]));
        assert_eq!(
            grown.failures,
            ["a takes 1110 instructions to verify, 1000 in the table: +11.0 %"]
        );
        for allowed in [1090, 1100, 1000, 910] {
            let same = compare(&table, &found(&[("a", allowed)]));
            assert_eq!(same, Comparison::default(), "{allowed}");
        }
        assert_eq!(compare(&table, &found(&[("a", 1101)])).failures.len(), 1);
    }

    /// Checks that a program that shrank passes with a hint to renew the table.
    #[test]
    fn shrinking() {
        let table = recorded("6.18 x86_64", &[("a", 1000)]);
        let shrunk = compare(&table, &found(&[("a", 500)]));
        assert!(shrunk.failures.is_empty());
        assert_eq!(shrunk.hints.len(), 1);
        assert!(shrunk.hints[0].contains("-50.0 %"), "{:?}", shrunk.hints);
    }

    /// Checks that a program that one of both doesn't know fails, on any kernel.
    #[test]
    fn other_programs() {
        for series in ["6.18 x86_64", "6.12 x86_64"] {
            let table = recorded(series, &[("old", 1000), ("same", 10)]);
            let other = compare(&table, &found(&[("new", 1000), ("same", 10)]));
            assert_eq!(
                other.failures,
                [
                    "new is not in the table",
                    "old is in the table, but there is no such program"
                ]
            );
        }
    }

    /// Checks that counts of another series of kernels aren't compared, and that
    /// both are named.
    #[test]
    fn other_kernels() {
        let table = recorded("6.12 x86_64", &[("a", 1000)]);
        let other = compare(&table, &found(&[("a", 5000)]));
        assert!(other.failures.is_empty());
        assert_eq!(
            other.hints,
            [
                "the table is of Linux 6.12 x86_64, this is 6.18 x86_64: instructions verified are \
              not compared"
            ]
        );
    }
}
