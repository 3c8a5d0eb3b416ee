//! The integration tests' second try.
//!
//! They compare what Observer sees with what the kernel counts, on machines
//! that may be somebody else's guests: once in some hundred tests the host
//! takes the CPU away in the wrong moment. Such a test is run once more, by
//! itself, and named at the end. One that fails again has failed, and so have
//! all if there are more than a few.

use std::io::{BufRead, BufReader, Write, pipe};
use std::process::Command;

use anyhow::{Context, bail};

use crate::cargo;

/// More than so many that fail at first are no accident.
const MOST: usize = 3;

/// A test that failed.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    /// Its file, as cargo's `--test` calls it.
    file: String,
    /// Its path within the file.
    name: String,
}

/// Runs `tests` (`cargo test`, with `--no-fail-fast`), then once more what
/// failed, by commands that `again` makes for a file.
///
/// # Errors
/// When a test fails twice, too many fail, or it isn't tests that fail.
pub fn run(tests: &mut Command, again: impl Fn(&str) -> Command) -> anyhow::Result<()> {
    let (failures, result) = watch(tests)?;
    let Err(error) = result else { return Ok(()) };
    if failures.is_empty() || failures.len() > MOST {
        return Err(error);
    }
    for Failure { file, name } in &failures {
        eprintln!("\n{file} {name} failed: its second try");
        let mut command = again(file);
        cargo::run(command.args(["--test-threads=1", "--exact", name]))
            .with_context(|| format!("{file} {name} failed twice"))?;
    }
    for Failure { file, name } in &failures {
        eprintln!("passed at the second try only: {file} {name}");
    }
    Ok(())
}

/// Runs a command, hands on what it prints and looks for failed tests in it.
fn watch(command: &mut Command) -> anyhow::Result<(Vec<Failure>, anyhow::Result<()>)> {
    let (output, end) = pipe()?;
    command.stdout(end.try_clone()?).stderr(end);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    // Or the pipe would never end.
    command.stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    let mut reading = Reading::default();
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? != 0 {
        std::io::stdout().write_all(&line)?;
        reading.line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    let status = child.wait()?;
    let result = if status.success() {
        Ok(())
    } else {
        Err(anyhow::anyhow!(
            "{command:?} failed ({status}); its messages are above"
        ))
    };
    if reading.other {
        bail!("{command:?}: not only integration tests failed; its messages are above");
    }
    Ok((reading.failures, result))
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    /// The file whose tests run; `None` for unit tests.
    file: Option<String>,
    failures: Vec<Failure>,
    /// In libtest's list of what failed.
    listed: bool,
    /// Something failed that has no second try.
    other: bool,
}

impl Reading {
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // cargo: `Running tests/tcp.rs (target/debug/deps/tcp-16cd71a7)`.
            ["Running", path, ..] if path.ends_with(".rs") => {
                let path = path.strip_prefix("tests/").unwrap_or_default();
                let file = path.split(['/', '.']).next().unwrap_or_default();
                self.file = (!file.is_empty()).then(|| file.to_owned());
            }
            ["Running", ..] | ["Doc-tests", ..] => self.file = None,
            // libtest, twice: what they printed, and then their names alone.
            // (`test NAME ... FAILED` may have a child's output in it.)
            ["failures:"] => self.listed = true,
            ["test", "result:", ..] => self.listed = false,
            [name] if self.listed && line.starts_with("    ") => match &self.file {
                Some(file) => self.failures.push(Failure {
                    file: file.clone(),
                    name: name.to_owned(),
                }),
                None => self.other = true,
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that failures are found, each with its file, and that unit tests
    /// get no second try.
    #[test]
    fn failures() {
        let mut reading = Reading::default();
        for line in [
            "     Running tests/tcp.rs (target/debug/deps/tcp-16cd71a7e9fba576)",
            "test refused ... FAILED",
            "test resets ... ok",
            "failures:",
            "---- refused stdout ----",
            "Error: lost",
            "   0: anyhow::error",
            "failures:",
            "    refused",
            "",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored",
            "     Running tests/unwind/main.rs (target/debug/deps/unwind-faf97868214ebb6c)",
            "test servers::nginx ... what a child says",
            "FAILED",
            "failures:",
            "    servers::nginx",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored",
        ] {
            reading.line(line);
        }
        let failure = |file: &str, name: &str| Failure {
            file: file.into(),
            name: name.into(),
        };
        let expected = [
            failure("tcp", "refused"),
            failure("unwind", "servers::nginx"),
        ];
        assert_eq!(reading.failures, expected);
        assert!(!reading.other);
        reading.line("     Running unittests src/lib.rs (target/debug/deps/observer_tests-1)");
        reading.line("failures:");
        reading.line("    stats");
        assert!(reading.other);
    }

    /// Checks that a command's output is read to its end, and its result told.
    #[test]
    fn watches() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo ' Running tests/a.rs (b)' >&2; printf 'failures:\n    x\n'; exit 101",
        ]);
        let (failures, result) = watch(&mut command).expect("sh runs");
        assert_eq!(failures.len(), 1);
        assert!(result.is_err());
    }
}
