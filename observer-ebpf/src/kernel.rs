//! Reading the running kernel: settings, offsets, fields.

use core::mem::MaybeUninit;
use core::ptr::{addr_of, read_volatile};

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_task_pt_regs};
use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_ktime_get_ns};
use observer_common::config::Config;
use observer_common::offsets::{MISSING, Offsets};
use observer_common::plain::zeroed;
use observer_common::requests::SYSCALLS;

/// Filled in by the daemon before the load and frozen then: to the verifier
/// every field is a known number, so it removes what a setting turns off and
/// accepts direct reads of kernel structures at these offsets.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::MISSING;

/// See [`OFFSETS`].
#[unsafe(no_mangle)]
static CONFIG: Config = zeroed();

/// The offsets; read single fields with [`offset!`].
#[inline(always)]
pub fn offsets() -> *const Offsets {
    addr_of!(OFFSETS)
}

/// The settings; read single fields with [`setting!`].
#[inline(always)]
pub fn config() -> *const Config {
    addr_of!(CONFIG)
}

/// One offset, read in a way the compiler can't replace by the placeholder.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: points into a static; volatile because the loader patches it.
        unsafe {
            core::ptr::read_volatile(core::ptr::addr_of!((*$crate::kernel::offsets()).$field))
        }
    }};
}

/// One setting, likewise.
macro_rules! setting {
    ($field:ident) => {{
        // SAFETY: points into a static; volatile because the loader patches it.
        unsafe { core::ptr::read_volatile(core::ptr::addr_of!((*$crate::kernel::config()).$field)) }
    }};
}

/// Reads the field of a kernel structure: `read!(task, task_pid, u32)`. The
/// verifier checks that pointer, offset and size fit the kernel's own types,
/// and a pointer that went stale reads as zero instead of faulting.
macro_rules! read {
    ($pointer:expr, $field:ident, $ty:ty) => {{
        let offset = $crate::kernel::offset!($field);
        // SAFETY: see the macro's documentation.
        unsafe { $crate::kernel::read_at::<$ty>($pointer, offset) }
    }};
}

/// A diagnostic line through aya-log; removed by the verifier when off.
macro_rules! diagnostic {
    ($ctx:expr, $($arg:tt)*) => {
        if $crate::kernel::setting!(diagnostics) != 0 {
            aya_log_ebpf::debug!($ctx, $($arg)*);
        }
    };
}

pub(crate) use {diagnostic, offset, read, setting};

/// See [`read!`].
///
/// # Safety
///
/// `pointer` must come from a tracepoint's argument, a helper or another such
/// read, so that the verifier knows its type.
#[inline(always)]
pub unsafe fn read_at<T: Copy>(pointer: *const u8, offset: u32) -> T {
    // SAFETY: the verifier checks the access.
    unsafe { read_volatile(pointer.add(offset as usize).cast::<T>()) }
}

/// Bytes at an address of the kernel; zeroes if there are none.
#[inline(always)]
pub fn peek<T: Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the destination is a local of that size; callers read integers,
    // for which zeroes and whatever is read are values.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        value.assume_init()
    }
}

/// What is known of a system call: where it has its bytes
/// ([`observer_common::requests::Shape`]), and what it may wait for.
#[inline(always)]
pub fn syscall_class(syscall: u32) -> u8 {
    if syscall as usize >= SYSCALLS {
        return 0;
    }
    // SAFETY: within the table; volatile because the loader patches it.
    unsafe {
        let table = addr_of!((*config()).syscalls).cast::<u8>();
        read_volatile(table.add(syscall as usize & (SYSCALLS - 1)))
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// The current task.
#[inline(always)]
pub fn current() -> *const u8 {
    // SAFETY: has no preconditions.
    unsafe { bpf_get_current_task_btf() }.cast()
}

/// The registers with which a task came into the kernel from its program; null
/// where it has none.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn registers(task: *const u8) -> *const u8 {
    // SAFETY: the caller's promise.
    unsafe { bpf_task_pt_regs(task.cast_mut().cast()) as *const u8 }
}

/// Whether this machine is arm64, where calls leave the return address in a register.
#[inline(always)]
pub fn has_link_register() -> bool {
    offset!(pt_regs_lr) != MISSING
}

/// The 64-bit code segment of x86_64 is 0x33, the 32-bit one this.
const USER32_CS: u16 = 0x23;
/// `PSR_MODE32_BIT` of arch/arm64/include/uapi/asm/ptrace.h.
const PSR_MODE32_BIT: u16 = 0x10;

/// Whether registers are those of a 32-bit program.
#[inline(always)]
pub fn is_32_bit(registers: *const u8) -> bool {
    if offset!(pt_regs_mode) == MISSING {
        return false;
    }
    let mode = read!(registers, pt_regs_mode, u16);
    if has_link_register() {
        mode & PSR_MODE32_BIT != 0
    } else {
        mode == USER32_CS
    }
}

/// A bit of a task; `missing` where the kernel hasn't got it.
#[inline(always)]
fn bit(task: *const u8, bit: u32, missing: bool) -> bool {
    if bit == MISSING {
        return missing;
    }
    // SAFETY: the verifier checks the access.
    let word: u32 = unsafe { read_at(task, bit / 32 * 4) };
    word >> (bit % 32) & 1 != 0
}

/// Whether a task waits for I/O.
#[inline(always)]
pub fn in_iowait(task: *const u8) -> bool {
    bit(task, offset!(task_in_iowait), false)
}

/// Whether a task is about to run another program. Where it isn't known, it is assumed.
#[inline(always)]
pub fn in_execve(task: *const u8) -> bool {
    bit(task, offset!(task_in_execve), true)
}
