//! Child processes with a chosen name that do a known amount of disk I/O.
//!
//! They are forked from the test, so everything that needs memory is prepared
//! before: the child only makes system calls.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::CString;
use std::os::fd::RawFd;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// `BLKDISCARD` of include/uapi/linux/fs.h: `_IO(0x12, 119)`.
const BLKDISCARD: libc::c_ulong = 0x1277;

/// What a child does, one after the other.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the variants say what their fields are")]
pub enum Step {
    /// `count` reads of `size` bytes, one behind the other from offset 0.
    Read { count: usize, size: usize },
    /// The same with writes.
    Write { count: usize, size: usize },
    /// Has the device forget `size` bytes at `offset`.
    Discard { offset: u64, size: u64 },
    /// fsync.
    Sync,
    /// A read of `size` bytes at `offset` that must fail with `errno`.
    FailingRead {
        offset: i64,
        size: usize,
        errno: i32,
    },
}

/// A buffer that direct I/O accepts.
struct Buffer(*mut u8, Layout);

impl Buffer {
    fn new(size: usize) -> Result<Self> {
        let layout = Layout::from_size_align(size.max(4096), 4096)?;
        // SAFETY: the layout isn't empty.
        let start = unsafe { alloc_zeroed(layout) };
        ensure!(!start.is_null(), "no memory for a buffer");
        Ok(Self(start, layout))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.0, self.1) };
    }
}

/// Forks a child named `comm` (at most 15 bytes) that opens `path` with `flags`
/// (`O_RDWR` is added) and takes the steps; waits for its end.
pub fn run(comm: &str, path: &Path, flags: i32, steps: &[Step]) -> Result<()> {
    let name = CString::new(comm)?;
    let file = CString::new(path.to_str().context("a path in UTF-8")?)?;
    let size = |step: &Step| match step {
        Step::Read { size, .. } | Step::Write { size, .. } | Step::FailingRead { size, .. } => {
            *size
        }
        Step::Discard { .. } | Step::Sync => 0,
    };
    let buffer = Buffer::new(steps.iter().map(size).max().unwrap_or(0))?;
    // SAFETY: the child makes system calls only, and _exit.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // SAFETY: strings and buffer live in the child's copy.
            let failed = unsafe {
                libc::prctl(libc::PR_SET_NAME, name.as_ptr());
                match libc::open(file.as_ptr(), flags | libc::O_RDWR, 0o600) {
                    fd if fd < 0 => 1,
                    fd => steps
                        .iter()
                        .position(|step| !take(fd, step, &buffer))
                        .map_or(0, |index| index as i32 + 2),
                }
            };
            // SAFETY: ends the child without running the test's destructors.
            unsafe { libc::_exit(failed) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, 1) => bail!("{comm} cannot open {}", path.display()),
            WaitStatus::Exited(_, code) => {
                bail!("{comm} failed at {:?}", steps.get(code as usize - 2))
            }
            other => bail!("{comm} ended with {other:?}"),
        },
    }
}

/// Takes one step; false if it failed.
///
/// # Safety
///
/// `fd` is open and the buffer large enough.
unsafe fn take(fd: RawFd, step: &Step, buffer: &Buffer) -> bool {
    let bytes = buffer.0.cast::<libc::c_void>();
    // SAFETY: the caller's promise.
    unsafe {
        match *step {
            Step::Read { count, size } => {
                (0..count).all(|i| libc::pread(fd, bytes, size, (i * size) as i64) == size as isize)
            }
            Step::Write { count, size } => (0..count)
                .all(|i| libc::pwrite(fd, bytes, size, (i * size) as i64) == size as isize),
            Step::Discard { offset, size } => {
                let range = [offset, size];
                libc::ioctl(fd, BLKDISCARD, range.as_ptr()) == 0
            }
            Step::Sync => libc::fsync(fd) == 0,
            Step::FailingRead {
                offset,
                size,
                errno,
            } => libc::pread(fd, bytes, size, offset) == -1 && *libc::__errno_location() == errno,
        }
    }
}
