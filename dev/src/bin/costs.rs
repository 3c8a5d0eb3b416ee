//! `cargo xtask costs`: writes docs/costs.md; `--check` compares with it.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use observer_dev::costs::{compare, measure, page, page_path};

fn main() -> Result<ExitCode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "programs are loaded into the kernel, which needs root; `cargo xtask costs` sees to it"
    );
    let mut costs = measure::sizes()?;
    if std::env::args().any(|argument| argument == "--check") {
        let table = page::programs(&costs);
        println!("{table}{}", page::maps(&costs));
        let committed = std::fs::read_to_string(page_path())
            .context("docs/costs.md can't be read; `cargo xtask costs` writes it")?;
        let comparison = compare::compare(&page::parse(&committed)?, &costs);
        for hint in &comparison.hints {
            println!("{hint}");
        }
        if !comparison.failures.is_empty() {
            // Not an error of this program's: no backtrace.
            eprintln!(
                "docs/costs.md isn't what the programs cost now:\n  {}\nMake them cheaper to verify, \
                 or renew the table with `cargo xtask costs` and commit it",
                comparison.failures.join("\n  ")
            );
            return Ok(ExitCode::FAILURE);
        }
        println!("docs/costs.md holds");
        return Ok(ExitCode::SUCCESS);
    }
    measure::times(&mut costs)?;
    std::fs::write(page_path(), page::page(&costs)).context("docs/costs.md can't be written")?;
    println!("{}", page::programs(&costs));
    println!("wrote docs/costs.md");
    Ok(ExitCode::SUCCESS)
}
