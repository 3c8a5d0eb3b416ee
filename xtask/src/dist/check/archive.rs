//! The archive: its sums, its files, its bill of materials by CycloneDX's own schema.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::{Made, output, python};
use crate::dist::VERSION;

/// What must be in it, beside what this can't know better than whoever packs it.
const FILES: &[&str] = &[
    "CHANGELOG.md",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "LICENSES-OF-OTHERS",
    "README.md",
    "completions/_observer",
    "completions/observer.bash",
    "completions/observer.fish",
    "install.md",
    "man/observer-check.1",
    "man/observer-record.1",
    "man/observer-run.1",
    "man/observer-trace.1",
    "man/observer.1",
    "observer",
    "observer.cdx.json",
    "observer.service",
    "observer.sysusers",
    "observer.toml",
    "permissions.md",
];

/// A validator by CycloneDX's people; it fails unless the bill fits their schema.
const VALIDATE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(str(error) if error else 0)
";

/// Checks it by tar, sha256sum, bash and CycloneDX's schema.
pub fn is_whole(made: &Made) -> Result<()> {
    let out = made.archive.parent().context("no folder")?;
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "--quiet", "SHA256SUMS"]);
    output(sums.current_dir(out))?;

    let folder = TempDir::new().context("cannot make a folder")?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--file"])
        .arg(&made.archive);
    output(tar.arg("--directory").arg(folder.path()))?;
    let [top] = super::listed(folder.path())?
        .try_into()
        .ok()
        .context("the archive has not just one folder")?;
    let top = folder.path().join(top);
    let mut find = Command::new("find");
    find.args([".", "-type", "f", "-printf", "%P\\n"])
        .current_dir(&top);
    let found = output(&mut find)?;
    let found: BTreeSet<&str> = found.lines().collect();
    let missing: Vec<_> = FILES
        .iter()
        .filter(|name| !found.contains(**name))
        .collect();
    ensure!(missing.is_empty(), "{missing:?} aren't in {found:?}");

    let program = top.join("observer");
    let version = output(Command::new(&program).arg("--version"))?;
    ensure!(version.trim() == format!("observer {VERSION}"), "{version}");
    let completions = top.join("completions/observer.bash");
    output(Command::new("bash").arg("-n").arg(completions))?;
    is_billed(&top.join("observer.cdx.json"), &program)
}

/// Checks a bill by its schema, and that it is this program's.
fn is_billed(bill: &Path, program: &Path) -> Result<()> {
    let python = python::environment()?.join("bin/python");
    output(Command::new(python).args(["-c", VALIDATE]).arg(bill))?;
    let text = std::fs::read_to_string(bill).context("no bill")?;
    let told: Value = serde_json::from_str(&text)?;
    let told = told["metadata"]["component"]["hashes"][0]["content"].as_str();
    let summed = output(Command::new("sha256sum").arg(program))?;
    ensure!(
        summed.split_whitespace().next() == told,
        "the bill is of {told:?}, the program of {summed}"
    );
    Ok(())
}
