//! The smallest programs that prove that hooks work: loaded, attached, gone.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::kernel::btf::KernelBtf;
use crate::kernel::perf::{PerfEvent, uprobe_type};

/// Bytes of the file that is attached to.
const PAGE: usize = 4096;

// From the kernel's include/uapi/linux/bpf.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_RAW_TP: u32 = 23;

/// `r0 = 0; exit`, as the kernel encodes instructions (little end first).
#[cfg(target_endian = "little")]
const DO_NOTHING: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
#[cfg(target_endian = "big")]
const DO_NOTHING: [u64; 2] = [0xb700_0000_0000_0000, 0x9500_0000_0000_0000];

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`, up to `attach_btf_id`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// The same for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct RawTracepointOpen {
    name: u64,
    prog_fd: u32,
    padding: u32,
}

/// Attaches a program that does nothing to `sched_switch`, by its type, and
/// takes it away.
///
/// # Errors
/// The kernel's reason; `ENOENT` when its types can't be read.
pub fn attach_typed_tracepoint() -> Result<(), Errno> {
    let attach_btf_id = KernelBtf::load()
        .ok()
        .and_then(|btf| btf.tracepoint_id("sched_switch"))
        .ok_or(Errno::ENOENT)?;
    let license = c"Dual MIT/GPL";
    let load = ProgLoad {
        prog_type: BPF_PROG_TYPE_TRACING,
        expected_attach_type: BPF_TRACE_RAW_TP,
        insn_cnt: DO_NOTHING.len() as u32,
        insns: DO_NOTHING.as_ptr() as u64,
        license: license.as_ptr() as u64,
        attach_btf_id,
        ..ProgLoad::default()
    };
    let program = bpf(BPF_PROG_LOAD, &load)?;
    let open = RawTracepointOpen {
        name: 0,
        prog_fd: program.as_raw_fd() as u32,
        padding: 0,
    };
    bpf(BPF_RAW_TRACEPOINT_OPEN, &open).map(drop)
}

/// One bpf(2) that returns a descriptor.
fn bpf<T>(command: libc::c_long, attributes: &T) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes; `T` is the head of
    // `union bpf_attr` for this command, and what it points to outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    let fd = Errno::result(fd)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches to a function of a file that nobody runs, as is done with TLS
/// libraries; no program runs there.
///
/// # Errors
/// The kernel's reason; `ENOENT` when it has no such events.
pub fn attach_user_function() -> Result<(), Errno> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let kind = uprobe_type().map_err(|_| Errno::ENOENT)?;
    // SAFETY: the name is a text that ends with a zero byte.
    let fd = unsafe { libc::memfd_create(c"function".as_ptr(), libc::MFD_CLOEXEC) };
    let fd = Errno::result(fd)?;
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(&[0; PAGE]).map_err(errno)?;
    let path = CString::new(format!("/proc/self/fd/{fd}")).map_err(|_| Errno::EINVAL)?;
    PerfEvent::user_function(kind, &path, 0, false)
        .map(drop)
        .map_err(errno)
}

/// Opens the software clock on CPU 0 for all processes, as the sampler does.
///
/// # Errors
/// The kernel's reason.
pub fn open_perf_event() -> Result<(), Errno> {
    /// `struct perf_event_attr` up to `PERF_ATTR_SIZE_VER0`.
    #[repr(C)]
    #[derive(Default)]
    struct PerfEventAttr {
        kind: u32,
        size: u32,
        config: u64,
        sample_period: u64,
        sample_type: u64,
        read_format: u64,
        flags: u64,
        wakeup_events: u32,
        bp_type: u32,
        config1: u64,
    }
    // include/uapi/linux/perf_event.h: a software event, its CPU clock, and
    // the flag `disabled`: it never fires.
    const SOFTWARE: u32 = 1;
    const CPU_CLOCK: u64 = 0;
    const DISABLED: u64 = 1;
    const FLAG_FD_CLOEXEC: libc::c_ulong = 8;

    let attr = PerfEventAttr {
        kind: SOFTWARE,
        size: size_of::<PerfEventAttr>() as u32,
        config: CPU_CLOCK,
        sample_period: 1_000_000_000,
        flags: DISABLED,
        ..PerfEventAttr::default()
    };
    let (all_processes, cpu, no_group) = (-1, 0, -1);
    // SAFETY: the kernel reads `attr.size` bytes of `attr`.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            all_processes,
            cpu,
            no_group,
            FLAG_FD_CLOEXEC,
        )
    };
    let fd = Errno::result(fd)?;
    // SAFETY: a new descriptor that nobody else owns.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}
