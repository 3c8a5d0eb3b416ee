//! The test binaries, as cargo built them.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The package whose tests load the kernel half: each runs alone, as root, in
/// a process of its own.
pub const INTEGRATION: &str = "observer-tests";

/// A built test binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    /// Package that the binary is built from.
    pub package: String,
    /// Its target: a test's file, a library or a program.
    pub name: String,
    /// Where it was built.
    pub path: PathBuf,
    /// Its package's folder, in which cargo would run it.
    pub folder: PathBuf,
}

impl Binary {
    /// Are its tests those that load the kernel half?
    pub fn is_integration(&self) -> bool {
        self.package == INTEGRATION
    }
}

/// Builds the tests of these packages (all, if none is named), and says where
/// they are. What the compiler says is handed on.
///
/// # Errors
/// When the build fails, or cargo speaks another language than we read.
pub fn build(arguments: &[&str]) -> anyhow::Result<Vec<Binary>> {
    let mut cargo = crate::cargo::command();
    cargo.args(["test", "--no-run"]).args(arguments);
    cargo.arg("--message-format=json-render-diagnostics");
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {cargo:?}"))?;
    if !output.status.success() {
        bail!(
            "{cargo:?} failed ({}); its messages are above",
            output.status
        );
    }
    let text = String::from_utf8(output.stdout).context("cargo's messages aren't UTF-8")?;
    let mut binaries = parse(&text)?;
    binaries.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    Ok(binaries)
}

/// The test binaries that cargo's messages name.
fn parse(messages: &str) -> anyhow::Result<Vec<Binary>> {
    let mut binaries = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("not cargo's JSON")?;
        let is_test = message["profile"]["test"].as_bool() == Some(true);
        let (true, Some(path)) = (is_test, message["executable"].as_str()) else {
            continue;
        };
        let name = message["target"]["name"].as_str().unwrap_or_default();
        let manifest = message["manifest_path"].as_str().unwrap_or_default();
        let folder = PathBuf::from(manifest).with_file_name("");
        binaries.push(Binary {
            package: package(message["package_id"].as_str().unwrap_or_default()),
            name: name.to_owned(),
            path: path.into(),
            folder,
        });
    }
    Ok(binaries)
}

/// The package's name in an id: `path+file:///x/tests#observer-tests@0.1.0`, or
/// `path+file:///x/xtask#0.1.0` where the folder has the same name.
fn package(id: &str) -> String {
    let (place, version) = id.rsplit_once('#').unwrap_or((id, ""));
    match version.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => place.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that of cargo's messages those about tests are read, whether a
    /// package is called as its folder or not.
    #[test]
    fn messages() -> anyhow::Result<()> {
        let text = r#"
{"reason":"compiler-artifact","package_id":"path+file:///x/tests#observer-tests@0.1.0","manifest_path":"/x/tests/Cargo.toml","target":{"name":"tcp"},"profile":{"test":true},"executable":"/x/target/debug/deps/tcp-1"}
{"reason":"compiler-artifact","package_id":"path+file:///x/xtask#0.1.0","manifest_path":"/x/xtask/Cargo.toml","target":{"name":"xtask"},"profile":{"test":true},"executable":"/x/target/debug/deps/xtask-2"}
{"reason":"compiler-artifact","package_id":"path+file:///x/xtask#0.1.0","manifest_path":"/x/xtask/Cargo.toml","target":{"name":"xtask"},"profile":{"test":false},"executable":"/x/target/debug/xtask"}
{"reason":"build-finished","success":true}
"#;
        let found = parse(text)?;
        let names: Vec<_> = found.iter().map(|b| (&*b.package, &*b.name)).collect();
        assert_eq!(names, [("observer-tests", "tcp"), ("xtask", "xtask")]);
        assert!(found[0].is_integration() && !found[1].is_integration());
        assert_eq!(found[0].folder, PathBuf::from("/x/tests/"));
        Ok(())
    }
}
