//! `perf_event_open(2)`: the few kinds of events Observer uses.
//!
//! aya can attach a program to a perf event, but it can't leave the idle task
//! out, can't open side-band (mmap, comm, fork, exit) events and doesn't map
//! their ring, so events are opened here.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `PERF_TYPE_SOFTWARE`.
const TYPE_SOFTWARE: u32 = 1;
/// `PERF_COUNT_SW_CPU_CLOCK`: a high-resolution timer per CPU.
const SW_CPU_CLOCK: u64 = 0;
/// `PERF_COUNT_SW_DUMMY`: counts nothing, carries side-band records.
const SW_DUMMY: u64 = 9;
/// `PERF_SAMPLE_TIME`: the record's time, in `sample_id` too.
const SAMPLE_TIME: u64 = 1 << 2;
/// `PERF_FLAG_FD_CLOEXEC`.
const FD_CLOEXEC: libc::c_ulong = 1 << 3;
/// `_IO('$', 0)`, `_IOW('$', 8, u32)` of `linux/perf_event.h`.
const IOC_ENABLE: libc::Ioctl = 0x2400;
const IOC_SET_BPF: libc::Ioctl = 0x4004_2408;

/// Bits of the flag word of `perf_event_attr`, numbered as in
/// `linux/perf_event.h`.
mod flag {
    pub(super) const DISABLED: u64 = 1 << 0;
    pub(super) const EXCLUDE_IDLE: u64 = 1 << 7;
    pub(super) const MMAP: u64 = 1 << 8;
    pub(super) const COMM: u64 = 1 << 9;
    pub(super) const FREQ: u64 = 1 << 10;
    pub(super) const TASK: u64 = 1 << 13;
    pub(super) const WATERMARK: u64 = 1 << 14;
    pub(super) const SAMPLE_ID_ALL: u64 = 1 << 18;
    pub(super) const MMAP2: u64 = 1 << 23;
    pub(super) const COMM_EXEC: u64 = 1 << 24;
    pub(super) const USE_CLOCKID: u64 = 1 << 25;
    pub(super) const KSYMBOL: u64 = 1 << 29;
}

/// `struct perf_event_attr` up to `PERF_ATTR_SIZE_VER5` (112 bytes), which
/// every kernel since 4.1 knows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period_or_freq: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clockid: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}
const ATTR_SIZE: u32 = 112;
const _: () = assert!(size_of::<Attr>() == ATTR_SIZE as usize);

/// Where the kernel says which number its events on user functions have.
const UPROBE_TYPE: &str = "/sys/bus/event_source/devices/uprobe/type";
/// Bit 0 of `config` (`format/retprobe` beside [`UPROBE_TYPE`]): at the return.
const RETURN: u64 = 1;

/// Who may open events.
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
/// The strictest level of [`PARANOID`] that Linux itself knows, and at which
/// `CAP_PERFMON` is enough. Debian's and Ubuntu's kernels have stricter ones, which are
/// their default, and at which only `CAP_SYS_ADMIN` is.
const STRICTEST: i64 = 2;

/// What it takes to open events, where that is refused.
pub fn privilege() -> String {
    let level = fs::read_to_string(PARANOID).ok();
    privilege_at(level.and_then(|text| text.trim().parse().ok()))
}

fn privilege_at(level: Option<i64>) -> String {
    match level {
        Some(level) if level > STRICTEST => format!(
            "kernel.perf_event_paranoid is {level}, at which kernels like Debian's ask for \
             CAP_SYS_ADMIN; at {STRICTEST} CAP_PERFMON is enough: \
             sysctl -w kernel.perf_event_paranoid={STRICTEST}"
        ),
        _ => "it takes CAP_PERFMON, or CAP_SYS_ADMIN before Linux 5.8".to_owned(),
    }
}

