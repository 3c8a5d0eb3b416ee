//! A line: steps of something that grows, what each cost, and the slopes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::fit::Fit;
use crate::machine;
use crate::report::{Section, Target};

/// Slopes of the lines measured so far in this run, for `growth/host`.
static MEASURED: Mutex<BTreeMap<&'static str, Fit>> = Mutex::new(BTreeMap::new());

/// A slope that was measured in this run, in the base unit of its column.
pub fn measured(slope: &str) -> Option<Fit> {
    let measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    measured.get(slope).copied()
}

/// How a number is shown: times `factor`, with so many decimals and a unit.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// From the base unit (seconds, bytes, a count) to the one that is shown.
    pub factor: f64,
    /// Behind the point.
    pub decimals: usize,
    /// What stands behind the number, with its space.
    pub name: &'static str,
}

impl Unit {
    /// Of these parts.
    pub const fn new(factor: f64, decimals: usize, name: &'static str) -> Self {
        Self {
            factor,
            decimals,
            name,
        }
    }

    /// A number in the base unit as text.
    pub fn text(&self, value: f64) -> String {
        // Rather 0 than -0.
        let value = value * self.factor + 0.0;
        format!("{value:.0$}{1}", self.decimals, self.name)
    }
}

/// A count.
pub const COUNT: Unit = Unit::new(1.0, 0, "");
/// Seconds as milliseconds.
pub const MS: Unit = Unit::new(1e3, 1, " ms");
/// Seconds as seconds.
pub const S: Unit = Unit::new(1.0, 2, " s");
/// Bytes as MB (10⁶).
pub const MB: Unit = Unit::new(1e-6, 1, " MB");
/// A share as percent.
pub const PERCENT: Unit = Unit::new(100.0, 3, " %");

/// A slope that is of interest.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    /// The name by which `growth/host` finds it.
    pub name: &'static str,
    /// How it is shown, e.g. bytes for a column of megabytes.
    pub unit: Unit,
}

/// A slope for a column, and how its figures are shown; see [`Unit::new`].
pub fn slope(
    name: &'static str,
    factor: f64,
    decimals: usize,
    unit: &'static str,
) -> Option<Slope> {
    let unit = Unit::new(factor, decimals, unit);
    Some(Slope { name, unit })
}

/// One figure of all steps.
pub struct Column {
    head: &'static str,
    unit: Unit,
    slope: Option<Slope>,
    values: Vec<f64>,
}

/// A line under measurement.
pub struct Line {
    name: &'static str,
    /// What grows: the head of the first column, in the plural.
    what: &'static str,
    /// One of it.
    one: &'static str,
    xs: Vec<f64>,
    /// The first column's texts, where they aren't just x.
    labels: Vec<String>,
    columns: Vec<Column>,
    targets: Vec<Target>,
    notes: Vec<String>,
}

