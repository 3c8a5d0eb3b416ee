//! Words of the current process's memory.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use observer_common::plain::{Plain, zeroed};

/// What is at an address of the current process, if it is in memory.
#[inline(always)]
pub fn user<T: Plain>(address: u64) -> Option<T> {
    let mut value: T = zeroed();
    // SAFETY: writes as many bytes as there are, which may be any; the helper checks the
    // address.
    let failed = unsafe {
        bpf_probe_read_user(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as *const _,
        )
    } != 0;
    (!failed).then_some(value)
}
