//! What tells files with code apart, as far as attaching to them goes: the kernel attaches
//! to an inode, by whatever path and file system it is reached.
//!
//! On overlayfs, on which containers are, a file is one of a file system below. A hundred
//! containers of an image have a hundred overlays with one library, and attached once for
//! each, all its programs would run a hundred times. Which file it is below isn't in its
//! number and its times, which a file system of anybody's (FUSE) could give the same: the
//! kernel says it in the file's handle (Linux 6.6), and before 6.7 in what is mapped.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

use crate::foreign::Foreign;
use crate::foreign::file_id::{is_lent, mount_of};

/// Device (major, minor) and inode as `/proc/PID/maps` has them.
pub type Mapping = (u32, u32, u64);

/// Which file's code it is, where nothing else can be on its file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    inode: Inode,
    /// Where its functions are may change with it.
    modified: (i64, i64),
    size: u64,
}

/// Which inode the kernel attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Inode {
    /// By the number of its device and its own.
    On(u64, u64),
    /// Below an overlay: its file system's UUID, and its handle there.
    Below([u8; 16], [u8; MAX_HANDLE]),
}

/// A file, also on a file system that may be gone by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// Which code.
    pub code: Code,
    /// The mount that makes that unmistakable; see [`mount_of`].
    pub mount: u64,
}

impl FileKey {
    /// Of an open file; `mapped` is what the kernel said of it where it is mapped.
    pub fn of(_: &Foreign, file: &File, mapped: Option<Mapping>) -> Option<Self> {
        let meta = file.metadata().ok()?;
        let is_overlay =
            fstatfs(file).is_ok_and(|of| of.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
        let below = match is_overlay {
            true => below(file).or_else(|| mapped_below(mapped)),
            false => None,
        };
        Some(Self {
            mount: match below {
                Some(_) => 0,
                None => mount_of(file, &meta),
            },
            code: Code {
                inode: below.unwrap_or(Inode::On(meta.dev(), meta.ino())),
                modified: (meta.mtime(), meta.mtime_nsec()),
                size: meta.size(),
            },
        })
    }
}

/// The file below an overlay as kernels before 6.7 name it in `/proc/PID/maps`; others
/// name the overlay there, which has no device.
fn mapped_below(mapped: Option<Mapping>) -> Option<Inode> {
    let (major, minor, inode) = mapped?;
    let device = libc::makedev(major, minor);
    (!is_lent(device)).then_some(Inode::On(device, inode))
}

/// Longest handle below that is kept; ext4 has 8 bytes, btrfs 20.
const MAX_HANDLE: usize = 24;

/// `AT_HANDLE_FID` of include/uapi/linux/fcntl.h: only to compare.
const COMPARE_ONLY: libc::c_int = 0x200;

/// `struct file_handle`, with room for `MAX_HANDLE_SZ` (include/linux/exportfs.h).
#[repr(C)]
struct Handle {
    length: u32,
    kind: i32,
    bytes: [u8; 128],
}

/// `OVL_FILEID_V1` and, of `struct ovl_fh`, the bytes before the UUID (fs/overlayfs:
/// three of padding; version, magic, length, flags, type).
const OVERLAYS: i32 = 0xf8;
const BEFORE: usize = 8;
const MAGIC: u8 = 0xfb;

/// The file below, as its handle says; `None` where the kernel makes none, or the file
/// system below has no UUID, as have those of anybody's.
fn below(file: &File) -> Option<Inode> {
    let mut handle = Handle {
        length: 128,
        kind: 0,
        bytes: [0; 128],
    };
    let mut mount: libc::c_int = 0;
    // SAFETY: an empty path that ends with a zero, a handle that says how long it is, and
    // room for the mount's number.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            file.as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            COMPARE_ONLY | libc::AT_EMPTY_PATH,
        )
    };
    let bytes = handle.bytes.get(..handle.length as usize)?;
    if result != 0 || handle.kind != OVERLAYS {
        return None;
    }
    parse(bytes)
}

fn parse(handle: &[u8]) -> Option<Inode> {
    let (before, rest) = handle.split_first_chunk::<BEFORE>()?;
    let [_, _, _, 0, MAGIC, length, _, kind] = *before else {
        return None;
    };
    let (uuid, rest) = rest.split_first_chunk::<16>()?;
    // The length counts from the version on; what follows is padding.
    let length = usize::from(length).checked_sub(BEFORE - 3 + uuid.len())?;
    let identity = rest.get(..length)?;
    if *uuid == [0; 16] || identity.is_empty() {
        return None;
    }
    let mut bytes = [0; MAX_HANDLE];
    let (first, kept) = bytes.split_first_mut()?;
    *first = kind;
    kept.get_mut(..length)?.copy_from_slice(identity);
    Some(Inode::Below(*uuid, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks handles as Linux 6.18 makes them: of a file on ext4 without a UUID, and of
    /// one on tmpfs with one; and that what is cut off is none.
    #[test]
    fn handles() {
        let bytes = |text: &str| -> Vec<u8> {
            let pairs = text.as_bytes().chunks(2);
            let text = pairs.map(|pair| std::str::from_utf8(pair).expect("text"));
            text.map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
                .collect()
        };
        let without = "00000000fb1d000100000000000000000000000000000000a8e09800534a3933";
        assert_eq!(parse(&bytes(without)), None);
        let with = "00000000fb2100014763fe8317f747709aa18554e288db464201b7c20200000000000000";
        let with = bytes(with);
        let Some(Inode::Below(uuid, handle)) = parse(&with) else {
            panic!("a file below");
        };
        assert_eq!(uuid, with[8..24]);
        assert_eq!(handle[0], 1);
        assert_eq!(handle[1..13], with[24..36]);
        assert_eq!(parse(&with[..30]), None);
        let mut changed = with.clone();
        changed[4] ^= 1;
        assert_eq!(parse(&changed), None);
    }

    /// Checks that only a device that is there says what lies below an overlay.
    #[test]
    fn mapped_files() {
        let disk = Inode::On(libc::makedev(8, 1), 7);
        assert_eq!(mapped_below(Some((8, 1, 7))), Some(disk));
        assert_eq!(mapped_below(Some((0, 40, 7))), None);
        assert_eq!(mapped_below(None), None);
    }
}
