//! Syscalls: calls, failures and durations by workload.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::loss::Loss;
use observer_common::offsets::MISSING;
use observer_common::slot::{CLONED, NO_SYSCALL};
use observer_common::syscalls::{error_label, label};
use observer_common::tally::Kind;

use crate::identity::here;
use crate::kernel::{current, now, offset, read, setting};
use crate::loss::lost;
use crate::offcpu;
use crate::requests;
use crate::tally;
use crate::tcp;

/// `TS_COMPAT` of arch/x86/include/asm/thread_info.h.
const TS_COMPAT: u32 = 2;

/// Largest errno that a syscall can return (`MAX_ERRNO`, include/linux/err.h).
const MAX_ERRNO: i64 = 4095;

/// Whether the current thread used the 32-bit table for its syscall.
#[inline(always)]
pub fn is_compat() -> bool {
    offset!(task_thread_status) != MISSING
        && read!(current(), task_thread_status, u32) & TS_COMPAT != 0
}

#[btf_tracepoint(function = "sys_enter")]
pub fn syscalls_enter(ctx: BtfTracePointContext) -> i32 {
    let Some(slot) = here() else { return 0 };
    slot.syscall = label(ctx.arg::<u64>(1), is_compat());
    slot.syscall_workload = slot.workload;
    slot.syscall_start = now();
    slot.calls = slot.calls.wrapping_add(1);
    0
}

#[btf_tracepoint(function = "sys_exit")]
pub fn syscalls_exit(ctx: BtfTracePointContext) -> i32 {
    let ended = now();
    let Some(slot) = here() else { return 0 };
    offcpu::syscall_ends(slot);
    requests::returned(slot, ctx.arg(1));
    if slot.syscall >= CLONED {
        if slot.syscall == NO_SYSCALL {
            lost(Loss::SyscallUnmatched);
        }
        slot.syscall = NO_SYSCALL;
        return 0;
    }
    let (syscall, workload) = (slot.syscall, slot.syscall_workload);
    slot.syscall = NO_SYSCALL;
    tally::record_local(
        Kind::SyscallDuration,
        workload,
        u64::from(syscall),
        ended.saturating_sub(slot.syscall_start),
    );
    let result: i64 = ctx.arg(1);
    if syscall == setting!(connect) {
        tcp::connect_returned(slot, ended, result);
    }
    if result < 0 && result >= -MAX_ERRNO {
        tally::count(
            Kind::SyscallErrors,
            workload,
            error_label(syscall, -result as u32),
            1,
        );
    }
    0
}
