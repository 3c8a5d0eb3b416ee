//! What a guest found: read from what it left behind.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::guest::Share;

/// What `observer-guest` wrote.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Figures beside what is known.
    pub figures: Vec<Figure>,
    /// What was lost, by place and cause.
    pub losses: BTreeMap<String, u64>,
    /// What isn't there.
    pub missing: Vec<Missing>,
    /// Lines of the kernel's log that none should have, and what it is tainted by.
    #[serde(default)]
    pub complaints: Vec<String>,
}

/// A figure.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figure {
    /// `PART: WHAT`.
    pub name: String,
    /// What was found.
    pub found: String,
    /// What is known.
    pub known: String,
    /// Whether they agree.
    pub holds: bool,
}

/// A program, or something that Observer needs, that isn't there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Missing {
    /// The options with which it was tried.
    pub options: String,
    /// The program.
    pub name: String,
    /// Why it isn't there.
    pub reason: String,
}

/// What the kernel says only when something is wrong with it.
const COMPLAINTS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "Oops",
    "Call Trace",
    "stall",
    "lockup",
    "hung_task",
    "blocked for more than",
    "general protection",
    "refcount_t",
];

impl Findings {
    /// Reads them.
    ///
    /// # Errors
    /// When the guest left less than it should.
    pub fn read(share: &Share) -> Result<Self> {
        let report = share.result("report.json").context("no report came")?;
        let mut findings: Self = serde_json::from_str(&report).context("the guest's report")?;
        let log = share
            .result("dmesg.txt")
            .context("no log of the kernel came")?;
        let tainted = share
            .result("tainted.txt")
            .context("no word of taint came")?;
        findings.complaints = complaints(&log, &tainted);
        Ok(findings)
    }
}

/// Lines of the kernel's log that tell of a fault in it, and its taint.
fn complaints(log: &str, tainted: &str) -> Vec<String> {
    let is_bad = |line: &&str| COMPLAINTS.iter().any(|word| line.contains(word));
    let mut found: Vec<String> = log.lines().filter(is_bad).map(str::to_owned).collect();
    if tainted.trim() != "0" {
        found.push(format!("the kernel is tainted: {}", tainted.trim()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that what a guest writes is read, and that a report with something else
    /// in it isn't taken for an empty one.
    #[test]
    fn reports_are_read() {
        let text = r#"{"release": "6.1", "figures": [{"name": "block: reads", "found": "1",
            "known": "2", "holds": false}], "losses": {"run: x": 3},
            "missing": [{"options": "", "name": "block_done", "reason": "no hook"}]}"#;
        let findings: Findings = serde_json::from_str(text).expect("a report");
        assert!(!findings.figures[0].holds);
        assert_eq!(findings.losses["run: x"], 3);
        assert_eq!(findings.missing[0].name, "block_done");
        assert!(serde_json::from_str::<Findings>("{}").is_err());
    }

    /// Checks which lines of a log are complaints, and that a tainted kernel is one.
    #[test]
    fn complaints_are_found() {
        let log = "[    0.1] Linux version 6.1\n[    9.0] WARNING: CPU: 1 PID: 7 at x.c:1\n\
                   [    9.1] Call Trace:\n[   10.0] rcu: INFO: rcu_sched self-detected stall\n";
        assert_eq!(complaints(log, "0\n").len(), 3);
        assert!(complaints("[ 0.1] fine\n", "0\n").is_empty());
        assert_eq!(complaints("", "512\n"), ["the kernel is tainted: 512"]);
    }
}
