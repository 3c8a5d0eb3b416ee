//! What Observer knows of system calls: one row each. Where they have the bytes
//! that they send or receive, what they may wait for, and whether waiting is what
//! they are for. The kernel half's table, the attribute `syscall.wait` and the
//! reasons of time off CPU are made of it.

use observer_common::requests::{SENDS, SYSCALLS, Shape, Wait};

use super::syscall_names::table_name;
use observer_signals::Reason;

/// A system call of some machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// Its name, as in the kernel's tables.
    pub name: &'static str,
    /// Where it has its bytes.
    pub shape: Shape,
    /// Whether these are sent.
    pub sends: bool,
    /// What it waits for, if it may wait.
    pub waits_for: Option<WaitsFor>,
    /// Whether its purpose is to wait for somebody else. Reads and writes may
    /// block, too, but they also do work.
    pub is_wait: bool,
}

/// What a system call can wait for, by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// A socket.
    Socket,
    /// A file that may be a socket, a pipe or on a disk.
    Stream,
    /// A lock that another thread holds.
    Lock,
    /// The clock.
    Sleep,
    /// Any of several files.
    Poll,
    /// Any of several files by epoll, as event loops do.
    EventLoop,
    /// I/O that was begun before.
    Completion,
    /// A message of another process.
    Message,
    /// A child.
    Child,
    /// A signal.
    Signal,
    /// A disk.
    Disk,
}

impl WaitsFor {
    /// What that is to the kernel half.
    fn class(self) -> Wait {
        match self {
            Self::Socket => Wait::Network,
            Self::Stream => Wait::Stream,
            Self::Lock => Wait::Lock,
            Self::Sleep => Wait::Sleep,
            Self::Poll => Wait::Poll,
            Self::EventLoop => Wait::EventLoop,
            // It knows a disk by the thread's state.
            Self::Completion | Self::Message | Self::Child | Self::Signal | Self::Disk => {
                Wait::Other
            }
        }
    }

    /// The reason of a thread's time off CPU, where nothing better is known.
    fn reason(self) -> Option<Reason> {
        match self {
            Self::Socket => Some(Reason::Socket),
            Self::Stream => None,
            Self::Lock => Some(Reason::Lock),
            Self::Sleep => Some(Reason::Sleep),
            Self::Poll | Self::EventLoop | Self::Completion => Some(Reason::Poll),
            Self::Message => Some(Reason::Pipe),
            Self::Child => Some(Reason::Child),
            Self::Signal => Some(Reason::Signal),
            Self::Disk => Some(Reason::Disk),
        }
    }
}

impl Syscall {
    /// One of which nothing is known but the name.
    const fn named(name: &'static str) -> Self {
        Self {
            name,
            shape: Shape::None,
            sends: false,
            waits_for: None,
            is_wait: false,
        }
    }

