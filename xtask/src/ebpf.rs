//! `cargo xtask ebpf`: the kernel object, reproducibly.
//!
//! The sources are copied to a staging workspace of their own under the target
//! folder, so that neither the checkout's path nor the daemon's dependencies
//! reach the compiler; paths that remain are remapped. The object is committed
//! together with a lock file that names its sources and tools. `--clippy` looks
//! at the same sources in the same way.

mod lock;
mod sources;
mod stack;
mod strip;
mod tools;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use lock::Lock;
use tools::Tools;

/// Options of `cargo xtask ebpf`.
#[derive(clap::Args)]
pub struct Options {
    /// Build, compare with the committed object and change nothing.
    #[arg(long)]
    check: bool,
    /// Only run clippy on the kernel half, with the workspace's lints as errors.
    #[arg(long, conflicts_with = "check")]
    clippy: bool,
}

/// Where the object and its lock file are committed.
pub const OBJECT: &str = "observer-userspace/bpf/observer.bpf.o";
/// See [`OBJECT`].
pub const LOCK: &str = "observer-userspace/bpf/observer.bpf.lock";

/// Builds the kernel object, or checks the committed one.
pub fn main(options: &Options) -> anyhow::Result<()> {
    let checkout = crate::checkout();
    if options.clippy {
        return clippy(&checkout);
    }
    let lock = Lock::of_sources(&checkout)?;
    let object_path = checkout.join(OBJECT);
    let tools = match Tools::install(&crate::target_dir().join("ebpf-tools")) {
        Ok(tools) => tools,
        Err(error) if options.check && error.is::<tools::Offline>() => {
            eprintln!("{error:#}");
            lock.verify_sources(&checkout.join(LOCK))?;
            println!(
                "kernel object: NOT rebuilt (the compiler's source can't be had here); \
                 only the hash of its sources was compared, and it is right"
            );
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let object = build(&checkout, &tools)?;
    println!("most stack of a chain of calls: {}", stack::check(&object)?);
    let lock = lock.with_build(&tools, &object);
    if options.check {
        let committed = fs::read(&object_path)
            .with_context(|| format!("cannot read {OBJECT}; `cargo xtask ebpf` makes it"))?;
        lock.verify(&checkout.join(LOCK))?;
        if committed != object {
            bail!(
                "{OBJECT} is not what its sources build: {} bytes committed, {} built; \
                 run `cargo xtask ebpf` and commit the result",
                committed.len(),
                object.len()
            );
        }
        println!("kernel object: rebuilt, {} bytes, identical", object.len());
        return Ok(());
    }
    if let Some(folder) = object_path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&object_path, &object).with_context(|| format!("cannot write {OBJECT}"))?;
    fs::write(checkout.join(LOCK), lock.to_string())
        .with_context(|| format!("cannot write {LOCK}"))?;
    println!("kernel object: {OBJECT}, {} bytes", object.len());
    Ok(())
}

/// cargo for the kernel half, in its staging workspace.
fn cargo(stage: &Path) -> Command {
    let mut cargo = crate::cargo::command();
    cargo
        .current_dir(stage.join("observer-ebpf"))
        // Lets the stable compiler build core for a target it ships no core for.
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    cargo
}

/// Arguments by which cargo builds for the kernel's machine.
const FOR_BPF: [&str; 6] = [
    "--release",
    "--locked",
    "-Z",
    "build-std=core",
    "--target",
    "bpfel-unknown-none",
];

/// Runs clippy on the kernel half and on what it shares with the daemon.
fn clippy(checkout: &Path) -> anyhow::Result<()> {
    match tools::source() {
        Ok(()) => {}
        Err(error) if error.is::<tools::Offline>() => {
            eprintln!("{error:#}");
            println!("kernel half: clippy did NOT run (the compiler's source can't be had here)");
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let stage = crate::target_dir().join("ebpf-clippy-stage");
    stage_sources(checkout, &stage, &workspace_lints(checkout)?)?;
    let manifest = stage.join("observer-ebpf/Cargo.toml");
    let mut text = fs::read_to_string(&manifest)?;
    text.push_str("\n[lints]\nworkspace = true\n");
    fs::write(&manifest, text)?;
    let mut cargo = cargo(&stage);
    cargo
        .arg("clippy")
        .args(FOR_BPF)
        .arg("--target-dir")
        .arg(crate::target_dir().join("ebpf-clippy"))
        .args(["--", "-D", "warnings"]);
    crate::cargo::run(&mut cargo)
}

/// The tables of lints in the checkout's manifest, so that both halves have the same.
fn workspace_lints(checkout: &Path) -> anyhow::Result<String> {
    let manifest = fs::read_to_string(checkout.join("Cargo.toml")).context("Cargo.toml")?;
    let mut lints = String::new();
    let mut within = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            within = line.starts_with("[workspace.lints");
        }
        if within {
            lints.push_str(line);
            lints.push('\n');
        }
    }
    ensure!(!lints.is_empty(), "Cargo.toml has no [workspace.lints]");
    Ok(lints)
}

fn build(checkout: &Path, tools: &Tools) -> anyhow::Result<Vec<u8>> {
    let stage = crate::target_dir().join("ebpf-stage");
    let target = crate::target_dir().join("ebpf");
    stage_sources(checkout, &stage, NO_LINTS)?;
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let linker = tools.linker();
    let flags = [
        "-Cdebuginfo=2".to_string(),
        "-Clink-arg=--btf".to_string(),
        format!("-Clinker={}", linker.display()),
        format!("--remap-path-prefix={}=/observer", stage.display()),
        format!("--remap-path-prefix={cargo_home}=/cargo"),
        format!("--remap-path-prefix={}=/rust", tools.sysroot.display()),
    ];
    let status = cargo(&stage)
        .arg("build")
        .args(FOR_BPF)
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the kernel half does not build; the compiler's messages are above");
    }
    let built = target.join("bpfel-unknown-none/release/observer-ebpf");
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    strip::debug_sections(&bytes)
}

/// Copies the two crates into a workspace of their own, with these lints.
fn stage_sources(checkout: &Path, stage: &Path, lints: &str) -> anyhow::Result<()> {
    if stage.exists() {
        fs::remove_dir_all(stage).with_context(|| format!("cannot clear {}", stage.display()))?;
    }
    for file in sources::list(checkout)? {
        let to = stage.join(&file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(checkout.join(&file), &to)
            .with_context(|| format!("cannot copy {}", file.display()))?;
    }
    fs::rename(
        stage.join("observer-ebpf/Cargo.lock"),
        stage.join("Cargo.lock"),
    )
    .context("observer-ebpf/Cargo.lock is missing")?;
    fs::write(
        stage.join("Cargo.toml"),
        format!("{STAGE_MANIFEST}\n{lints}"),
    )?;
    Ok(())
}

/// A build's: warnings aren't its business.
const NO_LINTS: &str = "[workspace.lints]\n";

/// One workspace around both crates: their paths are then relative to its root
/// in everything that cargo hashes.
const STAGE_MANIFEST: &str = r#"[workspace]
resolver = "3"
members = ["observer-ebpf", "observer-common"]

[workspace.package]
version = "0.1.0"
edition = "2024"
license = "Apache-2.0 OR MIT"

[profile.release]
opt-level = 3
debug = 2
lto = true
codegen-units = 1
panic = "abort"
"#;
