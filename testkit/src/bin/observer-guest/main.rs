//! What runs in a guest of `cargo xtask vm`: makes known loads, compares what the
//! daemon says of them with what is known, and writes all of it down as JSON, for
//! xtask to judge by what is expected of the guest's kernel.
//!
//! - `observer-guest prepare FOLDER`: on the host, makes what the loads need.
//! - `observer-guest verify RESULTS`: has `observer check` try every program under
//!   every set of options that changes what is loaded.
//! - `observer-guest compare RESULTS`: the loads, each beside the command that sees it.

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
        ["compare", results] => {
            figures.part("check", check::default_set);
            figures.part("run", run::all);
            figures.part("loops", loops::four_on_two_cpus);
            figures.part("record", stacks::chain);
            figures.part("record off-cpu", off_cpu::recorded);
            figures.part("trace", trace::all);
            results
        }
        _ => bail!("usage: observer-guest prepare FOLDER | verify RESULTS | compare RESULTS"),
    };
    let path = Path::new(results).join("report.json");
    std::fs::write(&path, figures.json()?)
        .with_context(|| format!("cannot write {}", path.display()))
}
