//! What `docs/architecture.md` says of who may use whom.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

/// The words between backticks, without the slash of a folder.
fn names(text: &str) -> Vec<String> {
    let parts = text.split('`').skip(1).step_by(2);
    parts
        .map(|name| name.trim_end_matches('/').to_owned())
        .collect()
}

/// A table's rows, each as its cells; without the rule under the head.
fn rows<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Vec<&'a str>> {
    lines
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .filter(|line| !line.starts_with("|---"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The floors of a crate from the top down: the first column of the table under
/// the heading that begins with the crate's name.
pub fn floors(page: &str, krate: &str) -> Result<Vec<BTreeSet<String>>> {
    let heading = format!("### `{krate}`");
    let mut lines = page.lines();
    lines
        .find(|line| line.starts_with(&heading))
        .with_context(|| format!("no heading {heading}"))?;
    let section = lines.take_while(|line| !line.starts_with('#'));
    let rows = rows(section);
    let (_, rows) = rows
        .split_first()
        .with_context(|| format!("{heading} has no table"))?;
    let floors = rows
        .iter()
        .map(|row| row.first().map(|cell| names(cell)).unwrap_or_default());
    Ok(floors.map(|names| names.into_iter().collect()).collect())
}

/// Which of the workspace's crates each may see: the table whose head is `crate`,
/// `sees`.
pub fn crates(page: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let table = page
        .lines()
        .skip_while(|line| !line.starts_with("| crate | sees |"));
    let rows = rows(table);
    ensure!(rows.len() > 1, "no table of crates");
    let row = |cells: &Vec<&str>| {
        let name = names(cells.first()?).pop()?;
        Some((name, names(cells.get(1)?).into_iter().collect()))
    };
    rows[1..]
        .iter()
        .map(|cells| row(cells).with_context(|| format!("{cells:?}")))
        .collect()
}
