//! `cargo xtask bench [-- NAME… --quick --json FILE --markdown FILE]`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use observer_tests::bench::{
    self, Benchmark, Options, interrupt, loops, machine, matrix, peers, report,
};

/// Measures what Observer costs and whether its figures are true, beside empty
/// programs and peers.
#[derive(Parser)]
#[command(name = "cargo xtask bench --")]
struct Arguments {
    /// Which benchmarks; if none is named, all but churn, which takes minutes.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(bench::names()))]
    names: Vec<String>,
    /// Fewer rounds: rougher figures in a minute.
    #[arg(long)]
    quick: bool,
    /// Writes the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report to this file, too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> Result<()> {
    // What is measured, and what does nothing, are processes of ours.
    match std::env::args().nth(1).as_deref() {
        Some(loops::ARGUMENT) => return loops::main(),
        Some(matrix::FLOOR_ARGUMENT) => return matrix::floor_main(),
        _ => {}
    }
    let arguments = Arguments::parse();
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the benchmark attaches programs to the kernel and needs root; `cargo xtask bench` sees to it"
    );
    interrupt::notice()?;
    let options = Options {
        quick: arguments.quick,
    };
    let chosen = |benchmark: &&Benchmark| benchmark.chosen(&arguments.names);
    let before = machine::Before::read();
    let mut head = Vec::new();
    let mut sections = Vec::new();
    for benchmark in bench::ALL.iter().filter(chosen) {
        let section = (benchmark.run)(&options).with_context(|| benchmark.name)?;
        if head.is_empty() {
            // After the first one, which installs its peers.
            head = machine::head(
                &before,
                &[
                    ("bpftrace", peers::version("bpftrace", &["--version"])),
                    ("strace", peers::version("strace", &["--version"])),
                    ("perf", peers::version("perf", &["--version"])),
                    ("probee", bench::profile::probee_version()),
                ],
            );
            println!("{}", report::head_text(&head).trim_end());
        }
        println!("{}", report::text(&section).trim_end());
        sections.push(section);
    }
    if let Some(path) = arguments.json {
        let text = serde_json::to_string_pretty(&report::json(&head, &sections))?;
        std::fs::write(&path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = arguments.markdown {
        std::fs::write(&path, report::markdown(&head, &sections))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
