//! Which file it is, so that nobody's file can pass for another's.
//!
//! What a file says of itself (a build id, a name) anybody can write into another. What
//! the kernel says of it (inode, size, times) the server of a file system chooses, and
//! anybody may be one (FUSE in a user namespace). What nobody chooses is the number of
//! the file system's device; but those without a device have one only as long as they
//! are mounted, and then the next one has it. The number of a mount is never used again
//! (Linux 6.8).

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Foreign, Subject};

/// What tells files apart, and whether one is the same as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId {
    /// Its file system's.
    pub(crate) device: u64,
    /// The mount by which it was reached, where the device's number may become
    /// another's; else 0.
    pub(crate) mount: u64,
    /// Its number there.
    pub(crate) inode: u64,
    /// When it was written last, in seconds and nanoseconds; its owner may set that.
    pub(crate) modified: (i64, i64),
    /// When anything of it changed last, which nobody sets.
    pub(crate) changed: (i64, i64),
    /// Bytes.
    pub(crate) length: u64,
}

impl FileId {
    /// That of an open file.
    ///
    /// # Errors
    /// Its file system says nothing of it.
    pub(crate) fn of(_: &Foreign, file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            mount: mount_of(file, &meta),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            length: meta.len(),
        })
    }

    /// Whether this is that file, not written to since. Links to it and its rights may
    /// be others, which also changes what is `changed`.
    pub(crate) fn has_contents_of(&self, other: &Self) -> bool {
        let of = |id: &Self| (id.device, id.inode, id.modified, id.length);
        of(self) == of(other)
    }

    /// The file system, to be asked for what is in the file.
    pub(crate) fn subject(&self) -> Subject {
        let device = self.device;
        // Numbers of devices have 32 bits in the kernel.
        Subject::Device(libc::major(device), libc::minor(device))
    }
}

/// Whether a device's number is one that the kernel gives to each file system without a
/// device of its own (`get_anon_bdev`), and to another when that is gone.
pub(crate) fn is_lent(device: u64) -> bool {
    libc::major(device) == 0
}

/// The mount that makes the number of `file`'s device unmistakable; 0 where it is so
/// already. Where the kernel doesn't number mounts for ever, each time another.
pub(crate) fn mount_of(file: &File, meta: &Metadata) -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(1 << 63);
    if !is_lent(meta.dev()) {
        return 0;
    }
    let known = number_of_mount(file);
    known.unwrap_or_else(|| NUMBERS.fetch_add(1, Ordering::Relaxed))
}

/// `STATX_MNT_ID_UNIQUE` of include/uapi/linux/stat.h.
const UNIQUE_MOUNT: libc::c_long = 0x4000;

/// `struct statx` there, in words: `stx_mask` is the lower half of the first, `stx_mnt_id`
/// the one at byte 144.
type Statx = [u64; 32];
const MOUNT_WORD: usize = 144 / 8;

/// The number of the mount by which `file` was opened; `None` where the kernel gives
/// numbers of mounts that are gone to others.
pub(crate) fn number_of_mount(file: &impl AsRawFd) -> Option<u64> {
    let mut answer: Statx = [0; 32];
    // SAFETY: an empty path that ends with a zero, and room for what the kernel writes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            UNIQUE_MOUNT,
            answer.as_mut_ptr(),
        )
    };
    let mask = answer.first().map_or(0, |word| word & 0xffff_ffff);
    let is_known = result == 0 && mask & UNIQUE_MOUNT as u64 != 0;
    answer
        .get(MOUNT_WORD)
        .copied()
        .filter(|mount| is_known && *mount != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::super::{A_WHILE, ask};
    use super::*;

    fn id(file: &File) -> FileId {
        let file = file.try_clone().expect("a descriptor");
        let id = ask(Subject::Threads, A_WHILE, move |foreign| {
            FileId::of(foreign, &file)
        });
        id.expect("an answer").expect("metadata")
    }

    /// Checks that a file opened twice is one, that one written in place is another even if
    /// its length and its time of modification are put back, and that a copy is another.
    #[test]
    fn which_file_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("one");
        fs::write(&path, "text").expect("written");
        let file = File::open(&path).expect("open");
        let first = id(&file);
        let known = number_of_mount(&file).is_some() || first.mount == 0;
        assert_eq!(id(&File::open(&path).expect("open")) == first, known);
        let meta = file.metadata().expect("metadata");
        let mut writer = File::options().write(true).open(&path).expect("open");
        while id(&file).changed == first.changed {
            writer.write_all(b"more").expect("written");
            writer.set_len(4).expect("cut");
            writer
                .set_modified(meta.modified().expect("a time"))
                .expect("set");
        }
        let second = id(&file);
        assert_eq!(second.modified, first.modified);
        assert_eq!(second.length, first.length);
        assert_ne!(second, first);
        assert!(second.has_contents_of(&first), "as far as its times say");
        fs::hard_link(&path, folder.path().join("link")).expect("a link");
        assert!(id(&file).has_contents_of(&second));
        writer.set_len(3).expect("cut");
        assert!(!id(&file).has_contents_of(&second));
        let copy = folder.path().join("two");
        fs::copy(&path, &copy).expect("a copy");
        assert_ne!(id(&File::open(&copy).expect("open")), second);
    }
}
