//! Syscalls: calls, failures and durations by workload.
//!
//! A call whose beginning wasn't seen is counted at its end, without duration:
//! one that is older than the daemon, and all of them while `syscalls_enter`
//! isn't attached to save costs. So each call is counted once, whenever that
//! one comes or goes.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::offsets::MISSING;
use observer_common::slot::{CLONED, NO_SYSCALL, Slot};
use observer_common::syscalls::{error_label, label};
use observer_common::tally::Kind;

use crate::identity::here_with;
use crate::kernel::{current, now, offset, read, setting};
use crate::offcpu;
use crate::requests;
use crate::tally;
use crate::tcp;

/// `TS_COMPAT` of arch/x86/include/asm/thread_info.h.
const TS_COMPAT: u32 = 2;

/// Largest errno that a syscall can return (`MAX_ERRNO`, include/linux/err.h).
const MAX_ERRNO: u64 = 4095;

/// Whether the current thread used the 32-bit table for its syscall.
#[inline(always)]
pub fn is_compat() -> bool {
    offset!(task_thread_status) != MISSING
        && read!(current(), task_thread_status, u32) & TS_COMPAT != 0
}

/// The label of the syscall in which the current thread is, with these
/// registers.
#[inline(always)]
pub fn label_of(registers: *const u8, number: u64) -> u32 {
    // The instruction `syscall` leaves its return address in rcx (AMD64
    // Architecture Programmer's Manual 3), so it was that one, of a 64-bit
    // program. Else the thread says which table it used.
    let native = offset!(call_fourth) != MISSING
        && offset!(pt_regs_ip) != MISSING
        && read!(registers, call_fourth, u64) == read!(registers, pt_regs_ip, u64);
    label(number, !native && is_compat())
}

#[btf_tracepoint(function = "sys_enter")]
pub fn syscalls_enter(ctx: BtfTracePointContext) -> i32 {
    let registers: *const u8 = ctx.arg(0);
    if let Some(slot) = here_with(registers) {
        begins(slot, registers, ctx.arg(1));
        slot.syscall_workload = slot.workload;
    }
    0
}

/// The slot's thread begins a syscall.
#[inline(always)]
pub fn begins(slot: &mut Slot, registers: *const u8, number: u64) {
    slot.syscall = label_of(registers, number);
    slot.calls = slot.calls.wrapping_add(1);
    slot.syscall_start = now();
}

#[btf_tracepoint(function = "sys_exit")]
pub fn syscalls_exit(ctx: BtfTracePointContext) -> i32 {
    let registers: *const u8 = ctx.arg(0);
    let Some(slot) = here_with(registers) else {
        return 0;
    };
    let syscall = slot.syscall;
    let ended = if syscall < CLONED { now() } else { 0 };
    let result: i64 = ctx.arg(1);
    offcpu::syscall_ends(slot);
    requests::returned(slot, result);
    slot.syscall = NO_SYSCALL;
    if syscall < CLONED {
        tally::record_local(
            Kind::SyscallDuration,
            slot.syscall_workload,
            u64::from(syscall),
            ended.saturating_sub(slot.syscall_start),
        );
        if syscall == setting!(connect) {
            tcp::connect_returned(slot, ended, result);
        }
        failed(slot.syscall_workload, syscall, result);
    } else if syscall == NO_SYSCALL {
        untimed(slot, registers, result);
    }
    0
}

/// Counts a call that ends, if it failed.
#[inline(always)]
fn failed(workload: u32, syscall: u32, result: i64) {
    let errno = (result as u64).wrapping_neg();
    if errno.wrapping_sub(1) < MAX_ERRNO {
        let label = error_label(syscall, errno as u32);
        tally::count_local(Kind::SyscallErrors, workload, label, 1);
    }
}

/// Counts a call that ends and whose beginning wasn't seen.
#[inline(always)]
fn untimed(slot: &Slot, registers: *const u8, result: i64) {
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