    /// It receives bytes.
    const fn receives(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// It sends bytes.
    const fn sends(self, shape: Shape) -> Self {
        Self {
            shape,
            sends: true,
            ..self
        }
    }

    /// It may wait, beside doing its work.
    const fn may_wait(self, waits_for: WaitsFor) -> Self {
        Self {
            waits_for: Some(waits_for),
            ..self
        }
    }

    /// It is there to wait.
    const fn waits(self, waits_for: WaitsFor) -> Self {
        Self {
            is_wait: true,
            ..self.may_wait(waits_for)
        }
    }

    /// It is there to wait, for whatever another one waited for.
    const fn waits_on(self) -> Self {
        Self {
            is_wait: true,
            ..self
        }
    }
}

const fn call(name: &'static str) -> Syscall {
    Syscall::named(name)
}

/// All of which more is known than their names, of 64-bit and 32-bit tables.
static TABLE: &[Syscall] = &[
    // Streams.
    call("read")
        .receives(Shape::Buffer)
        .may_wait(WaitsFor::Stream),
    call("write")
        .sends(Shape::Buffer)
        .may_wait(WaitsFor::Stream),
    call("readv")
        .receives(Shape::Vector)
        .may_wait(WaitsFor::Stream),
    call("writev")
        .sends(Shape::Vector)
        .may_wait(WaitsFor::Stream),
    call("preadv2").receives(Shape::Vector),
    call("pwritev2").sends(Shape::Vector),
    call("sendfile")
        .sends(Shape::File)
        .may_wait(WaitsFor::Stream),
    call("splice").may_wait(WaitsFor::Stream),
    // Sockets.
    call("sendto")
        .sends(Shape::Buffer)
        .may_wait(WaitsFor::Socket),
    call("recvfrom")
        .receives(Shape::Buffer)
        .may_wait(WaitsFor::Socket),
    call("sendmsg")
        .sends(Shape::Message)
        .may_wait(WaitsFor::Socket),
    call("recvmsg")
        .receives(Shape::Message)
        .may_wait(WaitsFor::Socket),
    call("sendmmsg")
        .sends(Shape::Messages)
        .may_wait(WaitsFor::Socket),
    call("recvmmsg")
        .receives(Shape::Messages)
        .may_wait(WaitsFor::Socket),
    call("connect").may_wait(WaitsFor::Socket),
    call("accept").waits(WaitsFor::Socket),
    call("accept4").waits(WaitsFor::Socket),
    // Locks.
    call("futex").waits(WaitsFor::Lock),
    call("futex_time64").waits(WaitsFor::Lock),
    call("futex_wait").waits(WaitsFor::Lock),
    call("futex_waitv").waits(WaitsFor::Lock),
    call("flock").waits(WaitsFor::Lock),
    call("semop").waits(WaitsFor::Lock),
    call("semtimedop").waits(WaitsFor::Lock),
    // The clock.
    call("nanosleep").waits(WaitsFor::Sleep),
    call("clock_nanosleep").waits(WaitsFor::Sleep),
    call("clock_nanosleep_time64").waits(WaitsFor::Sleep),
    // Several files.
    call("poll").waits(WaitsFor::Poll),
    call("ppoll").waits(WaitsFor::Poll),
    call("ppoll_time64").waits(WaitsFor::Poll),
    call("select").waits(WaitsFor::Poll),
    call("_newselect").waits(WaitsFor::Poll),
    call("pselect6").waits(WaitsFor::Poll),
    call("pselect6_time64").waits(WaitsFor::Poll),
    call("io_uring_enter").waits(WaitsFor::Poll),
    call("epoll_wait").waits(WaitsFor::EventLoop),
    call("epoll_pwait").waits(WaitsFor::EventLoop),
    call("epoll_pwait2").waits(WaitsFor::EventLoop),
    call("io_getevents").waits(WaitsFor::Completion),
    call("io_pgetevents").waits(WaitsFor::Completion),
    // Other processes.
    call("msgrcv").waits(WaitsFor::Message),
    call("msgsnd").may_wait(WaitsFor::Message),
    call("mq_timedreceive").waits(WaitsFor::Message),
    call("mq_timedsend").may_wait(WaitsFor::Message),
    call("wait4").waits(WaitsFor::Child),
    call("waitid").waits(WaitsFor::Child),
    call("waitpid").waits(WaitsFor::Child),
    call("vfork").may_wait(WaitsFor::Child),
    // Signals.
    call("pause").waits(WaitsFor::Signal),
    call("sigsuspend").waits(WaitsFor::Signal),
    call("rt_sigsuspend").waits(WaitsFor::Signal),
    call("rt_sigtimedwait").waits(WaitsFor::Signal),
    call("rt_sigtimedwait_time64").waits(WaitsFor::Signal),
    // Disks.
    call("fsync").may_wait(WaitsFor::Disk),
    call("fdatasync").may_wait(WaitsFor::Disk),
    call("sync").may_wait(WaitsFor::Disk),
    call("syncfs").may_wait(WaitsFor::Disk),
    call("msync").may_wait(WaitsFor::Disk),
    call("restart_syscall").waits_on(),
];

/// What is known of the call with this label.
fn known(label: u32) -> Option<&'static Syscall> {
    let name = table_name(label)?;
    TABLE.iter().find(|syscall| syscall.name == name)
}

/// Whether the call with this label is there to wait.
pub fn is_wait(label: u32) -> bool {
    known(label).is_some_and(|syscall| syscall.is_wait)
}

