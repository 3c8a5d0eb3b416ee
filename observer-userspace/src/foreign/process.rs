//! What `/proc/PID` says, by whether the kernel may have who asks wait for the process.
//!
//! From the kernel's sources (fs/proc/base.c, array.c, task_mmu.c; 5.8 to 6.18):
//!
//! | file | what the kernel does |
//! |---|---|
//! | `comm`, `cgroup` | copies a name; walks its own lists under its own locks |
//! | `exe`, `root`, `cwd` read as links | takes references under the task's spin lock, and writes paths from its own cache |
//! | `ns/net`, `ns/mnt` opened or asked for their number | their own file system, of the kernel's memory |
//! | `task`, `fd` listed; `limits` | its own lists |
//! | `status`, `stat` | no lock of the memory map; but may drop the last reference to it, and then unmaps files |
//! | `environ`, `cmdline`, `process_vm_readv` | wait for the lock of the memory map |
//! | `map_files` | likewise |
//! | `maps` | likewise before 6.17, and where the map changes meanwhile |
//! | `exe`, `root` followed | ask the file system that they lead to |
//!
//! So those above the line of `status` are anybody's to ask, the others take a
//! [`Foreign`]. (`status` is asked for, too, when it matters whose a process is: then a
//! process with files that hang at their unmapping must end within the microseconds of the
//! call.)

