//! The programs on system calls.
//!
//! Where threads can be preempted in programs on tracepoints (Linux 7.2 and newer),
//! the kernel doesn't run a program on a CPU while a thread that lost that CPU is still
//! in it, be it behind the program's last instruction. So there a second program
//! stands behind each on the same tracepoint, and looks at those calls that the first
//! has not seen.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::loss::MadeUp;
use observer_common::slot::{CLONED, NO_SYSCALL, Slot};

use crate::identity::here_with;
use crate::kernel::{now, setting};
use crate::loss::made_up;
use crate::offcpu;
use crate::preemption::undisturbed;
use crate::requests;
use crate::slot::begin_call;
use crate::syscalls;
use crate::tcp;

/// Runs the body of a program on system calls, for the thread that is here and the
/// registers with which it entered the kernel.
#[inline(always)]
fn for_thread(ctx: &BtfTracePointContext, body: impl FnOnce(&mut Slot, *const u8)) -> i32 {
    undisturbed(|| {
        let registers: *const u8 = ctx.arg(0);
        if let Some(slot) = here_with(registers) {
            body(slot, registers);
        }
        0
    })
}

/// Whether the first program hasn't seen the call begin, or the end of the one before
/// it, neither.
#[inline(always)]
fn begin_unseen(slot: &Slot) -> bool {
    let unseen = slot.syscall >= CLONED;
    if unseen {
        made_up(MadeUp::SyscallBegin);
    }
    unseen
}

/// Whether the first program hasn't seen the end of a call that was seen to begin.
#[inline(always)]
fn end_unseen(slot: &Slot) -> bool {
    let unseen = slot.syscall < CLONED;
    if unseen {
        made_up(MadeUp::SyscallEnd);
    }
    unseen
}

/// A call begins, for the family `syscalls`.
#[inline(always)]
fn begins(slot: &mut Slot, registers: *const u8, number: u64) {
    begin_call(slot, registers, number);
    slot.syscall_workload = slot.workload;
}

/// A call ends, for the family `syscalls`.
#[inline(always)]
fn ends(slot: &mut Slot, registers: *const u8, result: i64) {
    let syscall = slot.syscall;
    let ended = if syscall < CLONED { now() } else { 0 };
    offcpu::syscall_ends(slot);
    requests::returned(result);
    requests::waited(slot, result);
    slot.syscall = NO_SYSCALL;
    if syscall < CLONED {
        syscalls::timed(slot, syscall, ended);
        if syscall == setting!(connect) {
            tcp::connect_returned(slot, ended, result);
        }
        syscalls::failed(slot.syscall_workload, syscall, result);
    } else if syscall == NO_SYSCALL {
        syscalls::untimed(slot, registers, result);
    }
}

/// A call ends, where the family `syscalls` is off.
#[inline(always)]
fn ends_uncounted(slot: &mut Slot, result: i64) {
    offcpu::syscall_ends(slot);
    requests::returned(result);
    requests::waited(slot, result);
    slot.syscall = NO_SYSCALL;
}

/// A system call begins.
///
/// `sys_enter(struct pt_regs *regs, long id)`
/// (include/trace/events/syscalls.h). All kernels.
#[btf_tracepoint(function = "sys_enter")]
pub fn syscalls_enter(ctx: BtfTracePointContext) -> i32 {
    for_thread(&ctx, |slot, registers| {
        syscalls::ended_unseen(slot);
        begins(slot, registers, ctx.arg(1));
    })
}

/// The same at the second look. Linux 7.2 and newer.
#[btf_tracepoint(function = "sys_enter")]
pub fn syscalls_enter2(ctx: BtfTracePointContext) -> i32 {
    for_thread(&ctx, |slot, registers| {
        if begin_unseen(slot) {
            begins(slot, registers, ctx.arg(1));
        }
    })
}

/// A system call ends.
///
/// `sys_exit(struct pt_regs *regs, long ret)`
/// (include/trace/events/syscalls.h). All kernels.
#[btf_tracepoint(function = "sys_exit")]
pub fn syscalls_exit(ctx: BtfTracePointContext) -> i32 {
    for_thread(&ctx, |slot, registers| ends(slot, registers, ctx.arg(1)))
}

/// The same at the second look. Linux 7.2 and newer.
#[btf_tracepoint(function = "sys_exit")]
pub fn syscalls_exit2(ctx: BtfTracePointContext) -> i32 {
    for_thread(&ctx, |slot, registers| {
        if end_unseen(slot) {
            ends(slot, registers, ctx.arg(1));
        }
    })
}

/// A system call begins, where the family `syscalls` is off: in which one a
/// thread is.
///
/// `sys_enter(struct pt_regs *regs, long id)`
/// (include/trace/events/syscalls.h). All kernels.
#[btf_tracepoint(function = "sys_enter")]
pub fn offcpu_enter(ctx: BtfTracePointContext) -> i32 {
    for_thread(&ctx, |slot, registers| {
        begin_call(slot, registers, ctx.arg(1))
    })
}

/// The same at the second look. Linux 7.2 and newer.
#[btf_tracepoint(function = "sys_enter")]
pub fn offcpu_enter2(ctx: BtfTracePointContext) -> i32 {
    for_thread(&ctx, |slot, registers| {
        if begin_unseen(slot) {
            begin_call(slot, registers, ctx.arg(1));
        }
    })
}

/// A system call ends, where the family `syscalls` is off.
///
/// `sys_exit(struct pt_regs *regs, long ret)`
/// (include/trace/events/syscalls.h). All kernels.
#[btf_tracepoint(function = "sys_exit")]
pub fn offcpu_exit(ctx: BtfTracePointContext) -> i32 {
    for_thread(&ctx, |slot, _| ends_uncounted(slot, ctx.arg(1)))
}

/// The same at the second look. Linux 7.2 and newer.
#[btf_tracepoint(function = "sys_exit")]
pub fn offcpu_exit2(ctx: BtfTracePointContext) -> i32 {
    for_thread(&ctx, |slot, _| {
        if end_unseen(slot) {
            ends_uncounted(slot, ctx.arg(1));
        }
    })
}
