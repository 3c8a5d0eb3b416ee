//! What was found, beside what is known.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

/// All that a guest found out.
#[derive(Debug, Default)]
pub struct Figures {
    /// Figures: name, what was found, what is known, whether they agree.
    figures: Vec<Value>,
    /// What was lost, by where it was said.
    losses: BTreeMap<String, u64>,
    /// What isn't there, by the options with which it was tried.
    missing: Vec<Value>,
    /// What daemons said, by the name of a file.
    logs: BTreeMap<String, String>,
}

impl Figures {
    /// Runs a part; one that fails is a figure that is wrong.
    pub fn part(&mut self, name: &str, part: impl FnOnce(&mut Self) -> Result<()>) {
        let begin = Instant::now();
        if let Err(error) = part(self) {
            self.add(name, false, format!("{error:#}"), "no error".to_owned());
        }
        println!("{name}: {:.0} s", begin.elapsed().as_secs_f64());
    }

    /// Says how far it is, for whoever reads the console.
    pub fn at(&self, what: &str) {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds = uptime.split('.').next().unwrap_or_default();
        println!("[{seconds} s] {what}");
    }

    /// A figure that must be this.
    pub fn equal<T: PartialEq + Display>(&mut self, name: &str, found: T, known: T) {
        let holds = found == known;
        self.add(name, holds, found.to_string(), known.to_string());
    }

    /// A count that must be this, but for as many as were `told` to be lost: a loss that
    /// nobody is told of is wrong.
    pub fn but_for(&mut self, name: &str, found: u64, known: u64, told: u64) {
        let holds = found <= known && known - found <= told;
        let known = match told {
            0 => known.to_string(),
            _ => format!("{known}, but for {told} that are told as lost"),
        };
        self.add(name, holds, found.to_string(), known);
    }

    /// A figure that must lie between two others.
    pub fn between(&mut self, name: &str, found: f64, least: f64, most: f64) {
        let holds = (least..=most).contains(&found);
        let known = format!("{least:.3} to {most:.3}");
        self.add(name, holds, format!("{found:.3}"), known);
    }

    /// A figure, and whether it holds.
    pub fn add(&mut self, name: &str, holds: bool, found: String, known: String) {
        let mark = if holds { "ok" } else { "WRONG" };
        println!("  {mark}: {name}: {found} (known: {known})");
        self.figures.push(json!({
            "name": name, "found": found, "known": known, "holds": holds,
        }));
    }

    /// Something that isn't there, with why, when it is tried with these options.
    pub fn missing(&mut self, options: &str, name: &str, reason: &str) {
        println!("  missing with {options:?}: {name}: {reason}");
        self.missing.push(json!({
            "options": options, "name": name, "reason": reason,
        }));
    }

    /// Losses that were told, where.
    pub fn lost(&mut self, place: &str, losses: BTreeMap<String, u64>) {
        for (cause, count) in losses {
            println!("  lost in {place}: {count} × {cause}");
            self.losses.insert(format!("{place}: {cause}"), count);
        }
    }

    /// What a daemon said, to look at if something is wrong.
    pub fn log(&mut self, place: &str, text: &str) {
        self.logs.insert(format!("{place}.log"), text.to_owned());
    }

    /// What daemons said, each with the name of a file for it.
    pub fn logs(&self) -> &BTreeMap<String, String> {
        &self.logs
    }

    /// All of it but the logs.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&json!({
            "release": std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
            "figures": self.figures,
            "losses": self.losses,
            "missing": self.missing,
        }))?)
    }
}
