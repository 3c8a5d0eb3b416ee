//! What the thread that builds tables is told, and what it answers.

use std::fs::File;

use observer_unwind::{BuildError, Table};

use super::super::module::FileId;
use crate::foreign::Unreadable;

/// Which file: its build id and length, or device, inode, length and time of
/// modification.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::stacks) enum FileKey {
    /// A file with a build id.
    BuildId(String, u64),
    /// One without.
    Inode(u64, u64, u64, i64),
}

/// What became of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stacks) enum News {
    /// It can be used: its name (`observer_common::unwind::table`), and the address in the file to which its own
    /// are relative.
    Ready(u32, u64),
    /// The file has no unwinding information.
    Empty,
    /// It can't be built, or is larger than all tables may be.
    Failed,
    /// It was in use least recently and had to make room, or there is no room
    /// for it now.
    Evicted,
}

/// A file to build a table of.
pub(super) struct Order {
    pub(super) key: FileKey,
    pub(super) file: File,
    pub(super) id: FileId,
}

// The smallest file first: most programs need it.
impl Ord for Order {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.id.length, &other.key).cmp(&(self.id.length, &self.key))
    }
}
impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Order {}

/// To the thread.
pub(super) enum Message {
    /// Build the table of a file.
    Order(Order),
    /// A large file's table.
    Built(FileKey, Box<Built>),
    /// Nobody needs tables any more.
    End,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotBuilt {
    /// The file can't be understood.
    #[error(transparent)]
    File(#[from] BuildError),
    /// The file can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// A table; `None` where the file has no unwinding information.
pub(super) type Built = Result<Option<Table>, NotBuilt>;
