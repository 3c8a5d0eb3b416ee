//! Block I/O: how a request is labelled, what is kept while it is under way,
//! and the record of one that was slow.

use crate::plain::{FromBytes, Immutable, IntoBytes};
use crate::workload::WorkloadId;

/// Operations: the kernel's `REQ_OP_*` (include/linux/blk_types.h). Only those
/// whose numbers never changed; the daemon takes the others' names from BTF.
pub const READ: u8 = 0;
/// See [`READ`].
pub const WRITE: u8 = 1;
/// See [`READ`]. The device is asked to empty its write cache.
pub const FLUSH: u8 = 2;
/// See [`READ`].
pub const DISCARD: u8 = 3;
/// See [`READ`].
pub const SECURE_ERASE: u8 = 5;
/// See [`READ`].
pub const WRITE_ZEROES: u8 = 9;

/// `REQ_OP_MASK`: the operation in `request.cmd_flags`.
pub const OPERATION_MASK: u32 = 0xff;

/// `__RQF_IO_STAT` where the kernel's BTF doesn't name it (6.1, for one).
pub const OLD_RQF_IO_STAT: u32 = 13;
/// `__RQF_FLUSH_SEQ`, likewise.
pub const OLD_RQF_FLUSH_SEQ: u32 = 4;

/// The first of the pages that `page` is one of, by the word that the kernel keeps in
/// `page.compound_head`, since 7.1 `compound_info` (include/linux/page-flags.h). If its
/// lowest bit is set the page isn't the first; the rest of the word is that one's
/// address, or, since 7.1, may be a mask that makes it of the page's own.
#[inline(always)]
pub const fn first_page(page: u64, word: u64) -> u64 {
    if word & 1 == 0 {
        return page;
    }
    let rest = word - 1;
    let cleared = !rest;
    // A mask has ones down to some bit and none below.
    if cleared & cleared.wrapping_add(1) == 0 {
        page & rest
    } else {
        rest
    }
}

/// A device number as the labels have it: 12 bits of major, 20 of minor, as in
/// the kernel's own `dev_t`.
#[inline(always)]
pub const fn device(major: u32, minor: u32) -> u32 {
    major << 20 | minor & 0xf_ffff
}

/// Takes a [`device`] apart into major and minor.
pub const fn split_device(device: u32) -> (u32, u32) {
    (device >> 20, device & 0xf_ffff)
}

/// The label of a device's operation.
#[inline(always)]
pub const fn label(device: u32, operation: u8) -> u64 {
    device as u64 | (operation as u64) << 32
}

/// The label of failed operations: the status, as [`status`] made it, in the
/// upper bits.
#[inline(always)]
pub const fn error_label(device: u32, operation: u8, status: u32) -> u64 {
    label(device, operation) | (status as u64 & 0xffff) << 40
}

/// Takes a [`label`] or [`error_label`] apart into device, operation, status.
pub const fn split_label(label: u64) -> (u32, u8, u32) {
    (
        label as u32,
        (label >> 32) as u8,
        (label >> 40) as u32 & 0xffff,
    )
}

/// Set in a status that is an errno, as kernels before 5.17 report it; else it
/// is a `BLK_STS_*`.
pub const ERRNO: u32 = 0x8000;

/// The status of the tracepoint `block_rq_complete` as one positive number; 0
/// is success. The argument is a `blk_status_t` (a byte) or a negative errno.
#[inline(always)]
pub const fn status(argument: i32) -> u32 {
    if argument < 0 {
        (argument.unsigned_abs() & 0xfff) | ERRNO
    } else {
        argument as u32 & 0xff
    }
}

/// Who is charged for a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Owner {
    /// Workload that made the request.
    pub workload: WorkloadId,
    /// [`crate::workload::TRACED`] and others.
    pub flags: u32,
}

/// Kept for each `struct request`. The kernel uses requests over and over, so
/// entries are overwritten rather than removed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Request {
    /// Kernel time when the request was made of its first bio; 0 = it isn't
    /// under way, or older than the daemon.
    pub started: u64,
    /// Kernel time when the driver took it, the last time if several; 0 = it
    /// didn't yet.
    pub issued: u64,
    /// Who is charged.
    pub owner: Owner,
    /// Bytes that are done.
    pub bytes: u32,
    /// Bytes when the driver took it.
    pub size: u32,
    /// The last [`status`] that wasn't success.
    pub status: u32,
    /// See [`device`].
    pub device: u32,
    /// `REQ_OP_*`.
    pub operation: u32,
    /// Nothing.
    pub padding: u32,
}

/// Requests under way of which one [`Set`] can hold that many.
pub const WAYS: usize = 4;

/// Sets of requests. A power of two.
pub const SETS: usize = 1024;

/// One request under way, in a line of the processor's cache of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Way {
    /// Stands for the `struct request`; 0 = free.
    pub key: u64,
    /// What is kept of it.
    pub request: Request,
    /// Of the first way: 1 = the set was full once, and requests that belong
    /// to it are in the hash.
    pub spilled: u64,
}

/// The requests under way that [`set_of`] sends here.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Set {
    /// They.
    pub ways: [Way; WAYS],
}

/// The set of the request with this key.
#[inline(always)]
pub const fn set_of(key: u64) -> u32 {
    // Odd multiplier from splitmix64: neighbours spread.
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SETS.trailing_zeros())) as u32
}

/// What this CPU dirtied last, so that a run of pages of one file costs one
/// update of the table.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct LastDirtied {
    /// The file's `address_space`.
    pub mapping: u64,
    /// By whom.
    pub owner: Owner,
}

/// A record: one operation took longer than the threshold.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct SlowOperation {
    /// Kernel time when it began.
    pub started: u64,
    /// Kernel time when the device took it; 0 = it never did.
    pub issued: u64,
    /// Kernel time when it was done.
    pub ended: u64,
    /// Bytes that the request reads or writes.
    pub bytes: u32,
    /// See [`status`].
    pub status: u32,
    /// See [`device`].
    pub device: u32,
    /// `REQ_OP_*`.
    pub operation: u32,
    /// Who is charged.
    pub workload: WorkloadId,
    /// Nothing.
    pub padding: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a page's first is found by an address and by a mask, also where
    /// an address looks like a mask, and that a first page is its own.
    #[test]
    fn first_pages() {
        // `struct page` takes 64 bytes; these are four pages from this on.
        let first = 0xffff_ea00_0412_3400;
        let third = first + 2 * 64;
        assert_eq!(first_page(first, 0), first);
        assert_eq!(first_page(first, 0xdead_0000), first);
        assert_eq!(first_page(third, first | 1), first);
        let mask = !(4 * 64 - 1);
        assert_eq!(first_page(third, mask | 1), first);
        assert_eq!(first_page(first, mask), first);
        let round = 0xffff_fe00_0000_0000;
        assert_eq!(first_page(round + 3 * 64, round | 1), round);
    }

    /// Checks that labels can be taken apart again, at the ends of each field.
    #[test]
    fn labels() {
        let device = device(0xfff, 0xf_ffff);
        assert_eq!(split_device(device), (0xfff, 0xf_ffff));
        let label = error_label(device, 0xff, 0xffff);
        assert_eq!(split_label(label), (device, 0xff, 0xffff));
        assert_eq!(
            split_label(super::label(device, DISCARD)),
            (device, DISCARD, 0)
        );
    }

    /// Checks that both kinds of status stay apart.
    #[test]
    fn statuses() {
        assert_eq!(status(0), 0);
        assert_eq!(status(10), 10);
        assert_eq!(status(-5), ERRNO | 5);
    }
}
