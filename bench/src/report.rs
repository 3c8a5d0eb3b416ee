//! What a benchmark found, as text, Markdown and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// One benchmark's result.
pub struct Section {
    /// The word by which it is chosen on the command line.
    pub name: &'static str,
    /// A title for people.
    pub title: String,
    /// What was done, in a paragraph.
    pub method: String,
    /// The columns' heads; the first column names the row.
    pub columns: Vec<&'static str>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
    /// Measured against what was promised.
    pub targets: Vec<Target>,
    /// What the reader must know besides, e.g. which peer can't run and why.
    pub notes: Vec<String>,
    /// The same in numbers.
    pub data: Value,
}

/// Something promised.
pub struct Target {
    /// What was measured.
    pub what: String,
    /// The figure.
    pub measured: f64,
    /// The most that it may be.
    pub limit: f64,
    /// Of both.
    pub unit: &'static str,
}

impl Target {
    fn verdict(&self) -> &'static str {
        if self.measured <= self.limit {
            "met"
        } else {
            "MISSED"
        }
    }

    fn text(&self) -> String {
        format!(
            "{}: {:.2}{} (at most {}{}): {}",
            self.what,
            self.measured,
            self.unit,
            self.limit,
            self.unit,
            self.verdict()
        )
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "measured": self.measured,
            "limit": self.limit,
            "unit": self.unit.trim(),
            "met": self.measured <= self.limit,
        })
    }
}

/// The head: what was measured on.
pub type Head = Vec<(&'static str, String)>;

/// For the terminal.
pub fn text(section: &Section) -> String {
    let mut out = format!("\n{}: {}\n", section.name, section.title);
    table(&mut out, section, "  ", "  ", false);
    for target in &section.targets {
        let _ = writeln!(out, "  {}", target.text());
    }
    for note in &section.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    out
}

/// The head for the terminal.
pub fn head_text(head: &Head) -> String {
    let width = head.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    head.iter().fold(String::new(), |mut out, (key, value)| {
        let _ = writeln!(out, "{key:<width$}  {value}");
        out
    })
}

/// The page `docs/benchmarks.md`.
pub fn markdown(head: &Head, sections: &[Section]) -> String {
    let mut out = String::from(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench --markdown docs/benchmarks.md`; don't edit. Whoever runs it gets \
         a page of their own machine. Nanoseconds don't travel between machines, ratios taken in one run do.\n\n\
         | | |\n|---|---|\n",
    );
    for (key, value) in head {
        let _ = writeln!(out, "| {key} | {} |", value.replace('|', "\\|"));
    }
    for section in sections {
        let _ = write!(
            out,
            "\n## {}: {}\n\n{}\n\n",
            section.name, section.title, section.method
        );
        table(&mut out, section, "| ", " | ", true);
        if !section.targets.is_empty() {
            out.push('\n');
        }
        for target in &section.targets {
            let _ = writeln!(out, "- {}", target.text());
        }
        if !section.notes.is_empty() {
            out.push('\n');
        }
        for note in &section.notes {
            let _ = writeln!(out, "- Note: {note}");
        }
    }
    out
}

/// Everything in numbers.
pub fn json(head: &Head, sections: &[Section]) -> Value {
    let head: serde_json::Map<String, Value> = head
        .iter()
        .map(|(key, value)| ((*key).to_string(), Value::from(value.as_str())))
        .collect();
    let sections: serde_json::Map<String, Value> = sections
        .iter()
        .map(|section| {
            let targets: Vec<Value> = section.targets.iter().map(Target::json).collect();
            let value = json!({
                "title": section.title,
                "results": section.data,
                "targets": targets,
                "notes": section.notes,
            });
            (section.name.to_string(), value)
        })
        .collect();
    json!({"machine": head, "benchmarks": sections})
}

/// Cells padded to their columns; figures to the right.
fn table(out: &mut String, section: &Section, open: &str, between: &str, rule: bool) {
    let head = section.columns.iter().map(ToString::to_string).collect();
    let rows: Vec<&Vec<String>> = std::iter::once(&head).chain(&section.rows).collect();
    let width = |column: usize| {
        let lengths = rows.iter().filter_map(|row| row.get(column));
        lengths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let close = if rule { " |" } else { "" };
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| match column {
                0 => format!("{cell:<0$}", width(0)),
                _ => format!("{cell:>0$}", width(column)),
            })
            .collect();
        let _ = writeln!(out, "{open}{}{close}", cells.join(between));
        if rule && index == 0 {
            let rules = (0..head.len()).map(|column| if column == 0 { "---" } else { "---:" });
            let _ = writeln!(out, "|{}|", rules.collect::<Vec<_>>().join("|"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> Section {
        Section {
            name: "syscalls",
            title: "a loop".into(),
            method: "Calls.".into(),
            columns: vec!["tool", "ns"],
            rows: vec![vec!["nothing".into(), "85".into()]],
            targets: vec![Target {
                what: "ratio".into(),
                measured: 3.0,
                limit: 2.5,
                unit: "",
            }],
            notes: vec!["no strace".into()],
            data: json!({"nothing": 85}),
        }
    }

    /// Checks that a missed target says so in every form, and that the table is
    /// Markdown's.
    #[test]
    fn a_missed_target_is_said() {
        let head = vec![("kernel", "6.1".to_string())];
        assert!(text(&section()).contains("ratio: 3.00 (at most 2.5): MISSED"));
        let page = markdown(&head, &[section()]);
        assert!(
            page.contains("| tool    | ns |\n|---|---:|\n| nothing | 85 |\n"),
            "{page}"
        );
        assert!(page.contains("| kernel | 6.1 |"));
        let json = json(&head, &[section()]);
        assert_eq!(json["benchmarks"]["syscalls"]["targets"][0]["met"], false);
        assert_eq!(json["machine"]["kernel"], "6.1");
    }
}