impl Line {
    /// Without steps. The columns' values are given step by step, in this order
    /// and in base units.
    pub fn new(
        name: &'static str,
        what: &'static str,
        one: &'static str,
        columns: &[(&'static str, Unit, Option<Slope>)],
    ) -> Self {
        let columns = columns.iter().map(|(head, unit, slope)| Column {
            head,
            unit: *unit,
            slope: *slope,
            values: Vec::new(),
        });
        Self {
            name,
            what,
            one,
            xs: Vec::new(),
            labels: Vec::new(),
            columns: columns.collect(),
            targets: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// One more step: x and the figures of all columns.
    pub fn step(&mut self, x: f64, values: &[f64]) {
        self.labelled_step(&format!("{x:.0}"), x, values);
    }

    /// The same where x isn't what the step is called by.
    pub fn labelled_step(&mut self, label: &str, x: f64, values: &[f64]) {
        assert_eq!(values.len(), self.columns.len(), "a value for each column");
        self.xs.push(x);
        self.labels.push(label.to_owned());
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.values.push(*value);
        }
        let text: Vec<String> = self
            .columns
            .iter()
            .map(|c| {
                format!(
                    "{} {}",
                    c.head,
                    c.values.last().map_or(String::new(), |v| c.unit.text(*v))
                )
            })
            .collect();
        eprintln!("{}: {label} {}: {}", self.name, self.what, text.join(", "));
    }

    /// Promises something.
    pub fn target(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        limit: f64,
        unit: &'static str,
    ) {
        self.targets.push(Target {
            what: what.into(),
            measured,
            limit,
            unit,
        });
    }

    /// Adds a note.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Fits the slopes, remembers them, and makes the section.
    pub fn section(mut self, title: &str, method: String) -> Section {
        let fits: Vec<Option<(Slope, Fit)>> = self
            .columns
            .iter()
            .map(|column| {
                let points = self.xs.iter().copied().zip(column.values.iter().copied());
                Some((column.slope?, Fit::of(&points.collect::<Vec<_>>())?))
            })
            .collect();
        let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
        measured.extend(fits.iter().flatten().map(|(slope, fit)| (slope.name, *fit)));
        drop(measured);
        let mut rows: Vec<Vec<String>> = self
            .labels
            .iter()
            .enumerate()
            .map(|(step, label)| {
                let cells = self.columns.iter().map(|c| c.unit.text(c.values[step]));
                std::iter::once(label.clone()).chain(cells).collect()
            })
            .collect();
        let per = format!("per {}", self.one);
        let slopes = fits
            .iter()
            .map(|fit| fit.map_or("–".to_owned(), |(slope, fit)| slope.unit.text(fit.slope)));
        rows.push(std::iter::once(per).chain(slopes).collect());
        let quality: Vec<String> = self
            .columns
            .iter()
            .zip(&fits)
            .filter_map(|(column, fit)| {
                let (slope, fit) = (*fit)?;
                Some(format!(
                    "{}: {} + {} per {} (R² {:.3})",
                    column.head,
                    column.unit.text(fit.base),
                    slope.unit.text(fit.slope),
                    self.one,
                    fit.r2
                ))
            })
            .collect();
        self.notes
            .insert(0, format!("least squares: {}", quality.join("; ")));
        self.notes
            .push(format!("load average after it: {}", machine::load()));
        let data = json!({
            "steps": self.xs,
            "figures": self.columns.iter().map(|c| (c.head.to_owned(), json!(c.values))).collect::<serde_json::Map<_, _>>(),
            "slopes": fits.iter().flatten().map(|(slope, fit)| {
                (slope.name.to_owned(), json!({"slope": fit.slope, "base": fit.base, "r2": fit.r2}))
            }).collect::<serde_json::Map<_, _>>(),
        });
        let mut columns = vec![self.what];
        columns.extend(self.columns.iter().map(|column| column.head));
        Section {
            name: self.name,
            title: title.into(),
            method,
            columns,
            rows,
            targets: self.targets,
            notes: self.notes,
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a line's last row has the slopes in their own units, and that
    /// they are found by name.
    #[test]
    fn slopes_are_shown_and_kept() {
        let bytes = Slope {
            name: "test bytes",
            unit: Unit::new(1.0, 0, " B"),
        };
        let mut line = Line::new(
            "growth/test",
            "things",
            "thing",
            &[("resident", MB, Some(bytes)), ("lost", COUNT, None)],
        );
        line.step(0.0, &[1e6, 0.0]);
        line.step(1000.0, &[3e6, 5.0]);
        let section = line.section("a test", String::new());
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            section.rows,
            [
                row(["0", "1.0 MB", "0"]),
                row(["1000", "3.0 MB", "5"]),
                row(["per thing", "2000 B", "–"]),
            ]
        );
        let fit = measured("test bytes").expect("just measured");
        assert!((fit.slope - 2000.0).abs() < 1e-6 && (fit.base - 1e6).abs() < 1e-3);
    }
}
