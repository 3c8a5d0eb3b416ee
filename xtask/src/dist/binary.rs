//! The static binary: its build, and what must be true of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};
use sha2::{Digest, Sha256};

use super::MAX_BINARY;
use super::epoch::Epoch;
use super::target::Target;
use crate::cargo::run;
use crate::toolchain::{install, sysroot};

/// The built daemon.
pub struct Binary {
    /// The file's bytes.
    pub data: Vec<u8>,
    /// Its SHA-256.
    pub sha256: String,
}

impl Binary {
    /// Reads one that was built.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let data =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let sha256 = super::hex(&Sha256::digest(&data));
        Ok(Self { data, sha256 })
    }

    /// Builds it, stripped, without paths of this machine.
    pub fn build(target: Target, epoch: Epoch) -> anyhow::Result<Self> {
        let triple = target.triple();
        install(triple)?;
        let (compiler, package) = target.c_compiler();
        let there = Command::new(compiler).arg("--version").output();
        if !there.is_ok_and(|out| out.status.success()) {
            bail!(
                "{compiler} is missing, with which C parts are built for {triple} (Debian: {package})"
            );
        }
        let variable = triple.replace('-', "_");
        let mut cargo = crate::cargo::command();
        cargo.args(["build", "--locked", "--profile", "dist", "--target", triple]);
        cargo.args(["--package", "observer-userspace", "--bin", "observer"]);
        cargo.env_remove("RUSTFLAGS");
        cargo.env("CARGO_ENCODED_RUSTFLAGS", rust_flags()?.join("\x1f"));
        cargo.env(format!("CC_{variable}"), compiler);
        cargo.env(format!("CFLAGS_{variable}"), c_flags().join(" "));
        cargo.env("SOURCE_DATE_EPOCH", epoch.0.to_string());
        run(&mut cargo)?;
        Self::read(&crate::target_dir().join(triple).join("dist/observer"))
    }

    /// Builds that of developers, which is neither static nor small, and strips it.
    pub fn of_development() -> anyhow::Result<Self> {
        let mut cargo = crate::cargo::command();
        cargo.args(["build", "--locked", "--package", "observer-userspace"]);
        run(cargo.args(["--bin", "observer"]))?;
        let built = crate::target_dir().join("debug/observer");
        let stripped = crate::target_dir().join("dist-rehearsal/observer");
        let mut strip = Command::new("strip");
        run(strip.arg("-o").arg(&stripped).arg(built))?;
        Self::read(&stripped)
    }

    /// Fails unless it is what is promised: of this machine, static, small, stripped.
    pub fn ensure_releasable(&self, target: Target) -> anyhow::Result<()> {
        let file =
            ElfFile64::<Endianness>::parse(&*self.data).context("the binary is no ELF file")?;
        let endian = file.endian();
        let machine = file.elf_header().e_machine(endian);
        ensure!(
            machine == target.elf_machine(),
            "the binary is for machine {machine}, not for {}",
            target.triple()
        );
        let mut headers = file.elf_program_headers().iter();
        ensure!(
            headers.all(|header| header.p_type(endian) != elf::PT_INTERP),
            "the binary isn't static: it names an interpreter"
        );
        let size = self.data.len() as u64;
        ensure!(
            size <= MAX_BINARY,
            "the binary has {size} bytes, and {MAX_BINARY} at most are let out"
        );
        let named = file
            .elf_section_table()
            .symbols(endian, &*self.data, elf::SHT_SYMTAB);
        ensure!(
            named.is_ok_and(|symbols| symbols.is_empty()),
            "the binary isn't stripped"
        );
        Ok(())
    }
}

/// Where this machine keeps things, and what is written instead.
fn paths() -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    vec![
        (crate::checkout(), "/observer"),
        (crate::target_dir(), "/observer/target"),
        (cargo, "/cargo"),
    ]
}

fn rust_flags() -> anyhow::Result<Vec<String>> {
    let mut paths = paths();
    paths.push((sysroot()?, "/rust"));
    let flags = paths
        .iter()
        .map(|(path, instead)| format!("--remap-path-prefix={}={instead}", path.display()));
    // Of a package that has a profile of its own, as the daemon's has, cargo strips only
    // what debuggers read, whatever the profile says.
    Ok(flags.chain(["-Cstrip=symbols".to_owned()]).collect())
}

fn c_flags() -> Vec<String> {
    let paths = paths().into_iter();
    paths
        .map(|(path, instead)| format!("-ffile-prefix-map={}={instead}", path.display()))
        .collect()
}
