//! `observer check`: what this kernel takes of all that would be loaded.

use std::process::Command;

use anyhow::{Context, Result};
use observer_testkit::observer_bin;
use serde_json::Value;

use crate::figures::Figures;

/// Sets of options that change which programs are loaded, or what of them is dead
/// code to the verifier. With the first, the programs of `record` and `trace` are
/// tried, too; with the last two, programs are as recordings have them.
const SETS: &[&str] = &[
    "",
    "--requests-by-descriptor true",
    "--probes requests,tcp --requests-by-descriptor true",
    "--kernel-debug=true",
    "--probes cpu,offcpu",
];

/// Tries all sets.
pub fn every_set(figures: &mut Figures) -> Result<()> {
    SETS.iter().try_for_each(|set| try_set(figures, set))
}

/// Tries what `observer run` loads without options.
pub fn default_set(figures: &mut Figures) -> Result<()> {
    try_set(figures, "")
}

fn try_set(figures: &mut Figures, set: &str) -> Result<()> {
    let mut command = Command::new(observer_bin());
    command
        .args(["check", "--json"])
        .args(set.split_whitespace());
    let output = command.output().context("cannot start observer")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("check {set}: {}: {said}", output.status))?;
    let items = report["items"].as_array().context("a list of items")?;
    let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let mut programs = 0;
    for item in items {
        let (group, name) = (text(item, "group"), text(item, "name"));
        let is_program = group.starts_with("probes");
        programs += u32::from(is_program);
        if text(item, "status") == "ok" {
            continue;
        }
        let name = match name.split_once(": ") {
            Some((_, program)) if is_program => program.to_owned(),
            _ => format!("{group}: {name}"),
        };
        figures.missing(set, &name, &text(item, "lost"));
    }
    let name = format!("check: programs tried {set}");
    // An empty report would miss nothing.
    figures.add(
        name.trim_end(),
        programs > 10,
        format!("{programs} programs tried"),
        "more than 10".to_owned(),
    );
    Ok(())
}
