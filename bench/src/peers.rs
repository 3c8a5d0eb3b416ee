//! Other people's tools: installing them, starting them, ending them.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

/// Installs a program's Debian package, or crate, if the program isn't there.
///
/// # Errors
/// Why it can't be had here.
pub fn ensure(program: &str, package: &str) -> Result<()> {
    if package == FROM_CRATES {
        return ensure_probee();
    }
    if found(program) {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("{program} is not installed, and there is no apt-get to install {package}");
    }
    eprintln!("installing {package} for its {program}");
    // A list that can't be renewed may still be good enough.
    let _ = apt_get(&["update"]);
    let installed = apt_get(&["install", "--yes", "--no-install-recommends", package])?;
    if !installed.success() || !found(program) {
        bail!("{program} is not installed, and apt-get can't install {package}");
    }
    Ok(())
}

/// The "package" of what is not Debian's but the crate registry's.
pub const FROM_CRATES: &str = "crates.io";

/// What `cargo install` knows profile-bee's probee by.
const PROBEE: [&str; 3] = ["profile-bee", "--version", "0.3.13"];

/// Where programs from the crate registry are installed: beside our own.
fn crates_folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("no target folder")?;
    Ok(target.join("bench-peers"))
}

/// Where probee is (profile-bee, a profiler that walks stacks in the kernel,
/// too): what `OBSERVER_PROBEE` says, else where `PATH` leads, else where it was
/// installed.
pub fn probee() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("OBSERVER_PROBEE") {
        return Some(path.into());
    }
    let installed = crates_folder().ok()?.join("bin/probee");
    find("probee").or_else(|| installed.is_file().then_some(installed))
}

/// Installs it from the crate registry, which takes minutes, if it isn't there.
fn ensure_probee() -> Result<()> {
    if probee().is_some_and(|path| path.is_file()) {
        return Ok(());
    }
    eprintln!("installing profile-bee for its probee");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "--quiet", "--locked"]).args(PROBEE);
    let status = cargo.arg("--root").arg(crates_folder()?).status();
    let status = status.context("probee is not installed, and there is no cargo")?;
    if !status.success() {
        bail!(
            "probee is not installed, and `cargo install {}` fails",
            PROBEE.join(" ")
        );
    }
    Ok(())
}

/// # Errors
/// If the kernel's headers aren't there, against which the BCC tools compile their
/// programs whenever they start.
pub fn kernel_headers() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let build = format!("/lib/modules/{}/build", release.trim());
    let places = [&build, "/sys/kernel/kheaders.tar.xz"];
    if !places.iter().any(|place| Path::new(place).exists()) {
        bail!(
            "it compiles against the kernel's headers, and there are none ({})",
            places.join(", ")
        );
    }
    Ok(())
}

fn apt_get(args: &[&str]) -> io::Result<std::process::ExitStatus> {
    let mut command = Command::new("apt-get");
    command.arg("--quiet").args(args);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status()
}

fn found(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is that `package` has.
pub fn locate(program: &str, package: &str) -> Option<PathBuf> {
    match package {
        FROM_CRATES => probee(),
        _ => find(program),
    }
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/bin", "/usr/sbin"])
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
}

/// The version of what `package` has; `None` if it isn't installed.
pub fn package_version(package: &str) -> Option<String> {
    if package == FROM_CRATES {
        return version(probee()?, &["--version"]);
    }
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Version}", package])
        .output()
        .ok()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_string();
    (output.status.success() && !version.is_empty()).then_some(version)
}

/// The first line of what `program ARGS` prints; `None` if it can't be run.
pub fn version(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_string)
}

/// Has `command` find tracefs and debugfs where old tools look for them, in a
/// mount namespace of its own, and lock as much memory as it wants if it may.
pub fn with_tracefs(command: &mut Command) {
    // SAFETY: between fork and exec, only system calls on constants are made.
    unsafe { command.pre_exec(enter_private_mounts) };
}

fn enter_private_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&CStr>;
    mount(
        none,
        c"/",
        none,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        none,
    )?;
    // Refused where they are mounted already, or where a container forbids it;
    // the tool then says what it misses.
    for (kind, place) in [
        (c"debugfs", c"/sys/kernel/debug"),
        (c"tracefs", c"/sys/kernel/tracing"),
    ] {
        let _ = mount(Some(kind), place, Some(kind), MsFlags::empty(), none);
    }
    // Refused without CAP_SYS_RESOURCE, and since 5.11 not needed any more.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    Ok(())
}
