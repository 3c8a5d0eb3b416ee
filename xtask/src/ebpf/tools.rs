//! The tools that build the kernel half, installed under the target folder.
//!
//! bpf-linker must be linked against an LLVM no older than the compiler's. The
//! toolchain ships that very LLVM as a shared library, so no system package is
//! needed: a folder with links to it is all that bpf-linker's build asks for.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

const BPF_LINKER: &str = "0.13.0";
/// The feature of bpf-linker that fits the pinned compiler's LLVM.
const LLVM_FEATURE: &str = "llvm-22";

/// What a build needs.
pub struct Tools {
    root: PathBuf,
    /// `rustc --version`.
    pub compiler: String,
    /// `bpf-linker --version`.
    pub linker_version: String,
    /// The compiler's own folder.
    pub sysroot: PathBuf,
}

/// The compiler's source could not be had.
#[derive(Debug)]
pub struct Offline(String);

impl fmt::Display for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Offline {}

impl Tools {
    /// Finds the tools, installing what is missing.
    pub fn install(root: &Path) -> anyhow::Result<Self> {
        source()?;
        let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
        let mut tools = Self {
            root: root.to_path_buf(),
            compiler: rustc(&["--version"])?,
            linker_version: String::new(),
            sysroot,
        };
        tools.link_llvm()?;
        tools.install_linker()?;
        tools.linker_version = output(Command::new(tools.linker()).arg("--version"))?;
        Ok(tools)
    }

    /// Path of bpf-linker.
    pub fn linker(&self) -> PathBuf {
        self.root.join("bin/bpf-linker")
    }

    /// The folder that poses as an LLVM installation. It must stay: it is the
    /// linker's rpath.
    fn llvm(&self) -> PathBuf {
        self.root.join("llvm")
    }

    fn link_llvm(&self) -> anyhow::Result<()> {
        let lib = self.llvm().join("lib");
        fs::create_dir_all(&lib)?;
        let mut found = false;
        for entry in fs::read_dir(self.sysroot.join("lib"))? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
                continue;
            };
            if !name.starts_with("libLLVM") {
                continue;
            }
            link(&path, &lib.join(name))?;
            if name.starts_with("libLLVM-") && name.ends_with(".so") {
                link(&path, &lib.join("libLLVM.so"))?;
                found = true;
            }
        }
        if !found {
            bail!(
                "the toolchain at {} has no libLLVM; use rustup's",
                self.sysroot.display()
            );
        }
        Ok(())
    }

    fn install_linker(&self) -> anyhow::Result<()> {
        let works = Command::new(self.linker())
            .arg("--version")
            .output()
            .is_ok_and(|o| {
                o.status.success()
                    && String::from_utf8_lossy(&o.stdout)
                        .trim()
                        .ends_with(BPF_LINKER)
            });
        if works {
            return Ok(());
        }
        eprintln!(
            "installing bpf-linker {BPF_LINKER} under {} (about a minute)",
            self.root.display()
        );
        let status = crate::cargo::command()
            .args([
                "install",
                "bpf-linker",
                "--version",
                BPF_LINKER,
                "--locked",
                "--force",
            ])
            .args([
                "--no-default-features",
                "--features",
                LLVM_FEATURE,
                "--root",
            ])
            .arg(&self.root)
            .env("LLVM_PREFIX", self.llvm())
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            bail!("bpf-linker {BPF_LINKER} does not build; cargo's messages are above");
        }
        Ok(())
    }
}

fn link(from: &Path, to: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_file(to);
    std::os::unix::fs::symlink(from, to)
        .with_context(|| format!("cannot link {} to {}", to.display(), from.display()))
}

/// Installs rust-src, from which `core` is built for the BPF target, if it is missing.
///
/// # Errors
/// [`Offline`] if it can't be had.
pub fn source() -> anyhow::Result<()> {
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
    if sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .exists()
    {
        return Ok(());
    }
    eprintln!("installing the compiler's source (rustup component add rust-src)");
    let added = Command::new("rustup")
        .args(["component", "add", "rust-src"])
        .status();
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Offline(format!(
            "rust-src can't be installed (rustup: {status}); with a network, `rustup component add rust-src` does it"
        ))
        .into()),
        Err(error) => Err(Offline(format!("rust-src can't be installed: rustup: {error}")).into()),
    }
}

fn rustc(args: &[&str]) -> anyhow::Result<String> {
    output(
        Command::new("rustc")
            .current_dir(crate::checkout())
            .args(args),
    )
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let out = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !out.status.success() {
        bail!(
            "{command:?}: {}: {}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_string())
}
