//! `cargo xtask bench [NAME…] [--quick] [--json FILE] [--markdown FILE] [--list]`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use observer_bench::{
    self as bench, Benchmark, Options, load, loops, machine, matrix, peers, report,
};
use observer_testkit::interrupt;

/// Measures what Observer costs and whether its figures are true, beside empty
/// programs and peers.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// Which benchmarks; if none is named, all but churn, which takes minutes.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(bench::names()))]
    names: Vec<String>,
    /// Fewer rounds, and of what is alike only one: rougher figures in some minutes.
    #[arg(long)]
    quick: bool,
    /// Prints the benchmarks' names and ends.
    #[arg(long)]
    list: bool,
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
        Some(load::agent::ARGUMENT) => return load::agent::main(),
        Some(matrix::FLOOR_ARGUMENT) => return matrix::floor_main(),
        _ => {}
    }
    let arguments = Arguments::parse();
    if arguments.list {
        for benchmark in bench::ALL {
            println!("{}", benchmark.name);
        }
        return Ok(());
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the benchmark attaches programs to the kernel and needs root; `cargo xtask bench` sees to it"
    );
    interrupt::notice()?;
    let options = Options {
        quick: arguments.quick,
    };
    let chosen = |benchmark: &&Benchmark| benchmark.chosen(&arguments.names, arguments.quick);
    let chosen: Vec<&Benchmark> = bench::ALL.iter().filter(chosen).collect();
    let before = machine::Before::read();
    let head = machine::head(&before, &install(&chosen));
    println!("{}", report::head_text(&head).trim_end());
    let mut sections = Vec::new();
    for benchmark in chosen {
        let begin = Instant::now();
        let section = (benchmark.run)(&options).with_context(|| benchmark.name)?;
        eprintln!(
            "{}: took {:.0} s",
            benchmark.name,
            begin.elapsed().as_secs_f64()
        );
        println!("{}", report::text(&section).trim_end());
        sections.push(section);
        // After each: whoever interrupts it keeps what there is.
        arguments.write(&head, &sections)?;
    }
    Ok(())
}

/// Installs what the benchmarks need; returns the packages. What can't be had is
/// named by the benchmark that would have it.
fn install(chosen: &[&Benchmark]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (program, package) in chosen.iter().flat_map(|benchmark| benchmark.needs) {
        if !packages.contains(package) {
            if let Err(error) = peers::ensure(program, package) {
                eprintln!("{error:#}");
            }
            packages.push(*package);
        }
    }
    packages
}

impl Arguments {
    fn write(&self, head: &report::Head, sections: &[report::Section]) -> Result<()> {
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&report::json(head, sections))?;
            write(path, &(text + "\n"))?;
        }
        if let Some(path) = &self.markdown {
            write(path, &report::markdown(head, sections))?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
