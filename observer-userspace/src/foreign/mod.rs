//! Whatever belongs to other processes and may keep a reader waiting for ever: their
//! memory, what is mapped there, their files.
//!
//! The kernel makes who reads `environ`, `cmdline`, `map_files` or, before 6.17, `maps`
//! wait for the lock of that process's memory map; the process can see to it that it is
//! never free (a page fault that its own file system doesn't answer). Whoever opens a
//! file, or asks for its size, waits for the file system that it is on. So nothing of
//! this is done by a thread that anything waits for: [`ask`] hands it to a *reader*, a
//! thread that may be lost, and gives up when that one waited too long for something
//! that isn't a CPU. What it was about is *set aside* until that reader comes back.
//!
//! What needs a [`Foreign`] can only be called by a reader.
//!
//! - [`readers`]: the threads
//! - [`aside`]: what doesn't answer, and for how many of whom readers may wait
//! - [`patience`]: how long a thread waited
//! - [`token`]: what only they have
//! - [`file_id`]: which file it is, whoever says what of it
//! - [`memory`]: a process's memory, for what reads a language's runtime
//! - [`cgroup`]: files of cgroups
//! - [`process`]: what `/proc/PID` says, and who may ask for it
//! - [`tenant`]: whose a process is
//! - [`refusals`]: who found no room in what all share

mod aside;
pub(crate) mod cgroup;
pub(crate) mod file_id;
mod memory;
mod patience;
pub(crate) mod process;
mod readers;
mod refusals;
mod tenant;
mod token;

use std::time::Duration;

use observer_export::self_stats::SetAside;

pub(crate) use aside::Subject;
pub(crate) use file_id::FileId;
pub(crate) use memory::ProcessMemory;
pub(crate) use refusals::{refusals, refused, refused_times};
pub(crate) use tenant::Tenant;
pub(crate) use token::Foreign;

/// How long who can't wait has a reader wait: the agent's loop.
pub(crate) const SHORTLY: Duration = Duration::from_millis(250);

/// The same for who has the time, but other things to look at: the threads that name
/// stacks and look for libraries.
pub(crate) const A_WHILE: Duration = Duration::from_secs(2);

/// Why something is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It was asked and didn't answer.
    #[error("it doesn't answer")]
    Late,
    /// It didn't answer before, and still doesn't.
    #[error("it still doesn't answer")]
    Aside,
    /// Too many readers wait, for the same user or altogether.
    #[error("too much else doesn't answer")]
    Full,
    /// The reader failed.
    #[error("the reader failed")]
    Failed,
}

/// Has a reader do `work`, which is about `subject`, and waits for what comes of it. The
/// reader may wait for `patience` altogether: for anything but a CPU.
///
/// # Errors
/// There is no answer.
pub(crate) fn ask<T: Send + 'static>(
    subject: Subject,
    patience: Duration,
    work: impl FnOnce(&Foreign) -> T + Send + 'static,
) -> Result<T, Unreadable> {
    readers::ALL.ask(subject, patience, work)
}

/// What readers wait for at the moment.
pub(crate) fn set_aside() -> Vec<SetAside> {
    readers::ALL.set_aside()
}

/// How often there was no answer, since the start.
pub(crate) fn unanswered() -> u64 {
    readers::ALL.unanswered()
}
