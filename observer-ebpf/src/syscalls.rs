//! Syscalls: calls, failures and durations by workload.
//!
//! A call whose beginning wasn't seen is counted at its end, without duration:
//! one that is older than the daemon, and all of them while `syscalls_enter`
//! isn't attached to save costs. So each call is counted once, whenever that
//! one comes or goes. One whose end wasn't seen is counted when its thread makes
//! its next.

use observer_common::loss::Loss;
use observer_common::offsets::MISSING;
use observer_common::slot::{CLONED, Slot};
use observer_common::syscalls::error_label;
use observer_common::tally::Kind;
use observer_common::workload::WorkloadId;

use crate::kernel::{offset, read, setting};
use crate::loss::lost;
use crate::tally;
use crate::thread::label_of;

/// Largest errno that a syscall can return (`MAX_ERRNO`, include/linux/err.h).
const MAX_ERRNO: u64 = 4095;

/// Counts the call `syscall` of the slot's thread, which ends at `ended`.
#[inline(always)]
pub fn timed(slot: &Slot, syscall: u32, ended: u64) {
    tally::record_local(
        Kind::SyscallDuration,
        slot.syscall_workload,
        u64::from(syscall),
        ended.saturating_sub(slot.syscall_start),
    );
}

/// Counts a call that ends and whose beginning wasn't seen.
#[inline(always)]
pub fn untimed(slot: &Slot, registers: *const u8, result: i64) {
    // Some calls have forgotten who they are: rt_sigreturn brings back other
    // registers.
    let number = if offset!(pt_regs_syscall) == MISSING {
        u64::MAX
    } else {
        // On x86_64 a long, elsewhere an int: small numbers are the same.
        u64::from(read!(registers, pt_regs_syscall, u32))
    };
    let syscall = label_of(registers, number);
    tally::count_local(Kind::SyscallUntimed, slot.workload, u64::from(syscall), 1);
    failed(slot.workload, syscall, result);
}

/// The slot's thread makes its next call. Counts the one before if its end wasn't
/// seen: another thread was in the program for it, and had lost this CPU there.
#[inline(always)]
pub fn ended_unseen(slot: &Slot) {
    let syscall = slot.syscall;
    if setting!(preemptible) != 0 && syscall < CLONED {
        lost(Loss::SyscallEndMissed);
        let workload = slot.syscall_workload;
        tally::count_local(Kind::SyscallUntimed, workload, u64::from(syscall), 1);
    }
}

/// Counts a call that ends, if it failed.
#[inline(always)]
pub fn failed(workload: WorkloadId, syscall: u32, result: i64) {
    let errno = (result as u64).wrapping_neg();
    if errno.wrapping_sub(1) < MAX_ERRNO {
        let label = error_label(syscall, errno as u32);
        tally::count_local(Kind::SyscallErrors, workload, label, 1);
    }
}
