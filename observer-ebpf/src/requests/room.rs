//! Whose records may be in the ring.
//!
//! The daemon reads at its own pace. Who makes more records than it reads fills the ring,
//! and nobody else would find room. So the upper half of the ring is kept for those who
//! take little of it: as soon as the lower half is full, a tenant has a sixteenth of the
//! ring until the daemon has read on.

use observer_common::workload::{WorkloadId, ids};

use super::record::parts_filled;
use crate::kernel::setting;
use crate::shares::{add, word};

/// Parts, of four, above which each tenant has its share.
const FREE_PARTS: u64 = 2;

/// A part, divided by this, is a share: as a shift.
const SHARE: u32 = 2;

/// Whether there is room for so many bytes of a workload.
#[inline(always)]
pub fn has_room(workload: WorkloadId, bytes: u64) -> bool {
    parts_filled() < FREE_PARTS || requests_has_share(workload.0, bytes) != 0
}

/// Whether the tenant of a workload may have so many bytes more, which are charged to it.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn requests_has_share(workload: u32, bytes: u64) -> u32 {
    let owner = workload & (ids::MAX_TENANTS - 1);
    let tenant = word(ids::OWNERS + owner) as u32 & (ids::MAX_TENANTS - 1);
    let share = 1 << ((setting!(request_ring_shift) & 63) - SHARE);
    if add(ids::RING_BYTES + tenant, bytes) < share {
        return 1;
    }
    add(ids::RING_REFUSED + tenant, 1);
    0
}
