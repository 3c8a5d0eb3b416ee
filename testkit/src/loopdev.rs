//! A loop device of one's own, and a file system on it.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::{NamedTempFile, TempDir};

use crate::packages::program;

// include/uapi/linux/loop.h
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_config`, as far as it isn't zero.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    /// lo_device, lo_inode, lo_rdevice, lo_offset, lo_sizelimit.
    places: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    /// lo_file_name, lo_crypt_name, lo_encrypt_key, lo_init, reserved.
    rest: [u64; 30],
}

const _: () = assert!(size_of::<LoopConfig>() == 304);

/// A loop device; it vanishes with the last descriptor of it, so also when the
/// test is killed.
pub struct LoopDevice {
    _device: File,
    backing: NamedTempFile,
    name: String,
}

impl LoopDevice {
    /// A device of `size` bytes over a new file. `direct`: what reaches the
    /// device reaches the disk below, past the page cache.
    ///
    /// # Errors
    ///
    /// Without root, or when the kernel has no loop devices.
    pub fn new(size: u64, direct: bool) -> Result<Self> {
        // On a disk by custom, where /tmp may be in memory.
        let backing = NamedTempFile::new_in("/var/tmp")?;
        // Not only made longer: the blocks are taken.
        nix::fcntl::fallocate(
            backing.as_file(),
            nix::fcntl::FallocateFlags::empty(),
            0,
            size.try_into()?,
        )
        .context("cannot make the file below the loop device")?;
        backing.as_file().sync_all()?;
        for _ in 0..100 {
            let number = free_device()?;
            let name = format!("loop{number}");
            let device = OpenOptions::new()
                .read(true)
                .write(true)
                .open(format!("/dev/{name}"))
                .with_context(|| format!("cannot open /dev/{name}"))?;
            let config = LoopConfig {
                fd: backing.as_file().as_raw_fd().try_into()?,
                block_size: 0,
                places: [0; 5],
                number: 0,
                encryption: [0; 2],
                flags: LO_FLAGS_AUTOCLEAR | if direct { LO_FLAGS_DIRECT_IO } else { 0 },
                rest: [0; 30],
            };
            // SAFETY: the kernel reads one `struct loop_config`.
            if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } == 0 {
                return Ok(Self {
                    _device: device,
                    backing,
                    name,
                });
            }
            let error = std::io::Error::last_os_error();
            // Somebody else was faster: take another.
            if error.raw_os_error() != Some(libc::EBUSY) {
                return Err(error).context("cannot set up a loop device");
            }
        }
        bail!("every free loop device was taken by somebody else");
    }

    /// The device's name, as in /proc/diskstats.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's file.
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// The file below.
    pub fn backing(&self) -> &File {
        self.backing.as_file()
    }

    /// Makes an ext4 file system on it and mounts that.
    pub fn mount(&self) -> Result<Mounted> {
        let output = program("mkfs.ext4", "e2fsprogs")?
            .args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(self.path())
            .output()?;
        ensure!(
            output.status.success(),
            "mkfs.ext4 failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let folder = TempDir::new()?;
        mount(
            Some(&self.path()),
            folder.path(),
            Some("ext4"),
            MsFlags::empty(),
            None::<&str>,
        )
        .context("cannot mount the loop device")?;
        Ok(Mounted { folder })
    }
}

fn free_device() -> Result<i32> {
    // SAFETY: opens a file; the descriptor is nobody else's.
    let control = unsafe {
        let fd = libc::open(c"/dev/loop-control".as_ptr(), libc::O_RDWR);
        ensure!(
            fd >= 0,
            "cannot open /dev/loop-control: tests of disks need root and loop devices"
        );
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: has no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    ensure!(number >= 0, "no loop device is free");
    Ok(number)
}

/// A mounted file system; unmounted when dropped.
pub struct Mounted {
    folder: TempDir,
}

impl Mounted {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(self.folder.path(), MntFlags::MNT_DETACH);
    }
}
