//! What came of all tests.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::taken::Taken;
use super::verdict::Verdict;

/// A test that ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Test {
    /// Its binary.
    pub binary: String,
    /// Its path in it; empty for all of the binary's.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What CPU time others had meanwhile.
    pub taken: Taken,
    /// How long it took.
    pub time: Duration,
    /// What it printed.
    pub output: String,
    /// Processes that it left behind.
    pub left: Vec<String>,
}

/// All results.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// How many hold.
    pub passed: usize,
    failed: Vec<Test>,
    skipped: Vec<Test>,
    ignored: usize,
    /// All tries of those that needed more than one.
    tries: Vec<Vec<Test>>,
    /// Those that left processes behind: their names, and the processes'.
    left: Vec<(String, Vec<String>)>,
}

impl Report {
    /// Adds a test that isn't tried again.
    pub fn add(&mut self, test: Test) {
        if !test.left.is_empty() {
            self.left.push((test.name.clone(), test.left.clone()));
        }
        match test.verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(_) | Verdict::OutOfTime(_) | Verdict::Late => self.failed.push(test),
            Verdict::Skipped(_) | Verdict::TooLittleCpu => self.skipped.push(test),
        }
    }

    /// Adds tests that libtest ignored, of which it only says how many.
    pub fn skip_unnamed(&mut self, count: usize) {
        self.ignored += count;
    }

    /// Adds a test by the last of its tries, and keeps them all.
    pub fn add_tries(&mut self, tries: Vec<Test>) {
        if let Some(last) = tries.last() {
            self.add(last.clone());
        }
        self.tries.push(tries);
    }

    /// Adds the results of another run.
    pub fn join(&mut self, other: Self) {
        self.passed += other.passed;
        self.ignored += other.ignored;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self.tries.extend(other.tries);
        self.left.extend(other.left);
    }

    /// Did nothing fail? Tests that never had enough CPU tell nothing: they
    /// are failures, unless the machine was made slow on purpose.
    pub fn is_good(&self, slow: bool) -> bool {
        let starved = |test: &Test| matches!(test.verdict, Verdict::TooLittleCpu);
        self.failed.is_empty() && (slow || !self.skipped.iter().any(starved))
    }

    /// All that isn't plain success, and the closing line.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        for (name, processes) in &self.left {
            let _ = writeln!(text, "left behind by {name}: {}", processes.join(", "));
        }
        for tries in &self.tries {
            for (n, test) in (1..).zip(tries) {
                let _ = writeln!(
                    text,
                    "\n---- {} {}, try {n} of {} ----\n{}; {}\n{}",
                    test.binary,
                    test.name,
                    tries.len(),
                    test.verdict,
                    test.taken,
                    test.output.trim_end()
                );
            }
        }
        for test in &self.failed {
            let _ = writeln!(
                text,
                "\n---- {} {} ----\n{}; {}\n{}",
                test.binary,
                test.name,
                test.verdict,
                test.taken,
                test.output.trim_end()
            );
        }
        let line = |text: &mut String, test: &Test| {
            let _ = writeln!(text, "{} {}: {}", test.binary, test.name, test.verdict);
        };
        text.push('\n');
        for tries in &self.tries {
            if let [first, .., last] = &tries[..]
                && last.verdict == Verdict::Passed
            {
                let _ = writeln!(
                    text,
                    "{} {}: passed at try {} only; at the first, {}",
                    first.binary,
                    first.name,
                    tries.len(),
                    first.taken
                );
            }
        }
        for test in self.skipped.iter().chain(&self.failed) {
            line(&mut text, test);
        }
        let _ = write!(
            text,
            "\n{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len() + self.ignored
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, verdict: Verdict) -> Test {
        Test {
            binary: "cpu".into(),
            name: name.into(),
            verdict,
            taken: Taken::default(),
            time: Duration::from_secs(1),
            output: format!("output of {name}\n"),
            left: Vec::new(),
        }
    }

    /// Checks that further tries are shown with all outputs, that what failed is
    /// red, and that too little CPU is, too, unless it was taken on purpose.
    #[test]
    fn texts() {
        let mut report = Report::default();
        report.add(test("fine", Verdict::Passed));
        report.add_tries(vec![
            test("late", Verdict::TooLittleCpu),
            test("late", Verdict::Passed),
        ]);
        report.add(test("left out", Verdict::Skipped("needs it".into())));
        assert!(report.is_good(false));
        let text = report.text();
        assert_eq!(text.matches("output of late").count(), 2, "{text}");
        assert!(text.contains("cpu late: passed at try 2 only"));
        assert!(text.contains("cpu left out: skipped: needs it"));
        assert!(text.ends_with("\n2 passed, 0 failed, 1 skipped"), "{text}");

        let mut late = Report::default();
        late.add_tries(vec![
            test("late", Verdict::Late),
            test("late", Verdict::Passed),
        ]);
        assert!(late.is_good(false) && late.text().contains("cpu late: passed at try 2 only"));
        late.add_tries(vec![test("slow", Verdict::Late); 2]);
        assert!(!late.is_good(true), "late twice is a failure");

        report.add_tries(vec![test("starved", Verdict::TooLittleCpu); 3]);
        assert!(!report.is_good(false) && report.is_good(true));
        assert_eq!(report.text().matches("output of starved").count(), 3);
        let mut red = test("red", Verdict::Failed("exit status: 101".into()));
        red.left.push("sleep (7)".into());
        let mut more = Report::default();
        more.add(red);
        report.join(more);
        assert!(!report.is_good(true));
        let text = report.text();
        assert!(text.contains("output of red"), "{text}");
        assert!(text.contains("left behind by red: sleep (7)"), "{text}");
        assert!(text.ends_with("\n2 passed, 1 failed, 2 skipped"), "{text}");
    }
}
