//! What was found: a list that people and programs can read.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::logging::colours_wanted;

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is there.
    Ok,
    /// It couldn't be found out; something else that is missing stands in the way.
    Unknown,
    /// It isn't there, and something is lost.
    Degraded,
    /// It isn't there, and Observer can't run without it.
    Missing,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        }
    }

    /// ANSI colour of the word.
    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Unknown => "2",
            Self::Degraded => "33",
            Self::Missing => "1;31",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// What kind of thing: `capability`, `sysctl`, …
    pub group: &'static str,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// What was found; may be empty.
    pub detail: String,
    /// What is lost without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// How to get it: one command, or what to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Of a program that can't be attached: the kind of reason, like `no_field`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
}

impl Item {
    /// It is there.
    pub fn ok(group: &'static str, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            group,
            name: name.into(),
            status: Status::Ok,
            detail: detail.into(),
            lost: None,
            remedy: None,
            kind: None,
        }
    }

    /// The same item in a worse state, with what that costs and what mends it.
    pub fn worse(self, status: Status, lost: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status,
            lost: Some(lost.into()),
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

/// All that was found, in the order in which it was looked at.
#[derive(Debug, Default)]
pub struct Report {
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Json<'a> {
    status: Status,
    exit_code: u8,
    items: &'a [Item],
}

impl Report {
    /// Nothing looked at yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one thing.
    pub fn add(&mut self, item: Item) {
        self.items.push(item);
    }

    /// What the worst item means for Observer as a whole.
    pub fn status(&self) -> Status {
        let worst = self.items.iter().map(|item| item.status).max();
        match worst.unwrap_or(Status::Ok) {
            // What couldn't be found out can't be promised.
            Status::Unknown => Status::Degraded,
            other => other,
        }
    }

    /// 0 everything is there, 1 something is degraded, 2 it can't run.
    pub fn exit_code(&self) -> u8 {
        match self.status() {
            Status::Ok => 0,
            Status::Unknown | Status::Degraded => 1,
            Status::Missing => 2,
        }
    }

    /// Prints one JSON object; a closed pipe is nobody's mistake.
    pub fn print_json(&self) {
        let json = Json {
            status: self.status(),
            exit_code: self.exit_code(),
            items: &self.items,
        };
        if let Ok(text) = serde_json::to_string_pretty(&json) {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// Prints a table, with colours on a terminal.
    pub fn print_text(&self) {
        let colours = std::io::stdout().is_terminal() && colours_wanted();
        let _ = std::io::stdout().write_all(self.text(colours).as_bytes());
    }

    fn text(&self, colours: bool) -> String {
        let paint = |text: &str, colour: &str| {
            if colours {
                format!("\x1b[{colour}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        };
        let width = self
            .items
            .iter()
            .map(|item| item.name.chars().count())
            .max()
            .unwrap_or(0);
        let mut out = String::new();
        let mut group = "";
        for item in &self.items {
            if item.group != group {
                if !group.is_empty() {
                    out.push('\n');
                }
                group = item.group;
                let _ = writeln!(out, "{}", paint(group, "1"));
            }
            let word = paint(&format!("{:8}", item.status.word()), item.status.colour());
            let line = format!("  {word}  {:width$}  {}", item.name, item.detail);
            let _ = writeln!(out, "{}", line.trim_end());
            // What stands in the way is an item of its own, and says what mends it.
            if item.status == Status::Unknown {
                continue;
            }
            let indent = " ".repeat(12);
            for (label, text) in [("lost", &item.lost), ("mend", &item.remedy)] {
                if let Some(text) = text {
                    let _ = writeln!(out, "{indent}{}  {text}", paint(label, "2"));
                }
            }
        }
        let _ = writeln!(out, "\n{}", self.verdict());
        out
    }

    fn verdict(&self) -> String {
        let count = |status| self.items.iter().filter(|i| i.status == status).count();
        match self.status() {
            Status::Ok => "Everything that Observer needs is there.".to_owned(),
            Status::Missing => format!(
                "Observer can't run here: {} missing, {} degraded.",
                count(Status::Missing),
                count(Status::Degraded)
            ),
            _ => format!(
                "Observer runs, with less to see: {} degraded, {} unknown.",
                count(Status::Degraded),
                count(Status::Unknown)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(statuses: &[Status]) -> Report {
        let mut report = Report::new();
        for status in statuses {
            let item = Item::ok("things", "thing", "detail");
            report.add(match status {
                Status::Ok => item,
                worse => item.worse(*worse, "this", "do that"),
            });
        }
        report
    }

    /// Checks that the worst item decides the exit status.
    #[test]
    fn the_worst_decides() {
        use Status::{Degraded, Missing, Ok, Unknown};
        assert_eq!(report(&[]).exit_code(), 0);
        assert_eq!(report(&[Ok, Ok]).exit_code(), 0);
        assert_eq!(report(&[Ok, Unknown]).exit_code(), 1);
        assert_eq!(report(&[Degraded, Ok]).exit_code(), 1);
        assert_eq!(report(&[Degraded, Missing, Ok]).exit_code(), 2);
    }

    /// Checks that text has what is lost and how to mend it, and colours only
    /// when asked for.
    #[test]
    fn text_says_what_is_lost() {
        let report = report(&[Status::Ok, Status::Degraded]);
        let plain = report.text(false);
        assert!(
            plain.contains("lost  this") && plain.contains("mend  do that"),
            "{plain}"
        );
        assert!(!plain.contains('\x1b'));
        assert!(report.text(true).contains("\x1b[33mdegraded"));
    }
}
