//! The page docs/costs.md: written for people, and read again to compare.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::load::LOAD;
use super::{Costs, Run, TOLERANCE};

/// What the comparison needs of the committed page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Release series and architecture of the kernel.
    pub series: String,
    /// Instructions verified, by program.
    pub verified: BTreeMap<String, u32>,
}

/// Begins the line that names the kernel.
const KERNEL: &str = "Verified by Linux ";

/// Begins the table that is compared.
const PROGRAMS: &str = "| program | family | event | verified |";

/// The page.
pub fn page(costs: &Costs) -> String {
    let mut page = format!(
        "# Costs\n\n\
         What each program of the kernel half costs, by the kernel's own statistics. Written by \
         `cargo xtask costs`; don't edit. `cargo xtask costs --check`, which CI runs, prints it anew \
         and fails when a program takes over {TOLERANCE} % more instructions to verify than here, or \
         isn't here. Times differ from run to run and are never compared.\n\n\
         {KERNEL}{} ({}), {} CPUs, with the default configuration and without cgroups v1. Verifiers \
         count differently: on another series of kernels only the names are compared.\n\n\
         ## Programs\n\n\
         *Verified*: instructions that the verifier looked at, on all ways through the program, in its \
         global functions once. *Translated* and *jited*: bytes after the verifier, and of machine \
         code. *ns*: what a run takes on average, with the measuring, and *runs* of how many, under \
         a standard load: {LOAD}.\n\n",
        costs.platform.series(),
        costs.platform.release,
        costs.platform.cpus,
    );
    if let Some(floor) = costs.floor {
        let _ = write!(
            page,
            "Of each time {:.0} ns are the measuring itself, two readings of the clock, and the call \
             of a program: so much takes one that does nothing ({} runs).\n\n",
            floor.ns, floor.count
        );
    }
    page.push_str(&programs(costs));
    page.push_str(&maps(costs));
    page
}

/// The table of programs.
pub fn programs(costs: &Costs) -> String {
    let mut table = format!(
        "{PROGRAMS} translated | jited | ns | runs |\n|---|---|---|---:|---:|---:|---:|---:|\n"
    );
    for program in &costs.programs {
        let (ns, runs) = match program.run {
            Some(Run { count, ns }) => (format!("{ns:.0}"), count.to_string()),
            None => ("–".to_owned(), "–".to_owned()),
        };
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {} | {ns} | {runs} |",
            program.name,
            program.family,
            program.event,
            program.verified,
            program.translated,
            program.jited,
        );
    }
    let sum = |of: fn(&super::Program) -> u32| -> u64 {
        costs.programs.iter().map(of).map(u64::from).sum()
    };
    let _ = writeln!(
        table,
        "| all | | | {} | {} | {} | | |",
        sum(|p| p.verified),
        sum(|p| p.translated),
        sum(|p| p.jited)
    );
    table
}

/// The section on maps.
pub fn maps(costs: &Costs) -> String {
    let mut section = String::from(
        "\n## Maps\n\n\
         As they are made at the start, with nothing in them. *Entries* of a ring buffer are its \
         bytes; *kB* (1,000 bytes) is what the kernel says it takes, for all CPUs.\n\n\
         | map | type | entries | key + value bytes | kB |\n|---|---|---:|---:|---:|\n",
    );
    for map in &costs.maps {
        let _ = writeln!(
            section,
            "| `{}` | {} | {} | {} + {} | {:.0} |",
            map.name,
            map.kind,
            map.entries,
            map.sizes.0,
            map.sizes.1,
            map.memory as f64 / 1e3,
        );
    }
    let all: u64 = costs.maps.iter().map(|map| map.memory).sum();
    let _ = writeln!(section, "| all | | | | {:.0} |", all as f64 / 1e3);
    section
}

/// Reads what is compared.
///
/// # Errors
///
/// When it isn't such a page.
pub fn parse(page: &str) -> Result<Recorded> {
    let series = page
        .lines()
        .find_map(|line| line.strip_prefix(KERNEL)?.split_once(" ("))
        .context("the page doesn't say of which kernel it is")?
        .0;
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with(PROGRAMS))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut verified = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells.get(1).copied().unwrap_or_default();
        // The last row is the sum.
        let Some(name) = name.strip_prefix('`').and_then(|n| n.strip_suffix('`')) else {
            continue;
        };
        let count = cells.get(4).and_then(|cell| cell.parse().ok());
        let count = count.with_context(|| format!("the page has no count for {name}"))?;
        verified.insert(name.to_owned(), count);
    }
    ensure!(!verified.is_empty(), "the page has no table of programs");
    Ok(Recorded {
        series: series.to_owned(),
        verified,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::{Map, Platform, Program};

    /// Checks that what is compared can be read from the page that is written,
    /// and that neither sums nor maps are taken for programs.
    #[test]
    fn is_read_as_written() {
        let program = |name: &str, verified| Program {
            name: name.to_owned(),
            family: "sched".to_owned(),
            event: "sched_switch".to_owned(),
            verified,
            translated: 80,
            jited: 50,
            run: Some(Run {
                count: 12,
                ns: 101.6,
            }),
        };
        let costs = Costs {
            platform: Platform {
                release: "6.18.5".to_owned(),
                architecture: "x86_64".to_owned(),
                cpus: 2,
            },
            programs: vec![program("one", 1234), program("two", 5)],
            maps: vec![Map {
                name: "HASH".to_owned(),
                kind: "Hash".to_owned(),
                entries: 16,
                sizes: (4, 8),
                memory: 5_000,
            }],
            floor: Some(Run {
                count: 1000,
                ns: 41.0,
            }),
        };
        let page = page(&costs);
        assert!(page.contains("| `one` | sched | sched_switch | 1234 | 80 | 50 | 102 | 12 |"));
        assert!(page.contains("| all | | | 1239 | 160 | 100 | | |"));
        assert!(page.contains("| `HASH` | Hash | 16 | 4 + 8 | 5 |"));
        assert!(page.contains("41 ns are the measuring itself"));
        let recorded = parse(&page).expect("it can be read");
        assert_eq!(recorded.series, "6.18 x86_64");
        let expected = [("one".to_owned(), 1234), ("two".to_owned(), 5)];
        assert_eq!(recorded.verified, expected.into());
    }

    /// Checks that other pages are refused.
    #[test]
    fn other_pages_are_refused() {
        assert!(parse("# Metrics\n").is_err());
        assert!(parse("Verified by Linux 6.18 x86_64 (6.18.5)\n").is_err());
        let no_number = format!(
            "Verified by Linux 6.18 x86_64 (6.18.5)\n{PROGRAMS}\n|---|\n| `a` | b | c | many |\n"
        );
        assert!(parse(&no_number).is_err());
    }
}
