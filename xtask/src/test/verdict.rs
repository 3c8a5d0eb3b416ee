//! What came of a test, from how its process ended and what it printed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::processes::Ended;

/// What the kit prints when a test fails at something that is only true of a
/// test that gets its CPU time in time (`observer_testkit::in_time`). Nothing
/// else is ever tried again.
const NEEDS_CPU: &str = "needs CPU in time: ";

/// What the kit prints when a test is left out, with the reason.
const SKIPPED: &str = "skipped: ";

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It doesn't: a figure is missing or wrong, or something went wrong.
    Failed(String),
    /// It was killed at its limit.
    OutOfTime(Duration),
    /// It says that it needs CPU in time, and others had taken it away.
    TooLittleCpu,
    /// It says that it needs CPU in time, and little was taken that shows: a stroke of a
    /// millisecond at the wrong moment doesn't, as the accounts count in hundredths of a
    /// second. Once; a second time it is a failure.
    Late,
    /// It was left out, for this reason.
    Skipped(String),
}

impl Verdict {
    /// Is it a failure, whatever else?
    pub fn is_red(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::OutOfTime(_))
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passed => f.write_str("ok"),
            Self::Failed(how) => write!(f, "FAILED: {how}"),
            Self::OutOfTime(limit) => write!(f, "FAILED: killed after {} s", limit.as_secs()),
            Self::TooLittleCpu => f.write_str("too little CPU"),
            Self::Late => f.write_str("late, with little CPU taken that shows"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

/// The verdict, and whether the test says that it needs CPU in time.
pub fn of(ended: &Ended, limit: Duration) -> (Verdict, bool) {
    let Some(status) = ended.status else {
        return (Verdict::OutOfTime(limit), false);
    };
    if status.success() {
        let mut lines = ended.output.lines();
        let skipped = lines.find_map(|line| line.strip_prefix(SKIPPED));
        let verdict = skipped.map_or(Verdict::Passed, |why| Verdict::Skipped(why.to_owned()));
        return (verdict, false);
    }
    let needs_cpu = ended.output.lines().any(|line| line.starts_with(NEEDS_CPU));
    (Verdict::Failed(status.to_string()), needs_cpu)
}

/// May a test be tried again that had these verdicts, of at most `most`? Who had too
/// little CPU may, and who was late once: what is late again without being robbed is a
/// failure.
pub fn may_try_again<'a>(tries: impl Iterator<Item = &'a Verdict>, most: usize) -> bool {
    let (mut all, mut late, mut last) = (0, 0, None);
    for verdict in tries {
        all += 1;
        late += usize::from(*verdict == Verdict::Late);
        last = Some(verdict);
    }
    all < most && late < 2 && matches!(last, Some(Verdict::TooLittleCpu | Verdict::Late))
}

/// Counts of libtest's summaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `N passed`.
    pub passed: usize,
    /// `N failed`.
    pub failed: usize,
    /// `N ignored`.
    pub ignored: usize,
}

/// The sum of `test result: ok. 3 passed; 0 failed; 1 ignored; …` lines.
pub fn libtest_counts(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines() {
        let Some(rest) = line.strip_prefix("test result: ") else {
            continue;
        };
        let of = |what: &str| -> usize {
            let part = rest.split(['.', ';']).find(|part| part.ends_with(what));
            let number = part.and_then(|part| part.split_whitespace().next());
            number.and_then(|n| n.parse().ok()).unwrap_or_default()
        };
        counts.passed += of(" passed");
        counts.failed += of(" failed");
        counts.ignored += of(" ignored");
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn ended(code: Option<i32>, output: &str) -> Ended {
        Ended {
            status: code.map(|code| ExitStatus::from_raw(code << 8)),
            output: output.to_owned(),
            time: Duration::ZERO,
            left: Vec::new(),
        }
    }

    /// Checks that only the kit's own word at a line's begin makes a failure one
    /// for want of CPU, that who passed is never asked, and the other verdicts.
    #[test]
    fn verdicts() {
        let limit = Duration::from_secs(7);
        let of = |code, output: &str| of(&ended(code, output), limit);
        assert_eq!(of(Some(0), "test x ... ok\n"), (Verdict::Passed, false));
        let marked = format!("thread 'x' panicked at y:\n{NEEDS_CPU}12 samples\n");
        assert!(of(Some(101), &marked).1);
        assert_eq!(of(Some(0), &marked), (Verdict::Passed, false));
        let plain = of(Some(101), "0 × LPUSH, it says; needs CPU in time: no\n");
        assert!(plain.0.is_red() && !plain.1);
        let skipped = Verdict::Skipped("needs root".into());
        assert_eq!(of(Some(0), "\nskipped: needs root\n").0, skipped);
        assert_eq!(of(None, &marked), (Verdict::OutOfTime(limit), false));
    }

    /// Checks who is tried again: the robbed, up to a number, the late, once, and nobody
    /// else.
    #[test]
    fn tries() {
        use Verdict::{Failed, Late, Passed, TooLittleCpu};
        let may = |tries: &[Verdict]| may_try_again(tries.iter(), 4);
        assert!(may(&[Late]) && may(&[TooLittleCpu]) && may(&[TooLittleCpu, Late]));
        assert!(may(&[Late, TooLittleCpu, TooLittleCpu]));
        assert!(!may(&[Late, Late]) && !may(&[Late, TooLittleCpu, Late]));
        assert!(!may(&[TooLittleCpu, TooLittleCpu, Late, TooLittleCpu]));
        assert!(!may(&[Failed("a figure".into())]) && !may(&[Late, Passed]) && !may(&[]));
    }

    /// Checks that the kit says the words that are looked for here.
    #[test]
    fn words_of_the_kit() {
        let in_time = include_str!("../../../testkit/src/in_time.rs");
        assert!(in_time.contains(&format!("\"{NEEDS_CPU}\"")));
        for file in [
            include_str!("../../../testkit/src/root.rs"),
            include_str!("../../../testkit/src/packages.rs"),
        ] {
            assert!(file.contains(&format!("eprintln!(\"{SKIPPED}")));
        }
    }

    /// Checks that summaries are added up.
    #[test]
    fn counts() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out\n\
             x\ntest result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured\n";
        let counts = Counts {
            passed: 13,
            failed: 2,
            ignored: 1,
        };
        assert_eq!(libtest_counts(text), counts);
    }
}
