//! What a run on some kernels said, for people: a line each at once, and a table of
//! the last runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::expectations::{KERNEL, LOSSES, PROGRAMS, Verdict, judge, part};
use super::findings::Findings;
use super::kernels::Series;

/// What was found on a kernel, as it is kept for the table.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The kernel's version.
    version: String,
    findings: Findings,
}

impl Kept {
    /// Of a kernel.
    pub fn new(version: &str, findings: Findings) -> Self {
        Self {
            version: version.to_owned(),
            findings,
        }
    }

    /// Writes it.
    pub fn write(&self, folder: &Path, series: Series) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{series}.json"));
        fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// What is told of a kernel in the table.
#[derive(Debug, Default)]
struct Column {
    /// Its version.
    version: String,
    /// By row.
    cells: BTreeMap<String, Cell>,
}

/// How it stands with one row.
#[derive(Debug, Default)]
struct Cell {
    /// Figures that agree, of all; `None` where nothing was compared.
    holds: Option<(usize, usize)>,
    /// What isn't as it should be, and why.
    notes: Vec<String>,
    is_wrong: bool,
}

impl Column {
    /// Of a kernel's findings and how they are judged.
    fn new(kept: &Kept, verdict: &Verdict) -> Self {
        let findings = &kept.findings;
        let mut cells: BTreeMap<String, Cell> = BTreeMap::new();
        for row in [PROGRAMS, LOSSES, KERNEL] {
            cells.insert(row.to_owned(), Cell::default());
        }
        for figure in &findings.figures {
            let cell = cells.entry(part(&figure.name).to_owned()).or_default();
            let (holds, all) = cell.holds.unwrap_or_default();
            cell.holds = Some((holds + usize::from(figure.holds), all + 1));
        }
        for note in &verdict.expected {
            let cell = cells.entry(note.row.clone()).or_default();
            cell.notes.push(note.why.to_owned());
        }
        for (row, _) in &verdict.failures {
            cells.entry(row.clone()).or_default().is_wrong = true;
        }
        Self {
            version: kept.version.clone(),
            cells,
        }
    }
}

/// The table of the last runs of all kernels, in Markdown.
///
/// # Errors
/// When nothing ran yet.
pub fn markdown(folder: &Path) -> Result<String> {
    let mut columns = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let Some(series) = Series::parse(&name) else {
            continue;
        };
        let kept: Kept = serde_json::from_slice(&fs::read(&path)?)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let verdict = judge(series, &kept.findings);
        columns.insert(series, Column::new(&kept, &verdict));
    }
    ensure!(
        !columns.is_empty(),
        "no results yet; `cargo xtask vm` makes them"
    );
    Ok(table(&columns))
}

fn table(columns: &BTreeMap<Series, Column>) -> String {
    let fixed = [PROGRAMS, LOSSES, KERNEL];
    let parts: BTreeSet<&str> = columns
        .values()
        .flat_map(|column| column.cells.keys().map(String::as_str))
        .filter(|row| !fixed.contains(row))
        .collect();
    let rows = [PROGRAMS].into_iter().chain(parts).chain([LOSSES, KERNEL]);
    let mut reasons: Vec<&str> = Vec::new();
    let mut text = String::from("| |");
    for column in columns.values() {
        text += &format!(" {} |", column.version);
    }
    text += &format!("\n|---|{}\n", "---|".repeat(columns.len()));
    for row in rows {
        text += &format!("| {row} |");
        for column in columns.values() {
            let cell = column.cells.get(row);
            text += &format!(
                " {} |",
                cell.map_or_else(String::new, |c| c.text(&mut reasons))
            );
        }
        text.push('\n');
    }
    for (index, reason) in reasons.iter().enumerate() {
        text += &format!("\n{}. {reason}", index + 1);
    }
    if !reasons.is_empty() {
        text.push('\n');
    }
    text
}

impl Cell {
    /// A mark, how many figures agree if not all do, and the numbers of reasons.
    fn text<'a>(&'a self, reasons: &mut Vec<&'a str>) -> String {
        let all_hold = self.holds.is_none_or(|(holds, all)| holds == all);
        let mark = match (self.is_wrong || !all_hold, self.notes.is_empty()) {
            (true, _) => "✗",
            (false, false) => "less",
            (false, true) => "✓",
        };
        let mut text = mark.to_owned();
        if let Some((holds, all)) = self.holds.filter(|_| !all_hold) {
            text += &format!(" {holds} of {all}");
        }
        for note in &self.notes {
            let known = reasons.iter().position(|reason| reason == note);
            let index = known.unwrap_or_else(|| {
                reasons.push(note);
                reasons.len() - 1
            });
            text += &format!(" ({})", index + 1);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(holds: (usize, usize), notes: &[&str], is_wrong: bool) -> Cell {
        Cell {
            holds: Some(holds),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
            is_wrong,
        }
    }

    /// Checks marks, the numbers of reasons that several kernels share, and the order
    /// of kernels: by version and not by text.
    #[test]
    fn tables() {
        let column = |version: &str, cells: [Cell; 2]| {
            let [programs, block] = cells;
            let cells = [(PROGRAMS, programs), ("block", block)];
            Column {
                version: version.to_owned(),
                cells: cells.map(|(row, cell)| (row.to_owned(), cell)).into(),
            }
        };
        let none = || Cell::default();
        let less = || Cell {
            notes: vec!["no hook".to_owned()],
            ..Cell::default()
        };
        let columns = BTreeMap::from([
            (
                Series(6, 12),
                column("6.12.1", [less(), cell((2, 2), &[], false)]),
            ),
            (
                Series(6, 1),
                column("6.1.9", [less(), cell((1, 2), &["fault"], true)]),
            ),
            (
                Series(7, 3),
                column("7.3.4", [none(), cell((2, 2), &[], false)]),
            ),
        ]);
        let text = table(&columns);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "| | 6.1.9 | 6.12.1 | 7.3.4 |");
        assert_eq!(lines[2], "| programs | less (1) | less (1) | ✓ |");
        assert_eq!(lines[3], "| block | ✗ 1 of 2 (2) | ✓ | ✓ |");
        assert!(text.ends_with("\n1. no hook\n2. fault\n"), "{text}");
    }
}
