//! What runs in a guest of `cargo xtask vm`: makes known loads, compares what the
//! daemon says of them with what is known, and writes all of it down as JSON, for
//! xtask to judge by what is expected of the guest's kernel.
//!
//! - `observer-guest prepare FOLDER`: on the host, makes what the loads need.
//! - `observer-guest verify RESULTS`: has `observer check` try every program under
//!   every set of options that changes what is loaded.
//! - `observer-guest compare RESULTS [PART …]`: the loads, each beside the command that
//!   sees it.

mod check;
mod disk;
mod figures;
mod loops;
mod network;
mod off_cpu;
mod prepare;
mod requests;
mod run;
mod stacks;
mod trace;

use std::path::Path;

use anyhow::{Context, Result, bail};

use figures::Figures;

/// A part of a comparison: its name and what does it.
type Part = (&'static str, fn(&mut Figures) -> Result<()>);

/// All parts of a comparison.
const PARTS: &[Part] = &[
    ("check", check::default_set),
    ("run", run::all),
    ("loops", loops::four_on_two_cpus),
    ("record", stacks::chain),
    ("record off-cpu", off_cpu::recorded),
    ("trace", trace::all),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut figures = Figures::default();
    let results = match words[..] {
        ["prepare", folder] => return prepare::all(Path::new(folder)),
        ["verify", results] => {
            figures.part("check", check::every_set);
            results
        }
        ["compare", results, ref wanted @ ..] => {
            for (name, part) in PARTS {
                if wanted.is_empty() || wanted.contains(name) {
                    figures.part(name, part);
                }
            }
            results
        }
        _ => bail!(
            "usage: observer-guest prepare FOLDER | verify RESULTS | compare RESULTS [PART …]"
        ),
    };
    let results = Path::new(results);
    for (name, text) in figures.logs() {
        std::fs::write(results.join(name), text)?;
    }
    let path = results.join("report.json");
    std::fs::write(&path, figures.json()?)
        .with_context(|| format!("cannot write {}", path.display()))
}
