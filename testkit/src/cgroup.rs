//! Cgroups that vanish with the test.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

/// A cgroup directory made by a test, with those above it that were missing.
/// Dropping it removes them again; processes still inside are killed first.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    /// What was created, outermost first.
    created: Vec<PathBuf>,
}

impl Cgroup {
    /// Creates `path` (relative) below the mount point of a hierarchy.
    ///
    /// # Errors
    /// Not root, or the hierarchy is read-only.
    pub fn create(mount: &Path, path: impl AsRef<Path>) -> Result<Self> {
        let mut cgroup = Self {
            directory: mount.to_path_buf(),
            created: Vec::new(),
        };
        for name in path.as_ref().components() {
            let Component::Normal(name) = name else {
                continue;
            };
            cgroup.directory.push(name);
            if !cgroup.directory.is_dir() {
                fs::create_dir(&cgroup.directory)
                    .with_context(|| format!("creating cgroup {}", cgroup.directory.display()))?;
                cgroup.created.push(cgroup.directory.clone());
            }
        }
        Ok(cgroup)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// The process is gone, or may not be moved.
    pub fn add(&self, pid: u32) -> Result<()> {
        let file = self.directory.join("cgroup.procs");
        fs::write(&file, pid.to_string())
            .with_context(|| format!("moving {pid} into {}", self.directory.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in self.created.iter().rev() {
            // Killed processes leave their cgroup a moment later.
            for _ in 0..100 {
                let members =
                    fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
                for pid in members.lines().filter_map(|line| line.parse().ok()) {
                    let pid = nix::unistd::Pid::from_raw(pid);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
                if fs::remove_dir(directory).is_ok() {
                    break;
                }
                sleep(Duration::from_millis(10));
            }
        }
    }
}
