//! Names of operations, directions and statuses.

use std::borrow::Cow;
use std::collections::HashMap;

use observer_common::block::{DISCARD, ERRNO, FLUSH, READ, SECURE_ERASE, WRITE, WRITE_ZEROES};

use crate::kernel::syscall_names::errno_name;
use observer_signals::Value;

/// The groups in which /proc/diskstats counts (`op_stat_group`,
/// include/linux/blk_types.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the device.
    Read,
    /// To the device, also zeroes and what manages zones.
    Write,
    /// The device may forget.
    Discard,
    /// The device must not forget.
    Flush,
}

impl Direction {
    /// The group of an operation.
    pub fn of(operation: u8) -> Self {
        match operation {
            FLUSH => Self::Flush,
            DISCARD => Self::Discard,
            // Operations that send data to the device are odd (`op_is_write`).
            odd if odd & 1 == 1 => Self::Write,
            _ => Self::Read,
        }
    }

    /// As in `disk.io.direction`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Discard => "discard",
            Self::Flush => "flush",
        }
    }
}

/// What this kernel calls its operations.
#[derive(Default)]
pub struct Operations(HashMap<u8, String>);

impl Operations {
    /// From the kernel's enumerators (`REQ_OP_ZONE_APPEND` → `zone_append`).
    pub fn new(enumerators: &[(String, u32)]) -> Self {
        let names = enumerators
            .iter()
            .filter(|(name, _)| name != "REQ_OP_LAST")
            .filter_map(|(name, value)| {
                let name = name.strip_prefix("REQ_OP_")?.to_ascii_lowercase();
                Some((u8::try_from(*value).ok()?, name))
            })
            .collect();
        Self(names)
    }

    /// The name of an operation.
    pub fn name(&self, operation: u8) -> Cow<'static, str> {
        match operation {
            READ => "read".into(),
            WRITE => "write".into(),
            FLUSH => "flush".into(),
            DISCARD => "discard".into(),
            SECURE_ERASE => "secure_erase".into(),
            WRITE_ZEROES => "write_zeroes".into(),
            other => self
                .0
                .get(&other)
                .cloned()
                .unwrap_or_else(|| format!("operation_{other}"))
                .into(),
        }
    }
}

/// `error.type` of a status: the errno that the block layer turns it into
/// (`blk_errors` in block/blk-core.c).
pub fn error(status: u32) -> Value {
    if status & ERRNO != 0 {
        return errno_name(status & !ERRNO);
    }
    // BLK_STS_* of include/linux/blk_types.h. 14 and above have moved about
    // between kernels.
    let errno = match status {
        1 => libc::EOPNOTSUPP,
        2 => libc::ETIMEDOUT,
        3 => libc::ENOSPC,
        4 => libc::ENOLINK,
        5 => libc::EREMOTEIO,
        6 => libc::EBADE,
        7 => libc::ENODATA,
        8 => libc::EILSEQ,
        9 => libc::ENOMEM,
        10 => libc::EIO,
        11 => libc::EREMCHG,
        12 => libc::EAGAIN,
        13 => libc::EBUSY,
        other => return format!("blk_status_{other}").into(),
    };
    errno_name(errno.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that operations fall into the groups of /proc/diskstats.
    #[test]
    fn directions() {
        assert_eq!(Direction::of(READ), Direction::Read);
        assert_eq!(Direction::of(WRITE_ZEROES), Direction::Write);
        assert_eq!(Direction::of(SECURE_ERASE), Direction::Write);
        assert_eq!(Direction::of(DISCARD), Direction::Discard);
        assert_eq!(Direction::of(FLUSH), Direction::Flush);
    }

    /// Checks names from the kernel's own list, and without one.
    #[test]
    fn operations() {
        let operations = Operations::new(&[("REQ_OP_ZONE_APPEND".into(), 7)]);
        assert_eq!(operations.name(7), "zone_append");
        assert_eq!(operations.name(WRITE), "write");
        assert_eq!(Operations::default().name(21), "operation_21");
    }

    /// Checks that both kinds of status come out as the errno's name.
    #[test]
    fn errors() {
        assert_eq!(error(10), "EIO".into());
        assert_eq!(error(ERRNO | 5), "EIO".into());
        assert_eq!(error(200), "blk_status_200".to_string().into());
    }
}
