//! The lock file: which sources and tools made the kernel object.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::{Tools, sources};

/// What the object was made of.
pub struct Lock {
    sources: String,
    compiler: String,
    linker: String,
    object: String,
}

impl Lock {
    /// The lock of the sources alone.
    pub fn of_sources(checkout: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            sources: sources::hash(checkout)?,
            compiler: String::new(),
            linker: String::new(),
            object: String::new(),
        })
    }

    /// Adds what the build knows.
    pub fn with_build(self, tools: &Tools, object: &[u8]) -> Self {
        Self {
            compiler: tools.compiler.clone(),
            linker: tools.linker_version.clone(),
            object: sources::hex(&Sha256::digest(object)),
            ..self
        }
    }

    /// Fails unless the lock file at `path` is exactly this one.
    pub fn verify(&self, path: &Path) -> anyhow::Result<()> {
        let committed = read(path)?;
        if committed != self.to_string() {
            bail!(
                "the lock file does not match; committed:\n{committed}\nbuilt:\n{self}\n\
                 run `cargo xtask ebpf` and commit the result"
            );
        }
        Ok(())
    }

    /// Fails unless the lock file at `path` names these sources.
    pub fn verify_sources(&self, path: &Path) -> anyhow::Result<()> {
        let line = format!("sources = \"{}\"", self.sources);
        if !read(path)?.lines().any(|l| l == line) {
            bail!(
                "the kernel object is older than its sources; run `cargo xtask ebpf` and commit the result"
            );
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read {}; `cargo xtask ebpf` makes it",
            path.display()
        )
    })
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Made by `cargo xtask ebpf`; checked by build.rs and CI."
        )?;
        writeln!(f, "sources = \"{}\"", self.sources)?;
        writeln!(f, "object = \"{}\"", self.object)?;
        writeln!(f, "compiler = \"{}\"", self.compiler)?;
        writeln!(f, "linker = \"{}\"", self.linker)
    }
}
