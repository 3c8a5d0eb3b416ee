//! Running a command as root, through sudo when we aren't.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

/// A command that runs `program` as root and keeps the environment's `keep`.
pub fn command(program: impl AsRef<OsStr>, keep: &[&str]) -> anyhow::Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    let mut sudo = Command::new("sudo");
    if !keep.is_empty() {
        sudo.arg(format!("--preserve-env={}", keep.join(",")));
    }
    sudo.arg("--").arg(program);
    Ok(sudo)
}

/// Is the effective user root?
pub fn is_root() -> anyhow::Result<bool> {
    // The effective user id is the second of four in `Uid:` (proc(5)).
    let status = std::fs::read_to_string("/proc/self/status")?;
    let uid = status
        .lines()
        .find_map(|l| l.strip_prefix("Uid:"))
        .and_then(|l| l.split_whitespace().nth(1));
    Ok(uid == Some("0"))
}

/// Where xtask lies. Building all tests may have written it again, with features
/// that only tests need; then the kernel tells of the file that we were started from
/// by a path that says so (`d_path`, fs/d_path.c).
pub fn own_path() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("xtask's own path")?;
    let text = own.to_string_lossy();
    Ok(match text.strip_suffix(" (deleted)") {
        Some(path) if !own.exists() => path.into(),
        _ => own,
    })
}
