//! Runs test binaries: unit tests a binary at a time, those that load the kernel
//! half each in a process of its own, and what had too little CPU again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::binaries::Binary;
use super::limits;
use super::processes::{Ended, Runner};
use super::report::{Report, Test};
use super::taken::{self, Accounts, Taken};
use super::verdict::{self, Verdict};

/// How often a test is run that had too little CPU each time before: a host that has
/// other guests takes some for minutes.
const TRIES: usize = 4;

/// Runs the tests whose name (or whose binary's) contains the filter.
pub struct Suite<'a> {
    runner: Runner,
    filter: Option<&'a str>,
    /// The machine was made slow.
    slow: bool,
    report: Report,
    /// What was late or had too little CPU at its first try.
    again: Vec<(Binary, Test)>,
}

impl<'a> Suite<'a> {
    /// Collects output in a file in `folder`.
    ///
    /// # Errors
    /// See [`Runner::new`].
    pub fn new(folder: &Path, filter: Option<&'a str>, slow: bool) -> Result<Self> {
        Ok(Self {
            runner: Runner::new(folder)?,
            filter,
            slow,
            report: Report::default(),
            again: Vec::new(),
        })
    }

    /// Runs the tests of a binary.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn run(&mut self, binary: &Binary) -> Result<()> {
        if binary.is_integration() {
            self.integration(binary)
        } else {
            let mut command = Command::new(&binary.path);
            command.current_dir(&binary.folder).args(self.filter);
            self.whole(&format!("{} {}", binary.package, binary.name), &mut command)
        }
    }

    /// Runs a command that runs many tests and says so as libtest does.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn whole(&mut self, name: &str, command: &mut Command) -> Result<()> {
        println!("\n     Running {name}");
        let ended = self.runner.run(command, limits::UNIT)?;
        print!("{}", ended.output);
        let counts = verdict::libtest_counts(&ended.output);
        self.report.passed += counts.passed;
        self.report.skip_unnamed(counts.ignored);
        if !ended.success() {
            let (verdict, _) = verdict::of(&ended, limits::UNIT);
            let verdict = match verdict {
                Verdict::OutOfTime(limit) => Verdict::OutOfTime(limit),
                _ => Verdict::Failed(format!("{} failed", counts.failed.max(1))),
            };
            self.report
                .add(test(name, "", verdict, Taken::default(), ended));
        }
        Ok(())
    }

    fn integration(&mut self, binary: &Binary) -> Result<()> {
        let names = self.list(binary)?;
        if names.is_empty() {
            return Ok(());
        }
        println!("\n     Running tests/{}", binary.name);
        for name in names {
            let test = self.one(binary, &name)?;
            println!(
                "test {} ... {} ({:.1} s)",
                test.name,
                test.verdict,
                test.time.as_secs_f64()
            );
            if test.verdict.is_red() {
                println!("{}", test.output);
            }
            if matches!(test.verdict, Verdict::TooLittleCpu | Verdict::Late) {
                self.again.push((binary.clone(), test));
            } else {
                self.report.add(test);
            }
        }
        Ok(())
    }

    /// The names of a binary's tests that are wanted.
    fn list(&self, binary: &Binary) -> Result<Vec<String>> {
        let mut command = Command::new(&binary.path);
        command.args(["--list", "--format", "terse"]);
        let ended = self.runner.run(&mut command, limits::LIST)?;
        ensure!(
            ended.success(),
            "{} lists no tests: {}",
            binary.name,
            ended.output
        );
        let names = ended.output.lines();
        let names = names.filter_map(|line| line.strip_suffix(": test"));
        let wanted = |name: &&str| {
            self.filter
                .is_none_or(|filter| name.contains(filter) || binary.name.contains(filter))
        };
        Ok(names.filter(wanted).map(str::to_owned).collect())
    }

    fn one(&self, binary: &Binary, name: &str) -> Result<Test> {
        let limit = limits::of_test(&binary.name, name, self.slow);
        let mut command = Command::new(&binary.path);
        command.current_dir(&binary.folder).args([
            "--exact",
            name,
            "--nocapture",
            "--test-threads=1",
        ]);
        let accounts = Accounts::read();
        let ended = self.runner.run(&mut command, limit)?;
        let taken = accounts.taken();
        let (verdict, needs_cpu) = verdict::of(&ended, limit);
        // Only who says that it needs CPU in time.
        let verdict = match verdict {
            Verdict::Failed(_) if needs_cpu && taken.much() => Verdict::TooLittleCpu,
            Verdict::Failed(_) if needs_cpu => Verdict::Late,
            other => other,
        };
        Ok(test(&binary.name, name, verdict, taken, ended))
    }

    /// Gives what had too little CPU its further tries, and tells of everything.
    ///
    /// # Errors
    /// When a test can't be started.
    pub fn finish(mut self) -> Result<Report> {
        for (binary, first) in std::mem::take(&mut self.again) {
            let mut tries = vec![first];
            while let Some(last) = tries.last()
                && verdict::may_try_again(tries.iter().map(|test| &test.verdict), TRIES)
            {
                // A machine that was made slow never becomes quiet.
                if !self.slow {
                    taken::wait_until_quiet();
                }
                println!("\nagain, {}: {} {}", last.verdict, last.binary, last.name);
                let test = self.one(&binary, &last.name.clone())?;
                println!("test {} ... {}", test.name, test.verdict);
                tries.push(test);
            }
            self.report.add_tries(tries);
        }
        Ok(self.report)
    }
}

fn test(binary: &str, name: &str, verdict: Verdict, taken: Taken, ended: Ended) -> Test {
    Test {
        binary: binary.to_owned(),
        name: name.to_owned(),
        verdict,
        taken,
        time: Duration::from_millis(ended.time.as_millis() as u64),
        output: ended.output,
        left: ended.left,
    }
}
