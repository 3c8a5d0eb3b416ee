//! Read-modify-write instructions, which `core` hasn't for BPF and the machine
//! has.

/// Adds atomically. A cell belongs to one CPU, but between load and store a
/// softirq may hit it.
#[inline(always)]
pub fn add(to: *mut u64, value: u64) {
    // SAFETY: callers pass a pointer into a map value.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({to} + 0) += {value}",
            to = in(reg) to,
            value = in(reg) value,
        );
    }
}

/// Adds atomically; returns what was there before.
#[inline(always)]
pub fn fetch_add(to: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: as in `add`.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({to} + 0), {value})",
            to = in(reg) to,
            value = inout(reg) value,
        );
    }
    value
}

/// Puts a value in the place of another, atomically; returns that.
#[inline(always)]
pub fn swap(at: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: as in `add`.
    unsafe {
        core::arch::asm!(
            "{value} = xchg_64({at} + 0, {value})",
            at = in(reg) at,
            value = inout(reg) value,
        );
    }
    value
}

/// Puts a value in the place of another if that is `expected`; returns the old
/// value.
#[inline(always)]
pub fn compare_and_swap(at: *mut u64, expected: u64, value: u64) -> u64 {
    let found;
    // SAFETY: as in `add`.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({at} + 0, r0, {value})",
            at = in(reg) at,
            value = in(reg) value,
            inout("r0") expected => found,
        );
    }
    found
}
