//! What a thread waited for, told from the kernel functions in which it did.
//!
//! The function nearest to the wait that is known decides. Where the kernel
//! hides its functions' names, the syscall does. In a futex, it's the program's functions
//! ([`user_functions`]): only they tell a lock from having nothing to do.
//!
//! A stack that the kernel walks for somebody else leaves out its scheduler's
//! functions, and those of its own locks are among them. What is left is how
//! they wait: out of reach of signals, and not for I/O.

mod kernel_functions;
mod user_functions;

use observer_common::cpu::IN_IOWAIT;
use observer_common::slot::NO_SYSCALL;
use observer_common::syscalls::COMPAT;

use super::raw::Wait;
use crate::kernel::syscalls;
use kernel_functions::FUNCTIONS;
use observer_signals::wait::{Reason, ThreadState, Waited};
pub(super) use user_functions::DEPTH;

/// Functions under which everything is a page fault, also reading a disk.
const FAULTS: &[&str] = &[
    "exc_page_fault",
    "asm_exc_page_fault",
    "do_user_addr_fault",
    "do_page_fault",
    "do_mem_abort",
    "handle_mm_fault",
    "handle_userfault",
];

/// Bits of the kernel's task state (include/linux/sched.h).
const TASK_UNINTERRUPTIBLE: u8 = 2;
const TASK_STOPPED: u8 = 4;
const TASK_TRACED: u8 = 8;

/// How a thread was off CPU; `kernel` and `user` are the names of its functions, leaf
/// first.
pub(super) fn explain<'a>(
    wait: Wait,
    kernel: impl Iterator<Item = &'a str> + Clone,
    user: impl Iterator<Item = &'a str> + Clone,
) -> Waited {
    let Wait::Blocked {
        state,
        syscall,
        in_request,
    } = wait
    else {
        return Waited {
            reason: Reason::RunQueue,
            state: ThreadState::Runnable,
            in_request: false,
        };
    };
    let in_futex = is_futex(syscall, kernel.clone());
    let is_named = kernel.clone().next().is_some();
    let locked = state & TASK_UNINTERRUPTIBLE != 0 && state & IN_IOWAIT == 0;
    let reason =
        if state & (TASK_STOPPED | TASK_TRACED) != 0 {
            Reason::Stopped
        } else if kernel.clone().any(|name| FAULTS.contains(&name)) {
            Reason::PageFault
        } else {
            match of_functions(kernel).or_else(|| of_syscall(syscall)) {
                // These wait so that signals wake them.
                Some(
                    Reason::Socket | Reason::Pipe | Reason::Poll | Reason::Signal | Reason::Tty,
                ) if locked => Reason::Lock,
                Some(Reason::Lock) if in_futex => user_functions::in_futex(user),
                Some(reason) => reason,
                None if state & IN_IOWAIT != 0 => Reason::Disk,
                None if locked && is_named && syscall != NO_SYSCALL => Reason::Lock,
                None => Reason::Other,
            }
        };
    let state = if state & TASK_TRACED != 0 {
        ThreadState::Traced
    } else if state & TASK_STOPPED != 0 {
        ThreadState::Stopped
    } else if state & TASK_UNINTERRUPTIBLE != 0 {
        ThreadState::Uninterruptible
    } else {
        ThreadState::Interruptible
    };
    Waited {
        reason,
        state,
        in_request,
    }
}

/// Whether the wait is a futex's, and not for one of the kernel's own locks.
fn is_futex<'a>(syscall: u32, mut kernel: impl Iterator<Item = &'a str> + Clone) -> bool {
    let known = |name: &&str| FUNCTIONS.iter().any(|(start, _)| name.starts_with(start));
    match kernel.find(known) {
        Some(name) => name.contains("futex"),
        None => of_syscall(syscall).is_some() && syscalls::is_futex(syscall),
    }
}

fn of_functions<'a>(mut kernel: impl Iterator<Item = &'a str>) -> Option<Reason> {
    kernel.find_map(|name| {
        let known = FUNCTIONS.iter().find(|(start, _)| name.starts_with(start));
        known.map(|(_, reason)| *reason)
    })
}

fn of_syscall(label: u32) -> Option<Reason> {
    if label == NO_SYSCALL || label & COMPAT != 0 {
        return None;
    }
    syscalls::reason(label)
}

