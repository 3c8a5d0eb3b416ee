//! The manifests for Kubernetes, by its own tools: kubectl's kustomize, Helm, and the
//! published schemas, as PyPI has them.

use std::process::Command;

use anyhow::Result;

use super::unit::Unit;
use super::{output, python};

/// Checks what kustomize and Helm make of the manifests.
pub fn manifests() -> Result<()> {
    let python = python::environment()?.join("bin");
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
