//! The ring buffers in which tenants share the room, and who may add how much.
//!
//! The daemon reads at its own pace. Who makes more records than it reads fills a ring, and
//! nobody else would find room. So the upper half of each ring is kept for those who take
//! little of it: where the lower half is full, a tenant has a quarter of the ring until the
//! daemon has read on.

use crate::names::maps;

/// One of these ring buffers; the discriminant says which entry of the map of shares is its.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedRing {
    /// Pieces of connections.
    Requests,
    /// Stacks that are new.
    Stacks,
    /// Disk operations that were slow.
    Block,
    /// Connections that ended.
    Tcp,
    /// New workloads and processes.
    Workloads,
}

/// How many there are.
pub const RINGS: u32 = SharedRing::ALL.len() as u32;

impl SharedRing {
    /// All of them, in the order of their discriminants.
    pub const ALL: &'static [Self] = &[
        Self::Requests,
        Self::Stacks,
        Self::Block,
        Self::Tcp,
        Self::Workloads,
    ];

    /// The map.
    pub const fn map(self) -> &'static str {
        match self {
            Self::Requests => maps::REQUEST_RING,
            Self::Stacks => maps::STACK_RING,
            Self::Block => maps::BLOCK_RING,
            Self::Tcp => maps::TCP_RING,
            Self::Workloads => maps::WORKLOAD_RING,
        }
    }

    /// The value of the attribute `observer.table`.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Requests => "request_ring",
            Self::Stacks => "stack_ring",
            Self::Block => "block_ring",
            Self::Tcp => "tcp_ring",
            Self::Workloads => "workload_ring",
        }
    }
}

/// The words of a ring's entry of the map of shares.
pub mod shares {
    use crate::workload::ids::MAX_TENANTS;

    /// The ring's bytes. The daemon sets it.
    pub const SIZE: u32 = 0;
    /// 1 where something was charged to somebody. The kernel half sets it, the daemon clears
    /// it.
    pub const CHARGED: u32 = 1;
    /// From here on: bytes of each tenant in the ring, counted where it is half full, until
    /// the daemon has read on. The kernel half adds, the daemon sets it to zero.
    pub const BYTES: u32 = 2;
    /// From here on: records of each tenant that found no room. The kernel half adds.
    pub const REFUSED: u32 = BYTES + MAX_TENANTS;
    /// Of each ring.
    pub const WORDS: u32 = REFUSED + MAX_TENANTS;
}

/// Whether the lower half of a ring of `size` bytes is full where so many wait to be read:
/// what is added now is charged.
#[inline(always)]
pub const fn is_charged(waiting: u64, size: u64) -> bool {
    waiting >= size / 2
}

/// May a tenant to whom so many bytes of a ring of `size` are charged add more?
#[inline(always)]
pub const fn has_share(charged: u64, size: u64) -> bool {
    charged < size / 4
}

/// May such a tenant begin something of which more records will come? Only in the first half
/// of its share, so that these find room.
#[inline(always)]
pub const fn may_begin(charged: u64, size: u64) -> bool {
    has_share(2 * charged, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a tenant who adds all that it may leaves a quarter of the ring, less a
    /// record, to others; and that two leave none, but that nobody is refused before.
    #[test]
    fn one_leaves_a_quarter() {
        let (size, record) = (1 << 16, 300);
        let (mut full, mut charged) = (0, [0, 0]);
        let mut fill = |tenant: usize| {
            while full + record <= size {
                if is_charged(full, size) {
                    if !has_share(charged[tenant], size) {
                        break;
                    }
                    charged[tenant] += record;
                }
                full += record;
            }
            full
        };
        let after_one = fill(0);
        assert!((size * 3 / 4..size * 3 / 4 + 2 * record).contains(&after_one));
        assert!(fill(1) > size - 2 * record);
    }

    /// Checks that each has its own place and its own name.
    #[test]
    fn each_has_its_own() {
        for (index, ring) in SharedRing::ALL.iter().enumerate() {
            assert_eq!(*ring as usize, index);
            let alike =
                |other: &&SharedRing| other.map() == ring.map() || other.table() == ring.table();
            assert_eq!(SharedRing::ALL.iter().filter(alike).count(), 1);
        }
    }
}
