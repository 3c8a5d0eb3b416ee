//! BPF iterators: programs that the kernel runs on all objects of a kind, at
//! our request and in our context. aya can't aim one at a map.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, anyhow, bail};
use aya::maps::Map;
use aya::programs::Program;

use super::Kernel;

/// Commands and types of include/uapi/linux/bpf.h.
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

/// A read returns at most what the kernel buffers: eight pages.
const BUFFER: usize = 32 * 1024;

/// union bpf_attr's `link_create` as far as iterators need it.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    pad: u32,
}

/// union bpf_attr's `iter_create`.
#[repr(C)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// An iterator program, ready to run any number of times.
#[derive(Debug)]
pub struct Iterator {
    name: &'static str,
    link: OwnedFd,
}

impl Iterator {
    /// The loaded program `name`, aimed at the elements of a map if its kind
    /// wants one.
    ///
    /// # Errors
    ///
    /// When the program isn't loaded ([`Kernel::attach`] says why), or the
    /// kernel refuses.
    pub fn new(kernel: &mut Kernel, name: &'static str, map: Option<&'static str>) -> Result<Self> {
        // union bpf_iter_link_info: the map's descriptor comes first.
        let info: Option<u32> = match map {
            Some(map) => Some(map_fd(kernel.map_mut(map)?)?.as_raw_fd() as u32),
            None => None,
        };
        let program = program(kernel, name)?;
        let link = link(&program, info.as_ref())
            .with_context(|| format!("cannot link the iterator {name}"))?;
        Ok(Self { name, link })
    }

    /// Runs it over everything and hands on what it writes, in pieces that are
    /// multiples of what one call of the program writes.
    ///
    /// # Errors
    /// The iterator isn't loaded, or the kernel refuses to start it or ends it early.
    pub fn run(&self, each: impl FnMut(&[u8])) -> Result<()> {
        run(&self.link, self.name, each)
    }
}

fn run(link: &OwnedFd, name: &str, mut each: impl FnMut(&[u8])) -> Result<()> {
    let attr = IterCreate {
        link_fd: link.as_raw_fd() as u32,
        flags: 0,
    };
    let failed = || format!("cannot run the iterator {name}");
    let mut run = File::from(bpf(BPF_ITER_CREATE, &attr).with_context(failed)?);
    let mut buffer = vec![0; BUFFER];
    loop {
        match run.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => each(buffer.get(..length).unwrap_or(&buffer)),
            // The kernel pauses after a million objects without output.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).with_context(failed),
        }
    }
}

/// A descriptor of an iterator's loaded program.
///
/// # Errors
/// See [`Iterator::new`].
pub fn program(kernel: &mut Kernel, name: &'static str) -> Result<OwnedFd> {
    let Some(Program::Iter(program)) = kernel.program_mut(name) else {
        bail!("the kernel object has no iterator {name}");
    };
    let program = program
        .fd()
        .with_context(|| format!("the iterator {name} is not loaded"))?;
    Ok(program.as_fd().try_clone_to_owned()?)
}

/// Links an iterator's program, aimed by `info`: a part of union bpf_iter_link_info.
fn link<T>(program: &OwnedFd, info: Option<&T>) -> std::io::Result<OwnedFd> {
    let attr = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        iter_info: info.map_or(0, |info| std::ptr::from_ref(info) as u64),
        iter_info_len: info.map_or(0, |_| size_of::<T>() as u32),
        pad: 0,
    };
    bpf(BPF_LINK_CREATE, &attr)
}

/// `task` of union bpf_iter_link_info (include/uapi/linux/bpf.h), since Linux 6.1.
#[repr(C)]
struct OfProcess {
    tid: u32,
    pid: u32,
    pid_fd: u32,
    padding: u32,
}

/// Runs an iterator over threads on those of one process.
///
/// # Errors
/// The kernel can't aim it, or refuses to run it. That the process is gone is none.
pub fn run_on_process(program: &OwnedFd, process: u32) -> Result<()> {
    let info = OfProcess {
        tid: 0,
        pid: process,
        pid_fd: 0,
        padding: 0,
    };
    let link = match link(program, Some(&info)) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        link => link.context("cannot aim an iterator at a process")?,
    };
    run(&link, "of a process", |_| {})
}

/// The descriptor of a socket storage.
fn map_fd(map: &Map) -> Result<BorrowedFd<'_>> {
    match map {
        Map::SkStorage(data) | Map::Unsupported(data) => Ok(data.fd().as_fd()),
        _ => Err(anyhow!("not a map that can be iterated over")),
    }
}

/// A bpf call that makes a descriptor.
fn bpf<T>(command: libc::c_long, attr: &T) -> std::io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attr`.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
