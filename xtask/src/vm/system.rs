//! A guest that is a system of its own: its own files, and its own first process.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::architecture::Architecture;
use super::guest::Share;
use super::{Booted, Host, PACKAGES, folder, kernel_folder, kernels};
use crate::packages;

/// Boots Debian's kernel of a series with the files below `root`, which the guest may
/// write, and `first` of them as its first process. What it is for lies in its `/mnt`:
/// `run.sh`, which is this script, and `results`, a folder that is returned; the status
/// of the script is to be written to `results/status.txt`.
///
/// # Errors
/// When it can't be booted, or left no status.
pub fn boot(series: &str, root: &Path, first: &str, script: &str) -> Result<Share> {
    packages::install(PACKAGES, "virtual machines")?;
    let architecture = Architecture::of_host()?;
    let apt = Apt::new(&folder().join("apt"), architecture.debian, false)?;
    let all = kernels::newest(&apt.show(&kernels::names(architecture.debian))?);
    let chosen = kernels::choose(&all, &[series.to_owned()])?;
    let kernel = chosen.first().context("no kernel was chosen")?;
    let host = Host::find(apt, architecture, folder())?;
    let unpacked = kernel_folder(&host.folder, kernel);
    host.apt.unpack(&kernel.packages, &unpacked)?;
    let share = Share::with_script(&host.run_folder(kernel)?.join("share"), script)?;
    match host.start(kernel, share, root, Some(first), false)? {
        Booted::Over(share) => Ok(share),
        // What it did to the files below `root` can't be taken back.
        Booted::Crashed(said) => bail!("qemu crashed, which says nothing of us; again? {said}"),
    }
}