/// What a thread waits for in the call with this label, where nothing better is
/// known.
pub fn reason(label: u32) -> Option<Reason> {
    known(label)?.waits_for?.reason()
}

/// Whether the call with this label waits in a futex.
pub fn is_futex(label: u32) -> bool {
    known(label).is_some_and(|call| call.name.starts_with("futex"))
}

/// This machine's table, as [`observer_common::config::Config::syscalls`] has it.
pub(super) fn classes() -> [u8; SYSCALLS] {
    std::array::from_fn(|number| {
        known(number as u32).map_or(0, |syscall| {
            let wait = syscall.waits_for.map_or(Wait::Other, WaitsFor::class);
            let sends = if syscall.sends { SENDS } else { 0 };
            (syscall.shape as u8) << 4 | wait as u8 | sends
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::syscall_names::{compat_name, name, native_name};

    /// Checks that every row is a syscall of some table, and has no other.
    #[test]
    fn every_row_exists_once() {
        let is_known = |wanted: &str| {
            (0..1024).any(|n| native_name(n) == Some(wanted) || compat_name(n) == Some(wanted))
        };
        for (at, syscall) in TABLE.iter().enumerate() {
            assert!(is_known(syscall.name), "{} is in no table", syscall.name);
            let before = &TABLE[..at];
            assert!(
                before.iter().all(|other| other.name != syscall.name),
                "{syscall:?}"
            );
        }
    }

    /// Checks that every call of this machine that has a row is in the kernel
    /// half's table, by libc's numbers of some.
    #[test]
    fn classes_are_by_number() {
        let table = classes();
        let class = |number: libc::c_long| table[number as usize];
        let bits = |shape: Shape, wait: Wait| (shape as u8) << 4 | wait as u8;
        assert_eq!(class(libc::SYS_read), bits(Shape::Buffer, Wait::Stream));
        assert_eq!(
            class(libc::SYS_write),
            bits(Shape::Buffer, Wait::Stream) | SENDS
        );
        assert_eq!(
            class(libc::SYS_recvmmsg),
            bits(Shape::Messages, Wait::Network)
        );
        assert_eq!(
            class(libc::SYS_sendfile),
            bits(Shape::File, Wait::Stream) | SENDS
        );
        assert_eq!(class(libc::SYS_preadv2), bits(Shape::Vector, Wait::Other));
        assert_eq!(class(libc::SYS_semop), bits(Shape::None, Wait::Lock));
        assert_eq!(class(libc::SYS_semtimedop), bits(Shape::None, Wait::Lock));
        assert_eq!(
            class(libc::SYS_io_uring_enter),
            bits(Shape::None, Wait::Poll)
        );
        assert_eq!(
            class(libc::SYS_epoll_pwait2),
            bits(Shape::None, Wait::EventLoop)
        );
        assert_eq!(class(libc::SYS_wait4), bits(Shape::None, Wait::Other));
        assert_eq!(class(libc::SYS_getppid), 0);
        let mut native = (0..1024).filter(|number| known(*number).is_some());
        assert!(native.all(|number| (number as usize) < SYSCALLS));
    }

    /// Checks that what is a lock in one place is one everywhere, and what the
    /// three users say of some others.
    #[test]
    fn all_users_agree() {
        let table = classes();
        for number in 0..SYSCALLS as u32 {
            let is_lock = table[number as usize] & 7 == Wait::Lock as u8;
            assert_eq!(
                reason(number) == Some(Reason::Lock),
                is_lock,
                "{}",
                name(number)
            );
        }
        let label = |number: libc::c_long| number as u32;
        assert_eq!(reason(label(libc::SYS_semop)), Some(Reason::Lock));
        assert_eq!(reason(label(libc::SYS_msgrcv)), Some(Reason::Pipe));
        assert_eq!(reason(label(libc::SYS_read)), None);
        assert!(is_wait(label(libc::SYS_semop)) && is_wait(label(libc::SYS_wait4)));
        assert!(!is_wait(label(libc::SYS_read)) && !is_wait(label(libc::SYS_fsync)));
    }
}
