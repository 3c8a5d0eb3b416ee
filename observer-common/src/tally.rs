//! Tallies: histograms and counters that the kernel keeps and never resets.
//!
//! All families share two tables of cells, one of histograms and one of
//! counters. A cell belongs to one CPU, so it is written without contention
//! and memory is used only for what really happens on that CPU: a host with
//! many CPUs pays for the (CPU, workload, label) triples that occur, not for
//! their product. The daemon maps both tables into its memory and reads them
//! without a system call.

use crate::histogram::BUCKETS;
use crate::plain::{FromBytes, Immutable, IntoBytes};
use crate::workload::{OTHER, WorkloadId};

/// What a cell counts. 0 is a cell that nobody uses yet.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Histogram: duration of a syscall; the label is [`crate::syscalls::label`].
    SyscallDuration = 1,
    /// Counter: failed syscalls; the label is [`crate::syscalls::error_label`].
    SyscallErrors = 2,
    /// Counter: syscalls that never return (exit, exit_group); label as for durations.
    SyscallNoReturn = 3,
    /// Counter: syscalls that weren't timed, on top of those in
    /// [`Self::SyscallDuration`]; label as there.
    SyscallUntimed = 4,
    /// Histogram: time from runnable to running; no label.
    RunQueue = 16,
    /// Counter: nanoseconds on CPU; no label.
    CpuTime = 17,
    /// Counter: times switched out; label 0 = voluntary, 1 = involuntary.
    ContextSwitches = 18,
    /// Histogram: block operations from the making of the request to its end;
    /// the label is [`crate::block::label`].
    BlockTotal = 48,
    /// Histogram: the part of [`Self::BlockTotal`] until the driver took it.
    BlockQueue = 49,
    /// Histogram: the part of [`Self::BlockTotal`] since the driver took it.
    BlockDevice = 50,
    /// Counter: bytes of block operations; label as above.
    BlockBytes = 51,
    /// Counter: failed block operations; the label is [`crate::block::error_label`].
    BlockErrors = 52,
    /// Counter: block operations that couldn't be timed, on top of those in
    /// [`Self::BlockTotal`]; label as above.
    BlockUntimed = 53,
    /// Histogram: duration of handshakes; TCP labels are [`crate::tcp::label`], here with the role.
    TcpHandshake = 32,
    /// Histogram: from established to closed; label with the role.
    TcpConnection = 33,
    /// Histogram: smoothed round-trip times.
    TcpRtt = 34,
    /// Counter: retransmitted segments; label with the type.
    TcpRetransmitSegments = 35,
    /// Counter: retransmits; label with the type.
    TcpRetransmitEvents = 36,
    /// Counter: resets; label with the direction.
    TcpResets = 37,
    /// Counter: connections that were established; label with the role.
    TcpOpened = 38,
    /// Counter: connections that were not; label with role and error.
    TcpFailed = 39,
    /// Counter: established connections that ended; label with role and error.
    TcpClosed = 40,
    /// Counter: payload bytes; label with the direction.
    TcpBytes = 41,
    /// Counter: exchanges that weren't followed; the label is the
    /// [`crate::requests::Protocol`], from bit 8 on the [`crate::requests::role`], and from
    /// bit 16 on why ([`crate::requests::unfollowed`]).
    RequestUnfollowed = 64,
    /// Counter: packets that the kernel dropped; the label is [`crate::net::Drop`].
    NetDrops = 80,
    /// Counter: datagrams that programs sent and received; the label is
    /// [`crate::net::Datagram`].
    NetDatagrams = 81,
    /// Counter: their bytes, without headers; label as above.
    NetBytes = 82,
}

/// Which series on which CPU a cell belongs to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes)]
pub struct Key {
    /// [`Kind`] in bits 0..8, [`Self::INNER`], CPU in bits 16..32, workload in
    /// bits 32..64.
    pub series: u64,
    /// Family-specific: syscall number, device and operation, …
    pub label: u64,
}

impl Key {
    /// The key of `kind`'s cell of a workload on a CPU.
    #[inline(always)]
    pub const fn new(kind: Kind, workload: WorkloadId, cpu: u32, label: u64) -> Self {
        Self {
            series: kind as u64 | ((cpu as u64 & 0xffff) << 16) | ((workload.0 as u64) << 32),
            label,
        }
    }

    /// Set in the series of a cell whose writer may interrupt that of another
    /// cell, which is of the same series but for this bit. So neither has to
    /// lock the CPU's other programs out.
    pub const INNER: u64 = 1 << 8;

    /// The same series (kind, CPU and label) of the workload [`OTHER`], into
    /// which a full table folds.
    #[inline(always)]
    pub const fn folded(self) -> Self {
        Self {
            series: self.series & 0xffff_ffff | (OTHER.0 as u64) << 32,
            label: self.label,
        }
    }

    /// The kind's number; compare with `Kind::X as u8`.
    pub const fn kind(self) -> u8 {
        self.series as u8
    }

    /// The workload's id.
    pub const fn workload(self) -> WorkloadId {
        WorkloadId((self.series >> 32) as u32)
    }

    /// CPU that adds to the cell.
    pub const fn cpu(self) -> u16 {
        (self.series >> 16) as u16
    }
}

/// One histogram. `count` isn't stored: it is the sum of all buckets.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
pub struct HistogramCell {
    /// Series and CPU that it belongs to.
    pub key: Key,
    /// Kernel time (`bpf_ktime_get_ns`) when the cell was taken into use.
    pub since: u64,
    /// Sum of all values in nanoseconds.
    pub sum: u64,
    /// Values of at most [`crate::histogram::ZERO_MAX_NS`].
    pub zero: u64,
    /// The buckets, see [`crate::histogram`].
    pub buckets: [u64; BUCKETS],
}

/// One counter.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
pub struct CounterCell {
    /// Whose it is.
    pub key: Key,
    /// Kernel time when the cell was taken into use.
    pub since: u64,
    /// The count.
    pub value: u64,
}

/// Slots of the per-CPU cache that maps a key to its cell. A power of two.
pub const CACHE_SLOTS: usize = 64;

/// Per-CPU memory of where this CPU's cells are. A hint only: the cell's own
/// key decides, so a torn or stale entry costs a look-up, never a wrong count.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
pub struct Cache {
    /// Cell index by hash of the key.
    pub cells: [u32; CACHE_SLOTS],
}

/// Default number of histogram cells (1.4 KiB each).
pub const HISTOGRAM_CELLS: u32 = 8192;
/// Default number of counter cells (32 B each).
pub const COUNTER_CELLS: u32 = 16384;
/// Cells kept back for the workload `other`, into which a full table folds.
pub const RESERVED_CELLS: u32 = 512;
