//! The programs on system calls.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::slot::{CLONED, NO_SYSCALL};

use crate::identity::here_with;
use crate::kernel::{now, setting};
use crate::offcpu;
use crate::preemption::undisturbed;
use crate::requests;
use crate::slot::begin_call;
use crate::syscalls;
use crate::tcp;

/// A system call begins.
///
/// `sys_enter(struct pt_regs *regs, long id)`
/// (include/trace/events/syscalls.h). All kernels.
#[btf_tracepoint(function = "sys_enter")]
pub fn syscalls_enter(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let registers: *const u8 = ctx.arg(0);
        if let Some(slot) = here_with(registers) {
            syscalls::ended_unseen(slot);
            begin_call(slot, registers, ctx.arg(1));
            slot.syscall_workload = slot.workload;
        }
        0
    })
}

/// A system call ends.
///
/// `sys_exit(struct pt_regs *regs, long ret)`
/// (include/trace/events/syscalls.h). All kernels.
#[btf_tracepoint(function = "sys_exit")]
pub fn syscalls_exit(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let registers: *const u8 = ctx.arg(0);
        let Some(slot) = here_with(registers) else {
            return 0;
        };
        let syscall = slot.syscall;
        let ended = if syscall < CLONED { now() } else { 0 };
        let result: i64 = ctx.arg(1);
        offcpu::syscall_ends(slot);
        requests::returned(result);
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
        0
    })
}

/// A system call begins, where the family `syscalls` is off: in which one a
/// thread is.
///
/// `sys_enter(struct pt_regs *regs, long id)`
/// (include/trace/events/syscalls.h). All kernels.
#[btf_tracepoint(function = "sys_enter")]
pub fn offcpu_enter(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let registers: *const u8 = ctx.arg(0);
        if let Some(slot) = here_with(registers) {
            begin_call(slot, registers, ctx.arg(1));
        }
        0
    })
}

/// A system call ends, where the family `syscalls` is off.
///
/// `sys_exit(struct pt_regs *regs, long ret)`
/// (include/trace/events/syscalls.h). All kernels.
#[btf_tracepoint(function = "sys_exit")]
pub fn offcpu_exit(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        if let Some(slot) = here_with(ctx.arg(0)) {
            offcpu::syscall_ends(slot);
            requests::returned(ctx.arg(1));
            slot.syscall = NO_SYSCALL;
        }
        0
    })
}
