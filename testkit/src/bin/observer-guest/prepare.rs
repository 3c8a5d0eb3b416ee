//! What the loads need and the guest can't make quickly.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use observer_testkit::chain::compile;
use observer_testkit::packages::program;

/// Where it lies: beside this program.
pub fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.with_file_name(""))
}

/// A program that calls a known chain of functions, and a key with a certificate for
/// it that nobody has signed.
pub fn all(folder: &Path) -> Result<()> {
    // That of the guest's machine, if it isn't ours.
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    compile(Command::new(compiler), folder, "chain", "chain.c", &[]);
    let mut openssl = program("openssl", "openssl")?;
    openssl.args(["req", "-x509", "-newkey", "ec"]);
    openssl.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-days", "30", "-subj", "/CN=localhost"]);
    openssl.arg("-keyout").arg(folder.join("key.pem"));
    openssl.arg("-out").arg(folder.join("cert.pem"));
    let output = openssl.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl: {said}");
    Ok(())
}
