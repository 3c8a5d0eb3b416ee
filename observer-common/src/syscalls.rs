//! Labels of syscall tallies.

/// Set in a label when the thread used the 32-bit table (x86_64: `TS_COMPAT`; arm64: the
/// processor's 32-bit state).
pub const COMPAT: u32 = 1 << 16;

/// Syscalls numbered from here on don't exist and share one label
/// ([`UNKNOWN`]), so that a program that calls nonsense can't fill the table.
pub const MAX_NUMBER: u32 = 1024;

/// The number under which calls of no known number are counted.
pub const UNKNOWN: u32 = 0xffff;

/// The label of a syscall.
#[inline(always)]
pub const fn label(number: u64, compat: bool) -> u32 {
    let number = if number < MAX_NUMBER as u64 {
        number as u32
    } else {
        UNKNOWN
    };
    if compat { number | COMPAT } else { number }
}

/// The label of a syscall's failures: errno in the upper half.
#[inline(always)]
pub const fn error_label(label: u32, errno: u32) -> u64 {
    (errno as u64) << 32 | label as u64
}

/// Takes an [`error_label`] apart again, into label and errno.
pub const fn split_error_label(label: u64) -> (u32, u32) {
    (label as u32, (label >> 32) as u32)
}
