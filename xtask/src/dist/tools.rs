//! The tools that make packages, installed under the target folder.

use std::path::PathBuf;
use std::process::Command;

use crate::cargo::run;

/// A tool: its name, its version, and with what it is built.
pub struct Tool {
    name: &'static str,
    version: &'static str,
    options: &'static [&'static str],
}

/// Makes Debian's packages. The compressor is its own, so that the bytes don't depend
/// on the system's.
pub const DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    options: &["--no-default-features", "--features", "static-lzma"],
};

/// Makes RPM's.
pub const RPM: Tool = Tool {
    name: "cargo-generate-rpm",
    version: "0.21.1",
    options: &[],
};

impl Tool {
    /// Installs it if it isn't there in this version, and returns where it lies.
    pub fn install(&self) -> anyhow::Result<PathBuf> {
        let root = crate::target_dir().join("dist-tools");
        let program = root.join("bin").join(self.name);
        let told = Command::new(&program).arg("--version").output();
        let there = told.is_ok_and(|out| {
            let text = String::from_utf8_lossy(&out.stdout);
            text.trim().ends_with(self.version)
        });
        if there {
            return Ok(program);
        }
        eprintln!(
            "installing {} {} under {} (a minute or two)",
            self.name,
            self.version,
            root.display()
        );
        let mut cargo = crate::cargo::command();
        cargo.args(["install", self.name, "--version", self.version]);
        cargo.args(["--locked", "--force"]).args(self.options);
        cargo.arg("--root").arg(&root);
        // They work for seconds: built quickly is better than built well.
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
        run(&mut cargo)?;
        Ok(program)
    }
}
