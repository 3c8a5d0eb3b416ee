//! Root directories of processes: where their files lie, whatever is mounted
//! there.
//!
//! Files in another's root directory are chosen by others, so nothing is
//! opened before it is known to be a regular file; and only readers open it, as the
//! file systems may be others', too.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use crate::foreign::{Foreign, process};

/// A process's root directory, open as a path only, with the mount namespace
/// that it is in: without that, its mounts would go with its last process. Held
/// until the interval in which that process ended is symbolized.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    _namespace: File,
}

/// What tells root directories apart: mount namespace, device, inode.
pub(super) type RootId = (u64, u64, u64);

impl Root {
    /// Which one process `pid` has now; `None` if it ended.
    pub(super) fn id(foreign: &Foreign, pid: u32) -> Option<RootId> {
        let root = process::root_metadata(foreign, pid)?;
        let namespace = process::mount_namespace_number(pid)?;
        Some((namespace, root.dev(), root.ino()))
    }

    /// Opens the one that process `pid` has now.
    pub(super) fn open(foreign: &Foreign, pid: u32) -> Option<Self> {
        Some(Self {
            fd: process::root(foreign, pid)?,
            _namespace: process::mount_namespace(pid)?,
        })
    }
}

/// Where the files of a process lie.
#[derive(Debug, Default)]
pub(crate) enum Place {
    /// Nowhere any more.
    #[default]
    Gone,
    /// In a root directory that is held.
    Held(OwnedFd),
    /// In the one that this process has now.
    Now(u32),
}

impl Place {
    /// A root directory that is held.
    pub(super) fn held(root: &Root) -> Option<Self> {
        Some(Self::Held(root.fd.try_clone().ok()?))
    }

    /// It, open.
    pub(crate) fn open(self, foreign: &Foreign) -> Roots {
        let root = match self {
            Self::Gone => None,
            Self::Held(root) => Some(root),
            Self::Now(pid) => process::root(foreign, pid),
        };
        Roots(root.into_iter().collect())
    }
}

/// The root directories in which a process's files may lie: its own first, then
/// the host's. Only readers have them.
#[derive(Debug, Default)]
pub struct Roots(Vec<OwnedFd>);

impl Roots {
    /// A folder, as if it were a root directory.
    #[cfg(test)]
    pub(super) fn at(path: &str) -> Self {
        Self(open_directory(path).into_iter().collect())
    }

    /// These, then the host's.
    pub(super) fn or_host(mut self) -> Self {
        self.0.extend(open_directory("/"));
        self
    }

    /// Opens the first regular file called `path`. Links lead nowhere out of
    /// the root directory: who owns it may have made them.
    pub fn open(&self, path: &str) -> Option<File> {
        let follow = OFlag::empty();
        self.0
            .iter()
            .find_map(|root| open_within(root, Path::new(path), follow))
    }

    /// Opens the first regular file called `path` that isn't a link itself.
    pub fn open_itself(&self, path: &Path) -> Option<File> {
        let refuse = OFlag::O_NOFOLLOW;
        self.0
            .iter()
            .find_map(|root| open_within(root, path, refuse))
    }
}

fn open_directory(path: &str) -> Option<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).ok()
}

fn open_within(root: &OwnedFd, path: &Path, links: OFlag) -> Option<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | links)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    reopen_regular(&File::from(openat2(root, path, how).ok()?))
}

/// Opens a path of ours, as a path only.
pub(super) fn open_path(_: &Foreign, path: &Path) -> Option<File> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).ok().map(File::from)
}

/// Opens what `handle`, a path only, stands for, if it is a regular file.
pub(crate) fn open_regular(_: &Foreign, handle: &File) -> Option<File> {
    reopen_regular(handle)
}

fn reopen_regular(handle: &File) -> Option<File> {
    if !handle.metadata().ok()?.is_file() {
        return None;
    }
    File::open(format!("/proc/self/fd/{}", handle.as_raw_fd())).ok()
}
