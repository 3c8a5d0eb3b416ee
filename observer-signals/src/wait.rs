//! Why a thread was off CPU, as people and backends read it.

/// What a thread waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A disk, or a file system that waits for one.
    Disk,
    /// A lock that somebody holds: mutex, file lock, System V semaphore, or one of the
    /// kernel's own.
    Lock,
    /// Another thread's word: condition variable, semaphore, join. Mostly a thread of a pool
    /// that has nothing to do.
    Parked,
    /// One of these two: no function that is known says which.
    Futex,
    /// A socket: data, room to send, a connection.
    Socket,
    /// A message of another thread or process: pipe, FIFO, eventfd, queue.
    Pipe,
    /// Any of several descriptors: poll, select, epoll, `io_uring`.
    Poll,
    /// Time.
    Sleep,
    /// Memory that was not there yet, also when a disk had to be read for it.
    PageFault,
    /// A child's end.
    Child,
    /// A signal.
    Signal,
    /// A terminal.
    Tty,
    /// To be continued: stopped by a signal, a debugger or a freezer.
    Stopped,
    /// Something that has no name here.
    Other,
    /// Nothing but a CPU: it could have run.
    RunQueue,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 15] = [
        Self::Disk,
        Self::Lock,
        Self::Parked,
        Self::Futex,
        Self::Socket,
        Self::Pipe,
        Self::Poll,
        Self::Sleep,
        Self::PageFault,
        Self::Child,
        Self::Signal,
        Self::Tty,
        Self::Stopped,
        Self::Other,
        Self::RunQueue,
    ];

    /// The name, as in labels and summaries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Lock => "lock",
            Self::Parked => "parked",
            Self::Futex => "futex",
            Self::Socket => "socket",
            Self::Pipe => "pipe",
            Self::Poll => "poll",
            Self::Sleep => "sleep",
            Self::PageFault => "page fault",
            Self::Child => "child",
            Self::Signal => "signal",
            Self::Tty => "tty",
            Self::Stopped => "stopped",
            Self::Other => "other",
            Self::RunQueue => "run queue",
        }
    }

    /// The name of the frame that stands for it on top of a stack.
    pub const fn frame(self) -> &'static str {
        match self {
            Self::Disk => "[disk]",
            Self::Lock => "[lock]",
            Self::Parked => "[parked]",
            Self::Futex => "[futex]",
            Self::Socket => "[socket]",
            Self::Pipe => "[pipe]",
            Self::Poll => "[poll]",
            Self::Sleep => "[sleep]",
            Self::PageFault => "[page fault]",
            Self::Child => "[child]",
            Self::Signal => "[signal]",
            Self::Tty => "[tty]",
            Self::Stopped => "[stopped]",
            Self::Other => "[other]",
            Self::RunQueue => "[run queue]",
        }
    }

    /// Whether this holds work up, whoever waits. The rest is mostly waiting for work: for
    /// time, a message, a child.
    pub const fn holds_up(self) -> bool {
        matches!(
            self,
            Self::Disk | Self::Lock | Self::PageFault | Self::RunQueue
        )
    }
}

/// A thread's state while it was off CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThreadState {
    /// It could run (R in ps).
    Runnable,
    /// It waits and a signal wakes it (S).
    Interruptible,
    /// It waits and no signal wakes it (D).
    Uninterruptible,
    /// It is stopped by a signal (T).
    Stopped,
    /// It is stopped by a debugger (t).
    Traced,
}

impl ThreadState {
    /// The name, as in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runnable => "runnable",
            Self::Interruptible => "interruptible",
            Self::Uninterruptible => "uninterruptible",
            Self::Stopped => "stopped",
            Self::Traced => "traced",
        }
    }
}

/// How a thread was off CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waited {
    /// What the thread waited for.
    pub reason: Reason,
    /// State that the kernel gave the thread.
    pub state: ThreadState,
    /// Whether it served a request meanwhile.
    pub in_request: bool,
}

impl Waited {
    /// Whether something was held up: by what never is idleness ([`Reason::holds_up`]), or
    /// a request, whatever it waited for.
    pub const fn holds_up(self) -> bool {
        self.reason.holds_up() || (self.in_request && !matches!(self.reason, Reason::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that every reason's frame is its name in brackets.
    #[test]
    fn frames_are_names() {
        for reason in Reason::ALL {
            assert_eq!(reason.frame(), format!("[{}]", reason.as_str()));
        }
    }
}