use std::fs::{self, File, Metadata};
use std::io::{self, IoSliceMut, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::token::Foreign;

fn path(pid: u32, file: &str) -> String {
    format!("/proc/{pid}/{file}")
}

/// The name of the thread-group leader, with the line's end; `None` if it ended.
pub(crate) fn comm(pid: u32) -> Option<Vec<u8>> {
    fs::read(path(pid, "comm")).ok()
}

/// Whether there is such a process, be it that nobody has waited for its end.
pub(crate) fn is_there(pid: u32) -> bool {
    fs::exists(path(pid, "comm")).unwrap_or(true)
}

/// Where it stands in each cgroup hierarchy. What of a cgroup's name isn't UTF-8 is `�`.
pub(crate) fn cgroup(pid: u32) -> Option<String> {
    Some(lossy(fs::read(path(pid, "cgroup")).ok()?))
}

/// The path of its executable, as the kernel writes it.
pub(crate) fn executable(pid: u32) -> Option<PathBuf> {
    fs::read_link(path(pid, "exe")).ok()
}

/// The folder in which it works, as the kernel writes it.
pub(crate) fn working_directory(pid: u32) -> Option<PathBuf> {
    fs::read_link(path(pid, "cwd")).ok()
}

/// The user that it belongs to, by the real id.
pub(crate) fn user(pid: u32) -> Option<u32> {
    let text = lossy(fs::read(path(pid, "status")).ok()?);
    let ids = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether it has threads beside the leader, or instead of it.
pub(crate) fn has_threads(pid: u32) -> bool {
    fs::read_dir(path(pid, "task")).is_ok_and(|tasks| tasks.count() > 1)
}

/// Its threads.
pub(crate) fn threads(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(path(pid, "task")).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect()
}

/// Whether a thread of it is there.
pub(crate) fn has_thread(pid: u32, tid: u32) -> bool {
    fs::exists(path(pid, &format!("task/{tid}/comm"))).unwrap_or(true)
}

/// The number of a thread of it in its own PID namespace.
pub(crate) fn inner_id(_: &Foreign, pid: u32, tid: u32) -> Option<u32> {
    let status = lossy(fs::read(path(pid, &format!("task/{tid}/status"))).ok()?);
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().next_back()?.parse().ok()
}

/// All processes.
pub(crate) fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// See proc(5).
pub(crate) fn stat(_: &Foreign, pid: u32) -> Option<Vec<u8>> {
    fs::read(path(pid, "stat")).ok()
}

/// The beginning of its environment, of at most `limit` bytes.
///
/// # Errors
/// It isn't ours to read, or the process ended.
pub(crate) fn environ(_: &Foreign, pid: u32, limit: u64) -> io::Result<Vec<u8>> {
    read(&path(pid, "environ"), limit)
}

/// The beginning of its arguments, of at most `limit` bytes; nothing of a thread of the
/// kernel.
///
/// # Errors
/// It isn't ours to read, or the process ended.
pub(crate) fn cmdline(_: &Foreign, pid: u32, limit: u64) -> io::Result<Vec<u8>> {
    read(&path(pid, "cmdline"), limit)
}

/// Fills `into` with its memory at `address`; `None` if not all of it is there.
pub(crate) fn memory(_: &Foreign, pid: u32, address: u64, into: &mut [u8]) -> Option<()> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    let (base, len) = (usize::try_from(address).ok()?, into.len());
    let there = [RemoteIoVec { base, len }];
    let read = process_vm_readv(pid, &mut [IoSliceMut::new(into)], &there);
    (read.ok()? == len).then_some(())
}

/// See proc(5). What of the process's name isn't UTF-8 is `�`.
pub(crate) fn status(_: &Foreign, pid: u32) -> Option<String> {
    Some(lossy(fs::read(path(pid, "status")).ok()?))
}

/// How many descriptors it has open. Since Linux 6.2 the kernel counts, before that who
/// asks. `None` if it ended, or isn't ours to look at.
pub(crate) fn descriptors(_: &Foreign, pid: u32) -> Option<u64> {
    let folder = path(pid, "fd");
    match fs::metadata(&folder).ok()?.len() {
        0 => Some(fs::read_dir(folder).ok()?.count() as u64),
        counted => Some(counted),
    }
}

/// How many descriptors it may have open: the soft limit; `None` without one.
pub(crate) fn descriptor_limit(_: &Foreign, pid: u32) -> Option<u64> {
    let text = lossy(fs::read(path(pid, "limits")).ok()?);
    let mut lines = text.lines();
    let limits = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    limits.split_ascii_whitespace().next()?.parse().ok()
}

/// The beginning of what it has mapped, of at most `limit` bytes; nothing of a thread of
/// the kernel.
///
/// # Errors
/// It isn't ours to read, or the process ended.
pub(crate) fn maps(_: &Foreign, pid: u32, limit: u64) -> io::Result<Vec<u8>> {
    read(&path(pid, "maps"), limit)
}

/// The very file that is mapped from `start` to `end`, as a path only; also if it was
/// deleted. It takes `CAP_SYS_ADMIN` (or `CAP_CHECKPOINT_RESTORE` since 5.9).
pub(crate) fn mapped_file(_: &Foreign, pid: u32, start: u64, end: u64) -> Option<File> {
    open_path(&path(pid, &format!("map_files/{start:x}-{end:x}")))
}

/// Its program's file, as a path only.
pub(crate) fn program(_: &Foreign, pid: u32) -> Option<File> {
    open_path(&path(pid, "exe"))
}

/// Its root directory, as a path only.
pub(crate) fn root(_: &Foreign, pid: u32) -> Option<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path(pid, "root").as_str(), flags, Mode::empty()).ok()
}

/// Which root directory it has.
pub(crate) fn root_metadata(_: &Foreign, pid: u32) -> Option<Metadata> {
    fs::metadata(path(pid, "root")).ok()
}

/// Its mount namespace.
pub(crate) fn mount_namespace(pid: u32) -> Option<File> {
    File::open(path(pid, "ns/mnt")).ok()
}

/// The number of its mount namespace.
pub(crate) fn mount_namespace_number(pid: u32) -> Option<u64> {
    Some(fs::metadata(path(pid, "ns/mnt")).ok()?.ino())
}

/// Its network namespace.
pub(crate) fn network_namespace(pid: u32) -> Option<File> {
    File::open(path(pid, "ns/net")).ok()
}

/// The number of its network namespace.
pub(crate) fn network_namespace_number(pid: u32) -> Option<u64> {
    Some(fs::metadata(path(pid, "ns/net")).ok()?.ino())
}

/// Names in these files are whatever bytes somebody chose; what stands beside them counts
/// all the same.
fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn open_path(path: &str) -> Option<File> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(flags).open(path).ok()
}

fn read(path: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
