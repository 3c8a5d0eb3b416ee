//! A program that does nothing, on a tracepoint: what the kernel alone charges
//! for being asked.

use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

/// `BPF_PROG_LOAD` and `BPF_RAW_TRACEPOINT_OPEN` of `enum bpf_cmd`, and so on
/// (include/uapi/linux/bpf.h).
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_RAW_TP: u32 = 23;

/// `r0 = 0; exit`: two `struct bpf_insn`.
static EMPTY: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// The member of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log: [u64; 2],
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    types: [u64; 4],
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_btf_obj_fd: u64,
}

/// The member for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
#[derive(Default)]
struct Open {
    name: u64,
    prog_fd: u64,
}

/// Attaches an empty program to a tracepoint, by its type's number; it is there
/// as long as both descriptors. Its name is `floor`.
///
/// # Errors
///
/// When the kernel refuses.
pub fn attach(id: u32) -> Result<[OwnedFd; 2]> {
    let load = Load {
        prog_type: BPF_PROG_TYPE_TRACING,
        insn_cnt: EMPTY.len() as u32,
        insns: EMPTY.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_name: *b"floor\0\0\0\0\0\0\0\0\0\0\0",
        expected_attach_type: BPF_TRACE_RAW_TP,
        attach_btf_id: id,
        ..Load::default()
    };
    // SAFETY: the layout is the kernel's, and what it points to is static.
    let program = unsafe { bpf(BPF_PROG_LOAD, &load) }.context("cannot load an empty program")?;
    let open = Open {
        prog_fd: std::os::fd::AsRawFd::as_raw_fd(&program) as u64,
        ..Open::default()
    };
    // SAFETY: likewise; it points to nothing.
    let link = unsafe { bpf(BPF_RAW_TRACEPOINT_OPEN, &open) }.context("cannot attach it")?;
    Ok([program, link])
}

/// A command of bpf(2) that answers with a descriptor.
///
/// # Safety
/// `attr` must be what the kernel takes `command`'s to be.
unsafe fn bpf<T>(command: libc::c_long, attr: &T) -> Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes as it is told.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if fd < 0 {
        bail!(std::io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd.try_into()?) })
}