/// Whether this process may open events on the kernel's own clock.
pub fn is_allowed() -> bool {
    let online = aya::util::online_cpus().unwrap_or_default();
    // Whatever else may be wrong is told where the event is used.
    !online.first().is_some_and(|cpu| {
        let opened = PerfEvent::cpu_clock(*cpu, 1);
        opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

/// The number of the kernel's events on functions of user programs.
///
/// # Errors
/// When the kernel has none (`CONFIG_UPROBE_EVENTS`, since 4.17).
pub fn uprobe_type() -> io::Result<u32> {
    let text = fs::read_to_string(UPROBE_TYPE)?;
    text.trim()
        .parse()
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

/// An open perf event; closed when dropped.
#[derive(Debug)]
pub struct PerfEvent {
    fd: OwnedFd,
}

impl PerfEvent {
    /// A CPU clock on `cpu` that fires `frequency` times per second of
    /// non-idle time, whatever runs. It is not enabled yet.
    ///
    /// # Errors
    /// What `perf_event_open(2)` says; `EACCES` and `EPERM` mean that
    /// CAP_PERFMON (or CAP_SYS_ADMIN before Linux 5.8) is missing, `EINVAL`
    /// may mean a frequency above `kernel.perf_event_max_sample_rate`.
    pub fn cpu_clock(cpu: u32, frequency: u64) -> io::Result<Self> {
        Self::open(
            &Attr {
                kind: TYPE_SOFTWARE,
                config: SW_CPU_CLOCK,
                sample_period_or_freq: frequency,
                flags: flag::DISABLED | flag::FREQ | flag::EXCLUDE_IDLE,
                ..Attr::default()
            },
            cpu,
        )
    }

    /// A side-band event on `cpu`: executable mappings, names, forks, exits and
    /// new kernel symbols, with CLOCK_MONOTONIC times. `watermark` is how many bytes wait in the ring
    /// before a reader is woken. It is not enabled yet.
    ///
    /// Build ids (`attr.build_id`, since 5.12) are not asked for: while one
    /// event asks, the kernel (6.18 at least) marks the mapping records of
    /// *other* events as having one too, though they hold an inode, and a `perf`
    /// that records meanwhile fails to read its own file.
    ///
    /// # Errors
    /// As for [`Self::cpu_clock`].
    pub fn side_band(cpu: u32, watermark: u32) -> io::Result<Self> {
        let attr = Attr {
            kind: TYPE_SOFTWARE,
            config: SW_DUMMY,
            sample_period_or_freq: 1,
            sample_type: SAMPLE_TIME,
            flags: flag::DISABLED
                | flag::MMAP
                | flag::MMAP2
                | flag::COMM
                | flag::COMM_EXEC
                | flag::KSYMBOL
                | flag::TASK
                | flag::WATERMARK
                | flag::SAMPLE_ID_ALL
                | flag::USE_CLOCKID,
            wakeup: watermark,
            clockid: libc::CLOCK_MONOTONIC,
            ..Attr::default()
        };
        Self::open(&attr, cpu)
    }

    /// The call of (or the return from) a function of the file `path`, by
    /// whatever process, on whatever CPU; `offset` is where in the file the
    /// function begins. `kind` is [`uprobe_type`]. As long as it is open, the
    /// file's mount can't be unmounted.
    ///
    /// # Errors
    /// As for [`Self::cpu_clock`]; also what the kernel thinks of the path, the
    /// offset and the instruction there.
    pub fn user_function(kind: u32, path: &CStr, offset: u64, at_return: bool) -> io::Result<Self> {
        let attr = Attr {
            kind,
            config: if at_return { RETURN } else { 0 },
            // The kernel copies the text.
            config1: path.as_ptr() as u64,
            config2: offset,
            ..Attr::default()
        };
        // One CPU must be named; the probe is in the file's code, for all.
        Self::open(&attr, 0)
    }

    fn open(attr: &Attr, cpu: u32) -> io::Result<Self> {
        let attr = Attr {
            size: ATTR_SIZE,
            ..*attr
        };
        let every_process: libc::pid_t = -1;
        let no_group: RawFd = -1;
        // SAFETY: `attr` is a live perf_event_attr whose `size` says how much
        // of it may be read, and if it points to a path, its maker has that
        // borrowed; the other arguments are plain integers.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                every_process,
                cpu as libc::c_int,
                no_group,
                FD_CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned this descriptor; nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        Ok(Self { fd })
    }

    /// Starts it.
    ///
    /// # Errors
    /// What `ioctl(2)` says.
    pub fn enable(&self) -> io::Result<()> {
        self.ioctl(IOC_ENABLE, 0)
    }

    /// Runs the loaded `BPF_PROG_TYPE_PERF_EVENT` program at every overflow (or
    /// `BPF_PROG_TYPE_KPROBE` program at every call of a function), until the
    /// event is closed. Works since Linux 4.9 (no BPF link needed).
    ///
    /// # Errors
    /// What `ioctl(2)` says.
    pub fn set_bpf(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        self.ioctl(IOC_SET_BPF, program.as_raw_fd() as libc::c_ulong)
    }

    fn ioctl(&self, request: libc::Ioctl, argument: libc::c_ulong) -> io::Result<()> {
        // SAFETY: these requests take an integer, no pointer.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), request, argument) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl AsFd for PerfEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that who is refused is told of the setting where that is what refuses, and
    /// of the capability elsewhere.
    #[test]
    fn whoever_is_refused_is_told_why() {
        for level in [None, Some(-1), Some(2)] {
            let told = privilege_at(level);
            assert!(
                told.contains("CAP_PERFMON") && !told.contains("sysctl"),
                "{told}"
            );
        }
        let told = privilege_at(Some(3));
        assert!(
            told.contains("is 3") && told.contains("sysctl -w"),
            "{told}"
        );
    }
}
