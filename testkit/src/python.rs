//! Python programs for tests: decoders that aren't ours, and a web framework.
//!
//! They live in a virtual environment under the target folder, made once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Pinned, because a test should fail for our mistakes only.
const PACKAGES: [&str; 6] = [
    "opentelemetry-proto==1.45.2",
    "rotel==0.0.1a15",
    "aiohttp==3.14.5",
    "grpcio==1.85.3",
    "httpx==0.28.1",
    "uvicorn==0.54.0",
];

/// The folder of a virtual environment that has the packages.
///
/// # Errors
/// Says which of python3, venv, pip or the package index is missing, and how
/// to get it.
pub fn environment() -> Result<PathBuf> {
    let target = std::env::current_exe()?
        .ancestors()
        .find(|path| path.ends_with("deps"))
        .and_then(|deps| deps.ancestors().nth(2))
        .map(Path::to_path_buf)
        .context("this test doesn't run from a target folder")?;
    let folder = target.join("python-for-tests");
    // Tests run side by side: one makes it, the others wait.
    let lock = File::create(target.join("python-for-tests.lock"))?;
    lock.lock()?;
    let ready = folder.join("ready");
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&ready).ok() != Some(wanted.clone()) {
        run(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&folder),
            "making a Python environment needs python3 with venv: install python3 and \
             python3-venv (Debian: apt-get install python3-venv)",
        )?;
        run(
            Command::new(folder.join("bin/python"))
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                ])
                .args(PACKAGES),
            "pip could not install opentelemetry-proto, rotel, aiohttp, grpcio, httpx and uvicorn: is there a way to a Python \
             package index (PIP_INDEX_URL)?",
        )?;
        std::fs::write(ready, wanted)?;
    }
    Ok(folder)
}

/// Runs a script of `testkit/python` with arguments; its output is the error's.
pub fn check(script: &str, arguments: &[&Path]) -> Result<()> {
    let python = environment()?.join("bin/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("python")
        .join(script);
    run(
        Command::new(python).arg(script).args(arguments),
        "the check failed",
    )
}

/// The `rotel` collector's program.
pub fn rotel() -> Result<PathBuf> {
    let library = environment()?.join("lib");
    for entry in library.read_dir()? {
        let program = entry?.path().join("site-packages/rotel/rotel-agent");
        if program.exists() {
            return Ok(program);
        }
    }
    bail!("no rotel-agent below {}", library.display())
}

fn run(command: &mut Command, advice: &str) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}: {advice}"))?;
    if !output.status.success() {
        bail!(
            "{advice}\n{command:?} ended with {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
