//! Which waits say for which request they were.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;

use crate::kernel::{now, setting};

/// Each request is a key of its own in the table of stacks: on a busy host only
/// some waits, spread over time, say for which they were.
#[repr(C)]
struct Links {
    /// Waits that may say it.
    left: u64,
    /// Kernel time up to which `left` was filled.
    filled: u64,
}

#[btf_map]
static LINKS: PerCpuArray<Links, 1> = PerCpuArray::new();

/// Waits that may come at once.
const LINK_BURST: u64 = 256;

/// The request, or 0 if too many were named already.
#[inline(always)]
pub fn linked(request: u64) -> u64 {
    let period = setting!(link_period);
    if request == 0 || period == 0 {
        return request;
    }
    let Some(links) = LINKS.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's map value; a race costs or gains one.
    let links = unsafe { &mut *links };
    let now = now();
    let more = now.saturating_sub(links.filled) / period;
    if more != 0 {
        let left = links.left + more;
        links.left = if left < LINK_BURST { left } else { LINK_BURST };
        links.filled = now;
    }
    if links.left == 0 {
        return 0;
    }
    links.left -= 1;
    request
}
