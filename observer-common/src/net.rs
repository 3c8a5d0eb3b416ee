//! Packets: labels of the tallies, and whose a socket is.

use crate::plain::{FromBytes, Immutable, IntoBytes};
use crate::workload::WorkloadId;

/// Which way a datagram or packet went.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It left the program, or the host.
    Sent = 0,
    /// It came in.
    Received = 1,
}

/// What is told of datagrams apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// Whether a program sent it ([`Direction::Sent`]) or received it.
    pub direction: u8,
    /// The socket's protocol: `IPPROTO_*` of include/uapi/linux/in.h.
    pub protocol: u8,
    /// The socket's address family: [`crate::tcp::Family`].
    pub family: u8,
}

impl Datagram {
    /// As the label of a tally.
    #[inline(always)]
    pub const fn label(self) -> u64 {
        self.direction as u64 | (self.protocol as u64) << 8 | (self.family as u64) << 16
    }

    /// Takes a label apart again.
    pub const fn of(label: u64) -> Self {
        Self {
            direction: label as u8,
            protocol: (label >> 8) as u8,
            family: (label >> 16) as u8,
        }
    }
}

/// The reason where the kernel tells none (before 5.17). No enumerator has it.
pub const NO_REASON: u32 = 0x7fff_ffff;

/// What is told of dropped packets apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Drop {
    /// The kernel's number of its reason, or [`NO_REASON`].
    pub reason: u32,
    /// Index of the interface that it came by or was to leave by, below
    /// [`INTERFACES`], if it is nobody's and the interface one of the namespace in
    /// [`crate::config::Config`]; else 0.
    pub interface: u32,
    /// Whether it had come in by an interface ([`Direction::Received`]).
    pub direction: u8,
    /// What is known of its socket's owner: [`owner`].
    pub owner: u8,
}

/// Interfaces with at least this index aren't told apart: where containers come and go
/// they would have ever new series, and indices aren't given twice.
pub const INTERFACES: u32 = 1024;

impl Drop {
    /// As the label of a tally.
    #[inline(always)]
    pub const fn label(self) -> u64 {
        let interface = self.interface & (INTERFACES - 1);
        self.reason as u64
            | (interface as u64) << 32
            | (self.direction as u64 & 1) << 56
            | (self.owner as u64 & 3) << 57
    }

    /// Takes a label apart again.
    pub const fn of(label: u64) -> Self {
        Self {
            reason: label as u32,
            interface: (label >> 32) as u32 & (INTERFACES - 1),
            direction: (label >> 56) as u8 & 1,
            owner: (label >> 57) as u8 & 3,
        }
    }
}

/// What is known of a socket's owner.
pub mod owner {
    /// There is no socket.
    pub const NONE: u8 = 0;
    /// There is one, and whose it is isn't known: the daemon has who holds it looked for.
    pub const UNKNOWN: u8 = 1;
    /// It is known.
    pub const KNOWN: u8 = 2;
}

/// Whose a socket is; kept with it, and handed on by a listener to what it accepts.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct Owner {
    /// The workload.
    pub workload: WorkloadId,
    /// The process.
    pub tgid: u32,
    /// 1 = that is traced.
    pub traced: u32,
    /// 1 = it has used the socket itself; 0 = it has a descriptor of it.
    pub used: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that labels say the same again, at the ends of what they can say.
    #[test]
    fn labels() {
        for drop in [
            Drop {
                reason: u32::MAX,
                interface: INTERFACES - 1,
                direction: Direction::Received as u8,
                owner: owner::KNOWN,
            },
            Drop {
                reason: 3,
                interface: 1,
                direction: Direction::Sent as u8,
                owner: owner::UNKNOWN,
            },
        ] {
            assert_eq!(Drop::of(drop.label()), drop);
        }
        let datagram = Datagram {
            direction: Direction::Received as u8,
            protocol: 255,
            family: 6,
        };
        assert_eq!(Datagram::of(datagram.label()), datagram);
    }
}
