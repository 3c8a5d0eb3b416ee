//! The slot of this CPU and the state of a thread.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{bpf_task_storage_delete, bpf_task_storage_get};
use aya_ebpf::macros::btf_map;
use observer_common::slot::{Slot, ThreadState};

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
static SLOT: PerCpuArray<Slot, 1> = PerCpuArray::new();

#[btf_map]
static THREADS: TaskStorage<ThreadState> = TaskStorage::new();

/// This CPU's slot.
#[inline(always)]
pub fn slot() -> Option<&'static mut Slot> {
    // SAFETY: a map value that lives as long as the program. Interrupts on the
    // same CPU only read it.
    SLOT.get_ptr_mut(0).map(|slot| unsafe { &mut *slot })
}

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
