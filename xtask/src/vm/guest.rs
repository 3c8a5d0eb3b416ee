//! What a guest is given, and what it leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::run;

/// Programs of ours that a guest may run, as cargo built them.
pub const PROGRAMS: &[&str] = &[
    "observer",
    "observer-guest",
    "observer-load",
    "observer-peer",
    "observer-server",
    "observer-workload",
];

/// Where a guest sees the share.
pub const IN_GUEST: &str = "/mnt";

/// The folder that a guest can write to.
#[derive(Debug)]
pub struct Share {
    folder: PathBuf,
}

impl Share {
    /// Makes it anew, with a script.
    pub fn with_script(folder: &Path, script: &str) -> Result<Self> {
        let _ = fs::remove_dir_all(folder);
        for part in ["bin", "results"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        fs::write(folder.join("run.sh"), script)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Makes it anew, with our programs from `built`, which `strip` makes smaller, and a
    /// script that runs `command`.
    pub fn new(folder: &Path, built: &Path, strip: &str, command: &[String]) -> Result<Self> {
        let share = Self::with_script(folder, &script(command))?;
        for program in PROGRAMS {
            let (from, to) = (built.join(program), folder.join("bin").join(program));
            // Whoever looks for names in them finds them sooner.
            let mut strip = Command::new(strip);
            run(strip.arg("--strip-debug").arg("-o").arg(&to).arg(&from))?;
        }
        Ok(share)
    }

    /// Has the host's `observer-guest` put there what its loads need, with programs that
    /// `compiler` makes.
    pub fn prepare(&self, guest: &Path, compiler: &str) -> Result<()> {
        let mut prepare = Command::new(guest);
        prepare.env("CC", compiler);
        run(prepare.arg("prepare").arg(self.folder.join("bin")))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file that the guest left; `None` if it didn't.
    pub fn result(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join("results").join(name)).ok()
    }

    /// The status of what the guest ran; `None` if it never came to its end.
    pub fn status(&self) -> Option<i32> {
        self.result("status.txt")?.trim().parse().ok()
    }
}

/// What the guest's shell is told.
fn script(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    format!(
        "export PATH={IN_GUEST}/bin:{} HOME=/tmp LC_ALL=C\n\
         export OBSERVER_BIN={IN_GUEST}/bin/observer\n\
         cd /tmp\n\
         {}\n",
        super::PATH,
        words.join(" ")
    )
}

/// A word as the shell reads it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a shell hands on the words as they were.
    #[test]
    fn words_stay_as_they_are() {
        let words = ["printf", "%s|", "it's", "a  b", "$HOME", "*", ""];
        let words = words.map(str::to_owned);
        let script = script(&words);
        let output = Command::new("sh").args(["-c", &script]).output();
        let said = String::from_utf8(output.expect("sh runs").stdout).expect("UTF-8");
        assert_eq!(said, "it's|a  b|$HOME|*||");
    }
}
