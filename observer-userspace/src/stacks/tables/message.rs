//! What the thread that builds tables is told, and what it answers.

use std::fs::File;
use std::io::{PipeWriter, Write};
use std::sync::mpsc;

use observer_unwind::{BuildError, Inputs, Table};

use crate::foreign::{FileId, Tenant, Unreadable};

/// By which a file is taken for a copy of another until both are compared: build id and
/// length. Anybody can give his file those of another.
pub(in crate::stacks) type Likeness = (String, u64);

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
    /// There is no room for it now.
    Evicted,
}

/// To who orders tables.
#[derive(Debug)]
pub(in crate::stacks) enum Answer {
    /// What became of the one of a file.
    Of(FileId, News),
    /// The table of this name was in use least recently and had to make room.
    Gone(u32),
}

/// Where news goes.
pub(super) struct Answers {
    pub(super) news: mpsc::Sender<Answer>,
    /// Written a byte when there is some.
    pub(super) wake: PipeWriter,
}

impl Answers {
    pub(super) fn tell(&mut self, answer: Answer) {
        // Nobody listens any more when the daemon ends.
        let _ = self.news.send(answer);
        let _ = self.wake.write(&[0]);
    }
}

/// A file to build a table of.
pub(super) struct Order {
    pub(super) id: FileId,
    /// `None` for one without a build id: it is like no other.
    pub(super) likeness: Option<Likeness>,
    pub(super) file: File,
    /// Who has it mapped.
    pub(super) tenant: Tenant,
}

// The smallest file first: most programs need it.
impl Ord for Order {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.id.length, other.id).cmp(&(self.id.length, self.id))
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
    Built(Wanted, Box<Built>),
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

/// A table, `None` where the file has no unwinding information; and what it was made of.
pub(super) type Built = Result<(Option<Table>, Option<Inputs>), NotBuilt>;

/// Whose table is built, and for whom.
pub(super) type Wanted = (FileId, Option<Likeness>, Tenant);
