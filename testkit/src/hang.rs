//! Processes that keep whoever looks at them waiting: see `src/bin/observer-hang/`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::workload::program_beside;

/// The device by which file systems are served (Documentation/admin-guide/devices.txt).
const DEVICE: &str = "/dev/fuse";
const MAJOR: u64 = 10;
const MINOR: u64 = 229;

/// Nobody.
pub const NOBODY: u32 = 65534;

/// What a process keeps from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its memory map, as anybody can.
    Memory,
    /// The same in a network namespace of its own, as anybody can.
    Network,
    /// What it sees for cgroups' files, as anybody can.
    Cgroups,
    /// Mounts that it is in the middle of, as anybody can.
    Mounts,
    /// Its separate debug files.
    DebugFiles,
    /// The program that it runs.
    Program,
    /// The names of code made at run time.
    PerfMap,
}

impl Kind {
    /// The word for it.
    fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Cgroups => "cgroups",
            Self::Mounts => "mounts",
            Self::DebugFiles => "debug-files",
            Self::Program => "program",
            Self::PerfMap => "perf-map",
        }
    }

    /// Whether it takes root.
    fn takes_root(self) -> bool {
        matches!(self, Self::DebugFiles | Self::Program | Self::PerfMap)
    }
}

/// A running one. Whoever waits for it goes on when this is dropped, also if we are
/// killed.
pub struct Hang {
    child: Child,
    /// The program and the device, where nobody may use those that are there.
    _folder: tempfile::TempDir,
}

impl Hang {
    /// Starts one called `name` (at most 15 bytes), as nobody if it takes no more;
    /// returns when it hangs.
    pub fn start(kind: Kind, name: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let program = folder.path().join("observer-hang");
        fs::copy(program_beside("observer-hang")?, &program)?;
        let device = device(folder.path())?;
        let word = kind.word();
        let mut command = Command::new(program);
        command.arg(word).arg(name).arg(device);
        if !kind.takes_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start observer-hang")?;
        let output = child.stdout.take().context("its output")?;
        let started = Self {
            child,
            _folder: folder,
        };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "hangs\n", "observer-hang {word} failed");
        Ok(started)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        // The file system's server ends with it, and with that all who wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A device of FUSE that anybody may open.
fn device(folder: &Path) -> Result<PathBuf> {
    let there = fs::metadata(DEVICE).context("this kernel serves no file systems (FUSE)")?;
    if there.mode() & 0o006 == 0o006 {
        return Ok(DEVICE.into());
    }
    let own = folder.join("fuse");
    let mode = Mode::from_bits_truncate(0o666);
    mknod(&own, SFlag::S_IFCHR, mode, makedev(MAJOR, MINOR)).context("mknod")?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o666))?;
    Ok(own)
}
