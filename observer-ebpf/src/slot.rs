//! The slot of this CPU: its current thread.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use observer_common::slot::{NO_SYSCALL, Slot, ThreadState};
use observer_common::workload::ids;

use crate::kernel::{now, read};
use crate::shares::word;
use crate::thread::label_of;

#[btf_map]
static SLOT: PerCpuArray<Slot, 1> = PerCpuArray::new();

/// This CPU's slot.
#[inline(always)]
pub fn slot() -> Option<&'static mut Slot> {
    // SAFETY: a map value that lives as long as the program. Interrupts on the
    // same CPU only read it.
    SLOT.get_ptr_mut(0).map(|slot| unsafe { &mut *slot })
}

/// The slot's thread begins a syscall.
#[inline(always)]
pub fn begin_call(slot: &mut Slot, registers: *const u8, number: u64) {
    slot.syscall = label_of(registers, number);
    slot.calls = slot.calls.wrapping_add(1);
    slot.syscall_start = now();
}

/// From now on nobody is known to run here.
#[inline(always)]
pub fn empty(slot: &mut Slot) {
    slot.task = 0;
    slot.registers = 0;
}

/// Saves what the slot's thread is doing, when it leaves the slot.
#[inline(always)]
pub fn park(slot: &Slot, state: &mut ThreadState) {
    state.syscall = slot.syscall;
    state.syscall_start = slot.syscall_start;
    state.syscall_workload = slot.syscall_workload;
    state.request = slot.request;
    state.calls = slot.calls;
    state.registers = slot.registers;
}

/// How often threads got other workloads while they had a CPU, see [`ids::CHANGES`].
#[inline(always)]
pub fn changes() -> u64 {
    word(ids::CHANGES)
}

/// Takes over whose thread it is, as of `changes`.
#[inline(always)]
pub fn charge_to(slot: &mut Slot, state: &ThreadState, changes: u64) {
    slot.workload = state.workload;
    slot.flags = state.flags;
    slot.changes = changes;
}

/// Fills the slot with a thread. Whose it is was looked up after `changes` were read.
#[inline(always)]
pub fn install(slot: &mut Slot, task: *const u8, state: &mut ThreadState, changes: u64) {
    slot.tid = read!(task, task_pid, u32);
    slot.tgid = read!(task, task_tgid, u32);
    charge_to(slot, state, changes);
    slot.syscall = state.syscall;
    slot.syscall_start = state.syscall_start;
    slot.syscall_workload = state.syscall_workload;
    slot.request = state.request;
    slot.calls = state.calls;
    slot.registers = state.registers;
    // If the next switch goes unseen, no old syscall may come back.
    state.syscall = NO_SYSCALL;
    // Last, for the sampler, whose interrupt may come in between.
    // SAFETY: the slot is a map value.
    unsafe { core::ptr::write_volatile(&raw mut slot.task, task as u64) };
}
