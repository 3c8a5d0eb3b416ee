//! `cargo xtask fuzz`: fuzz targets, with the stable compiler.
//!
//! What cargo-fuzz does with a nightly compiler needs only this much: the
//! compiler's coverage pass, and libFuzzer (`libfuzzer-sys` builds it, with the
//! system's C++ compiler). Without a sanitizer of memory: the targets and what
//! they call have no unsafe code of ours.

use std::path::Path;

use anyhow::{Context, bail};

use crate::cargo::run;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Options {
    /// Minutes in all, shared by the targets.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
    /// Add inputs that reach new code to fuzz/corpus.
    #[arg(long)]
    keep: bool,
}

/// Where the targets are, a file each.
const TARGETS: &str = "fuzz/src/bin";

/// Targets that have inputs beside their corpus, and where.
const MORE_INPUTS: &[(&str, &str)] = &[("unwind_elf", "tests/corpus/unwind")];

/// The flags with which cargo-fuzz builds, but for the sanitizer's.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// Longest input. libFuzzer's default is the longest one in the corpus.
const MAX_BYTES: u32 = 64 * 1024;
/// Of found inputs no more are kept for a target.
const MAX_CORPUS_BYTES: u64 = 250 * 1024;
/// No input may take longer than this, in seconds, or more memory, in MiB.
const MAX_SECONDS: u32 = 5;
const MAX_MIB: u32 = 512;

/// Builds the targets and runs one after the other; fails at a finding.
pub fn main(options: &Options) -> anyhow::Result<()> {
    let triple = crate::test::host_triple()?;
    let folder = crate::target_dir().join("fuzz");
    let mut build = crate::cargo::command();
    // With a target triple, build scripts are built without the flags.
    build.args(["build", "--release", "--locked", "--target", &triple]);
    build.args(["--manifest-path", "fuzz/Cargo.toml", "--target-dir"]);
    run(build.arg(&folder).env("RUSTFLAGS", FLAGS.join(" ")))?;

    let mut chosen = targets()?;
    chosen.retain(|name| options.target.as_deref().is_none_or(|only| only == name));
    if chosen.is_empty() {
        bail!("there is no target {:?}", options.target);
    }
    let seconds = (options.minutes * 60.0 / chosen.len() as f64).ceil() as u64;
    for name in &chosen {
        let binary = folder.join(&triple).join("release").join(name);
        let corpus = Path::new("fuzz/corpus").join(name);
        let found = folder.join("corpus").join(name);
        let more = MORE_INPUTS.iter().filter(|(target, _)| target == name);
        std::fs::create_dir_all(&found).with_context(|| format!("create {}", found.display()))?;
        let mut fuzz = std::process::Command::new(&binary);
        fuzz.current_dir(crate::checkout());
        fuzz.arg(format!("-max_total_time={seconds}"));
        fuzz.arg(format!("-max_len={MAX_BYTES}"));
        fuzz.arg(format!("-timeout={MAX_SECONDS}"));
        fuzz.arg(format!("-rss_limit_mb={MAX_MIB}"));
        fuzz.arg(format!("-artifact_prefix={}/{name}-", folder.display()));
        fuzz.arg("-print_final_stats=1");
        // New inputs go to the first folder.
        fuzz.arg(&found).arg(&corpus);
        fuzz.args(more.map(|(_, inputs)| inputs));
        run(&mut fuzz)?;
        if options.keep {
            let mut merge = std::process::Command::new(&binary);
            merge.current_dir(crate::checkout());
            // As few inputs as reach all that is reached.
            merge.args(["-set_cover_merge=1", "-use_counters=0"]);
            run(merge.arg(&corpus).arg(&found))?;
            trim(&crate::checkout().join(&corpus))?;
        }
    }
    Ok(())
}

/// The names of all targets, in order.
fn targets() -> anyhow::Result<Vec<String>> {
    let folder = crate::checkout().join(TARGETS);
    let mut names = Vec::new();
    for file in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let file = Path::new(&file?.file_name()).with_extension("");
        names.push(file.to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes the largest of the found inputs (their names are hashes, those of
/// inputs made by hand are not) until a corpus is small enough for the tree.
fn trim(corpus: &Path) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(corpus)? {
        let file = file?;
        let name = file.file_name().into_encoded_bytes();
        if name.len() == 40 && name.iter().all(u8::is_ascii_hexdigit) {
            found.push((file.metadata()?.len(), file.path()));
        }
    }
    found.sort_unstable();
    let mut total = 0;
    for (length, path) in found {
        total += length;
        if total > MAX_CORPUS_BYTES {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
