//! A thread: its state, its accounts, its system call.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::helpers::generated::{bpf_task_storage_delete, bpf_task_storage_get};
use aya_ebpf::macros::btf_map;
use observer_common::offsets::MISSING;
use observer_common::slot::ThreadState;
use observer_common::syscalls::label;

use crate::kernel::{current, has_link_register, is_32_bit, offset, read, registers};
use crate::sequence::Meta;

/// Task storage, which aya-ebpf doesn't have: the layout is that of its
/// `InodeStorage`, the BTF that libbpf-style loaders expect.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the fields are placeholders that only the loader reads.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }
}

#[btf_map]
static THREADS: TaskStorage<ThreadState> = TaskStorage::new();

/// The state of `task`, made (zeroed) if `create`; null if it has none.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn thread(task: *const u8, create: bool) -> *mut ThreadState {
    let flags = if create {
        BPF_LOCAL_STORAGE_GET_F_CREATE as u64
    } else {
        0
    };
    // SAFETY: the caller's promise; a null value means zeroes.
    unsafe {
        bpf_task_storage_get(
            (&raw const THREADS).cast_mut().cast(),
            task.cast_mut().cast(),
            core::ptr::null_mut(),
            flags,
        )
    }
    .cast()
}

/// The current task and its state, if it has one.
#[inline(always)]
pub fn current_thread() -> Option<(*const u8, &'static mut ThreadState)> {
    let task = current();
    // SAFETY: the current task is trusted; what isn't null is a storage value.
    let state = unsafe { thread(task, false).as_mut() }?;
    Some((task, state))
}

/// Drops the state of `task`.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn forget(task: *const u8) {
    // SAFETY: the caller's promise. A task without state has none to lose.
    unsafe {
        bpf_task_storage_delete(
            (&raw const THREADS).cast_mut().cast(),
            task.cast_mut().cast(),
        )
    };
}

/// `struct bpf_iter__task` of kernel/bpf/task_iter.c: what an iterator over
/// threads is told.
#[repr(C)]
pub struct IteratedTask {
    /// About the iteration.
    pub meta: *const Meta,
    /// The thread; null at the end.
    pub task: *const u8,
}

/// By what the kernel's accounts of a thread grew.
#[derive(Clone, Copy)]
pub struct Grown {
    /// Its CPU time in nanoseconds.
    pub ran: u64,
    /// How often it went to wait.
    pub waits: u64,
    /// How often it lost its CPU.
    pub losses: u64,
}

/// `TS_COMPAT` of arch/x86/include/asm/thread_info.h.
const TS_COMPAT: u32 = 2;

/// Whether the current thread used the 32-bit table for its syscall.
#[inline(always)]
pub fn is_compat() -> bool {
    if offset!(task_thread_status) != MISSING {
        return is_ts_compat();
    }
    if !has_link_register() {
        return false;
    }
    // SAFETY: the current task is trusted.
    let registers = unsafe { registers(current()) };
    !registers.is_null() && is_32_bit(registers)
}

/// The same on x86, where a 64-bit program may use either table.
#[inline(always)]
fn is_ts_compat() -> bool {
    read!(current(), task_thread_status, u32) & TS_COMPAT != 0
}

/// The label of the syscall in which the current thread is, with these
/// registers.
#[inline(always)]
pub fn label_of(registers: *const u8, number: u64) -> u32 {
    // The instruction `syscall` leaves its return address in rcx (AMD64
    // Architecture Programmer's Manual 3), so it was that one, of a 64-bit
    // program. Else the thread says which table it used.
    let native = offset!(pt_regs_cx) != MISSING
        && offset!(pt_regs_ip) != MISSING
        && read!(registers, pt_regs_cx, u64) == read!(registers, pt_regs_ip, u64);
    // On arm64 the table is that of the processor's mode, whatever the program does.
    let compat = if offset!(task_thread_status) != MISSING {
        !native && is_ts_compat()
    } else {
        has_link_register() && is_32_bit(registers)
    };
    label(number, compat)
}