/// Whether the function only belongs to the switch itself, or to its being
/// observed: every stack off CPU ends in the same ones.
pub(super) fn is_switch(name: &str) -> bool {
    matches!(name, "schedule" | "__schedule" | "__switch_to_asm")
        || [
            "bpf_prog_",
            "bpf_trampoline_",
            "__traceiter_",
            "bpf_trace_run",
            "__bpf_trace_",
            "__bpf_get_",
            "bpf_get_",
        ]
        .iter()
        .any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(state: u8, syscall: i64, kernel: &[&str]) -> Reason {
        let syscall = u32::try_from(syscall).unwrap_or(NO_SYSCALL);
        let wait = Wait::Blocked {
            state,
            syscall,
            in_request: false,
        };
        let user = ["pthread_mutex_lock", "main"].into_iter();
        explain(wait, kernel.iter().copied(), user).reason
    }

    /// Checks whole stacks of the kernel's (6.18, x86_64; an older name where
    /// one was changed), leaf first.
    #[test]
    fn stacks_of_the_kernel() {
        let syscall = ["do_syscall_64", "entry_SYSCALL_64_after_hwframe"];
        for (stack, expected) in [
            (
                "futex_do_wait __futex_wait futex_wait do_futex __x64_sys_futex",
                Reason::Lock,
            ),
            (
                "rwsem_down_write_slowpath down_write vma_start_write vm_mmap",
                Reason::Lock,
            ),
            (
                "__mutex_lock.constprop.0 mutex_lock anon_pipe_read vfs_read",
                Reason::Lock,
            ),
            ("anon_pipe_read vfs_read ksys_read", Reason::Pipe),
            ("pipe_read vfs_read ksys_read", Reason::Pipe),
            ("eventfd_read vfs_read ksys_read", Reason::Pipe),
            (
                "schedule_timeout wait_woken sk_wait_data tcp_recvmsg_locked tcp_recvmsg",
                Reason::Socket,
            ),
            (
                "schedule_timeout unix_stream_read_generic unix_stream_recvmsg",
                Reason::Socket,
            ),
            (
                "schedule_timeout inet_csk_accept inet_accept do_accept",
                Reason::Socket,
            ),
            (
                "schedule_hrtimeout_range_clock ep_poll do_epoll_wait",
                Reason::Poll,
            ),
            (
                "schedule_hrtimeout_range poll_schedule_timeout.constprop.0 do_sys_poll",
                Reason::Poll,
            ),
            ("io_cqring_wait __do_sys_io_uring_enter", Reason::Poll),
            (
                "do_nanosleep hrtimer_nanosleep common_nsleep __x64_sys_clock_nanosleep",
                Reason::Sleep,
            ),
            ("do_wait kernel_wait4 __do_sys_wait4", Reason::Child),
            (
                "do_sigtimedwait.isra.0 __x64_sys_rt_sigtimedwait",
                Reason::Signal,
            ),
            ("wait_woken n_tty_read tty_read vfs_read", Reason::Tty),
            (
                "io_schedule folio_wait_bit_common filemap_get_pages filemap_read",
                Reason::Disk,
            ),
            (
                "blk_io_schedule __iomap_dio_rw iomap_dio_rw ext4_file_read_iter",
                Reason::Disk,
            ),
            ("jbd2_log_wait_commit ext4_sync_file", Reason::Disk),
            (
                "io_schedule folio_wait_bit_common filemap_fault __do_fault handle_mm_fault \
                 do_user_addr_fault exc_page_fault asm_exc_page_fault",
                Reason::PageFault,
            ),
            ("something_new vfs_read ksys_read", Reason::Other),
        ] {
            let mut stack: Vec<&str> = stack.split_whitespace().collect();
            stack.splice(0..0, ["__schedule", "schedule"]);
            stack.extend(syscall);
            assert_eq!(reason(1, -1, &stack), expected, "{stack:?}");
        }
    }

    /// Checks that a lock of the kernel's is found where the walk left out its
    /// functions.
    #[test]
    fn locks_left_out() {
        let pipe = ["anon_pipe_read", "vfs_read"];
        assert_eq!(reason(1, libc::SYS_read, &pipe), Reason::Pipe);
        assert_eq!(reason(2, libc::SYS_read, &pipe), Reason::Lock);
        let mmap = ["vm_mmap_pgoff", "ksys_mmap_pgoff"];
        assert_eq!(reason(2, libc::SYS_mmap, &mmap), Reason::Lock);
        assert_eq!(reason(2 | IN_IOWAIT, libc::SYS_mmap, &mmap), Reason::Disk);
        let rcu = ["__wait_rcu_gp", "synchronize_rcu"];
        assert_eq!(reason(2, libc::SYS_umount2, &rcu), Reason::Other);
    }

    /// Checks what is known without names: by syscall, by the wait for I/O, by
    /// the state.
    #[test]
    fn without_names() {
        assert_eq!(reason(1, libc::SYS_futex, &[]), Reason::Lock);
        assert_eq!(reason(1, libc::SYS_clock_nanosleep, &[]), Reason::Sleep);
        assert_eq!(reason(1, libc::SYS_read, &[]), Reason::Other);
        assert_eq!(reason(2 | IN_IOWAIT, libc::SYS_read, &[]), Reason::Disk);
        assert_eq!(reason(4, -1, &["schedule"]), Reason::Stopped);
        let nowhere = std::iter::empty();
        let waited = explain(Wait::RunQueue, ["futex_wait"].into_iter(), nowhere);
        assert_eq!(waited.reason, Reason::RunQueue);
        assert_eq!(waited.state, ThreadState::Runnable);
    }

    /// Checks that a program's functions decide in a futex and nowhere else, and that who
    /// serves a request is said to.
    #[test]
    fn functions_of_programs() {
        let of = |kernel: &str, user: &'static str| {
            let wait = Wait::Blocked {
                state: 1,
                syscall: u32::try_from(libc::SYS_futex).expect("a number"),
                in_request: true,
            };
            explain(wait, kernel.split(' '), user.split(' '))
        };
        let waited = of("futex_wait do_futex", "pthread_cond_wait worker");
        assert_eq!((waited.reason, waited.in_request), (Reason::Parked, true));
        assert!(waited.holds_up());
        assert_eq!(of("futex_wait", "pthread_mutex_lock").reason, Reason::Lock);
        assert_eq!(of("", "pthread_cond_wait").reason, Reason::Parked);
        // A lock of the kernel's, under whatever call.
        let waited = of("__mutex_lock mutex_lock futex_wait", "pthread_cond_wait");
        assert_eq!(waited.reason, Reason::Lock);
    }

    /// Checks that no rule is hidden behind one before it.
    #[test]
    fn every_rule_can_apply() {
        for (n, (start, _)) in FUNCTIONS.iter().enumerate() {
            let hidden = FUNCTIONS[..n].iter().find(|(s, _)| start.starts_with(s));
            assert_eq!(hidden, None, "{start}");
        }
    }
}
