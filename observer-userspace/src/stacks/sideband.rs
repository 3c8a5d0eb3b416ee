//! What the kernel says about processes while they live: mapped, named,
//! forked, ended. Read from the rings of one dummy perf event per CPU, so that
//! nothing has to poll `/proc` and processes that live for 10 ms are seen too.
//!
//! Layouts: `linux/perf_event.h`, "enum perf_event_type".

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::kernel::perf::PerfEvent;

/// Bytes of one CPU's ring. A short process costs about 1 KiB of records, so
/// half of this (the watermark) is some 60 processes.
const RING_BYTES: usize = 128 * 1024;
/// Records younger than this wait for the next reading, because older ones may
/// still be on their way into another CPU's ring.
const SETTLE_NANOS: u64 = 1_000_000;

const RECORD_LOST: u32 = 2;
const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const RECORD_FORK: u32 = 7;
const RECORD_MMAP2: u32 = 10;
const RECORD_KSYMBOL: u32 = 17;
const MISC_COMM_EXEC: u16 = 1 << 13;
/// `PERF_RECORD_KSYMBOL_FLAGS_UNREGISTER`
const KSYMBOL_UNREGISTER: u16 = 1;

/// Device (major, minor) and inode of a mapped file; none of other mappings.
pub type FileIdentity = Option<(u32, u32, u64)>;

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `pid` mapped a file (or anonymous memory) executable.
    Mmap {
        /// Process id.
        pid: u32,
        /// First address.
        start: u64,
        /// First address behind it.
        end: u64,
        /// Offset of `start` in the file.
        offset: u64,
        /// Path as the process sees it, `//anon`, `[vdso]`, …
        path: String,
        /// Which file it is.
        identity: FileIdentity,
    },
    /// A thread got a name; `exec` when by starting another program.
    Comm {
        /// Process id.
        pid: u32,
        /// Thread id.
        tid: u32,
        /// The name.
        name: String,
        /// Whether this is an exec.
        exec: bool,
    },
    /// A process (not a thread) was born.
    Fork {
        /// Its process id.
        pid: u32,
        /// The parent's.
        parent: u32,
    },
    /// A thread-group leader ended.
    Exit {
        /// Its process id.
        pid: u32,
    },
    /// The kernel got or lost code (a BPF program, a trampoline).
    KernelCode {
        /// First address.
        start: u64,
        /// First address behind it.
        end: u64,
        /// What it is called; `None` when it is gone.
        name: Option<String>,
    },
    /// The ring was full and this many records are lost.
    Lost(u64),
}

/// The rings of all CPUs.
#[derive(Debug)]
pub struct SideBand {
    rings: Vec<Ring>,
    /// Read but not settled yet: `(time, event)`.
    pending: Vec<(u64, Event)>,
}

impl SideBand {
    /// Opens and starts one event per CPU of `cpus`.
    ///
    /// # Errors
    /// When an event can't be opened (see [`PerfEvent::side_band`]) or its
    /// ring can't be mapped (`EPERM`: `kernel.perf_event_mlock_kb` without
    /// CAP_IPC_LOCK).
    pub fn open(cpus: &[u32]) -> io::Result<Self> {
        let rings = cpus
            .iter()
            .map(|&cpu| Ring::open(cpu))
            .collect::<io::Result<Vec<_>>>()?;
        for ring in &rings {
            ring.event.enable()?;
        }
        Ok(Self {
            rings,
            pending: Vec::new(),
        })
    }

    /// The descriptors to poll; readable when a ring is half full.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|r| r.event.as_fd())
    }

    /// Hands all settled news to `handle`, in the order in which they happened
    /// on any CPU.
    pub fn drain(&mut self, mut handle: impl FnMut(Event)) {
        let settled = monotonic_nanos().saturating_sub(SETTLE_NANOS);
        for ring in &mut self.rings {
            ring.read(&mut self.pending);
        }
        self.pending.sort_by_key(|(time, _)| *time);
        let ready = self.pending.partition_point(|(time, _)| *time <= settled);
        for (_, event) in self.pending.drain(..ready) {
            handle(event);
        }
        self.pending.shrink_to(1024);
    }
}

fn monotonic_nanos() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(u64::MAX, |t| {
        t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64
    })
}

/// One CPU's ring: a control page (`perf_event_mmap_page`), then the data.
#[derive(Debug)]
struct Ring {
    event: PerfEvent,
    base: ptr::NonNull<u8>,
    page: usize,
    scratch: Vec<u8>,
}

/// Offsets of `data_head` and `data_tail` in `perf_event_mmap_page`, which
/// pads everything before them to 1 KiB.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

impl Ring {
    fn open(cpu: u32) -> io::Result<Self> {
        let event = PerfEvent::side_band(cpu, RING_BYTES as u32 / 2)?;
        // SAFETY: asks for a number, takes no pointer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(io::Error::other)?;
        // SAFETY: a new shared mapping of a descriptor we own; no address is
        // demanded, so nothing existing is replaced.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                page + RING_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_fd().as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = ptr::NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self {
            event,
            base,
            page,
            scratch: Vec::new(),
        })
    }

    fn counter(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the control page, 8-byte aligned, and shared with the
        // kernel, which is what an atomic allows.
        unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    fn copy(&mut self, from: u64, length: usize) {
        let at = from as usize % RING_BYTES;
        let first = length.min(RING_BYTES - at);
        self.scratch.clear();
        self.scratch.reserve(length);
        // SAFETY: both parts lie inside the data area, `scratch` has room for
        // `length` bytes, and the kernel doesn't write between tail and head.
        unsafe {
            let data = self.base.as_ptr().add(self.page);
            let to = self.scratch.as_mut_ptr();
            ptr::copy_nonoverlapping(data.add(at), to, first);
            ptr::copy_nonoverlapping(data, to.add(first), length - first);
            self.scratch.set_len(length);
        }
    }

    fn read(&mut self, into: &mut Vec<(u64, Event)>) {
        let head = self.counter(DATA_HEAD).load(Ordering::Acquire);
        let mut tail = self.counter(DATA_TAIL).load(Ordering::Relaxed);
        while head.wrapping_sub(tail) >= 8 {
            self.copy(tail, 8);
            // Without one it isn't a record, as below.
            let size = match self.scratch.as_slice() {
                [_, _, _, _, _, _, low, high, ..] => u16::from_ne_bytes([*low, *high]),
                _ => 0,
            };
            let size = usize::from(size);
            if size < 8 || size as u64 > head.wrapping_sub(tail) {
                // Not a record: skip what is there rather than loop for ever.
                tail = head;
                break;
            }
            self.copy(tail, size);
            into.extend(parse(&self.scratch));
            tail = tail.wrapping_add(size as u64);
        }
        fence(Ordering::SeqCst);
        self.counter(DATA_TAIL).store(tail, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly what `open` mapped; no reference into it survives.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.page + RING_BYTES);
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
/// The zero-terminated string that starts at `at`.
fn text_at(bytes: &[u8], at: usize) -> Option<String> {
    let rest = bytes.get(at..)?;
    let text = rest.split(|b| *b == 0).next().unwrap_or(rest);
    Some(String::from_utf8_lossy(text).into_owned())
}

/// One record, header included, with its time (the trailing `sample_id` holds
/// nothing else). `None` for records that Observer doesn't use.
fn parse(record: &[u8]) -> Option<(u64, Event)> {
    let kind = u32_at(record, 0)?;
    let misc = u16::from_ne_bytes(record.get(4..6)?.try_into().ok()?);
    let (body, trailer) = record.split_at_checked(record.len().checked_sub(8)?)?;
    let time = u64_at(trailer, 0)?;
    let event = match kind {
        RECORD_MMAP2 => {
            let start = u64_at(body, 16)?;
            // Whatever `misc` says (see `PerfEvent::side_band`): no event of
            // ours asks for build ids, so this is an inode.
            let inode = u64_at(body, 48)?;
            let (major, minor) = (u32_at(body, 40)?, u32_at(body, 44)?);
            let identity = (inode != 0).then_some((major, minor, inode));
            Event::Mmap {
                pid: u32_at(body, 8)?,
                start,
                end: start.saturating_add(u64_at(body, 24)?),
                offset: u64_at(body, 32)?,
                path: text_at(body, 72)?,
                identity,
            }
        }
        RECORD_COMM => Event::Comm {
            pid: u32_at(body, 8)?,
            tid: u32_at(body, 12)?,
            name: text_at(body, 16)?,
            exec: misc & MISC_COMM_EXEC != 0,
        },
        RECORD_FORK => {
            let (pid, parent) = (u32_at(body, 8)?, u32_at(body, 12)?);
            if pid == parent {
                return None; // a thread
            }
            Event::Fork { pid, parent }
        }
        RECORD_EXIT => {
            let (pid, tid) = (u32_at(body, 8)?, u32_at(body, 16)?);
            if pid != tid {
                return None; // a thread
            }
            Event::Exit { pid }
        }
        RECORD_KSYMBOL => {
            let start = u64_at(body, 8)?;
            let flags = u16::from_ne_bytes(body.get(22..24)?.try_into().ok()?);
            let gone = flags & KSYMBOL_UNREGISTER != 0;
            Event::KernelCode {
                start,
                end: start.saturating_add(u32_at(body, 16)?.into()),
                name: if gone { None } else { Some(text_at(body, 24)?) },
            }
        }
        RECORD_LOST => Event::Lost(u64_at(body, 16)?),
        _ => return None,
    };
    Some((time, event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Checks that a process that is long gone when the rings are read was
    /// seen from birth to end, in order, with its program's mapping.
    #[test]
    fn short_lived_process_is_seen() {
        let cpus = aya::util::online_cpus().expect("online CPUs");
        let mut band = match SideBand::open(&cpus) {
            Ok(band) => band,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("skipped: perf_event_open is not permitted here");
                return;
            }
            Err(error) => panic!("side band: {error}"),
        };
        let mut child = Command::new("/bin/true").spawn().expect("/bin/true");
        let pid = child.id();
        child.wait().expect("wait");
        std::thread::sleep(std::time::Duration::from_millis(5));
        let mut seen = Vec::new();
        band.drain(|event| seen.push(event));
        let at = |what: &dyn Fn(&Event) -> bool| seen.iter().position(what);
        let fork = at(&|e| matches!(e, Event::Fork { pid: p, .. } if *p == pid));
        let exec = at(
            &|e| matches!(e, Event::Comm { pid: p, exec: true, name, .. } if *p == pid && name == "true"),
        );
        let mapped = at(
            &|e| matches!(e, Event::Mmap { pid: p, path, .. } if *p == pid && path.ends_with("/true")),
        );
        let exit = at(&|e| matches!(e, Event::Exit { pid: p } if *p == pid));
        assert!(fork.is_some() && exec.is_some() && mapped.is_some() && exit.is_some());
        assert!(fork < exec && exec < mapped && mapped < exit);
    }

    /// Checks that kernel code that comes and goes is understood: records laid
    /// out as the comment at `PERF_RECORD_KSYMBOL` in linux/perf_event.h says.
    #[test]
    fn kernel_code() {
        let record = |flags: u16| {
            let mut record = 17_u32.to_ne_bytes().to_vec();
            record.extend([0, 0, 48, 0]); // misc, size
            record.extend(0xffff_ffff_c000_1000_u64.to_ne_bytes());
            record.extend(0x80_u32.to_ne_bytes());
            record.extend(1_u16.to_ne_bytes()); // PERF_RECORD_KSYMBOL_TYPE_BPF
            record.extend(flags.to_ne_bytes());
            record.extend(b"bpf_prog_abc_me\0");
            record.extend(77_u64.to_ne_bytes());
            record
        };
        let came = |name| Event::KernelCode {
            start: 0xffff_ffff_c000_1000,
            end: 0xffff_ffff_c000_1080,
            name,
        };
        let named = came(Some("bpf_prog_abc_me".to_string()));
        assert_eq!(parse(&record(0)), Some((77, named)));
        assert_eq!(parse(&record(1)), Some((77, came(None))));
    }

    /// Checks that a truncated or odd record is ignored, whatever its length.
    #[test]
    fn nonsense_is_ignored() {
        for kind in 0..20_u32 {
            for length in 0..72 {
                let mut record = vec![0_u8; length];
                if length >= 4 {
                    record[..4].copy_from_slice(&kind.to_ne_bytes());
                }
                if let Some((_, Event::Mmap { .. })) = parse(&record) {
                    panic!("an mmap record of {length} bytes has no room for its fields");
                }
            }
        }
    }
}
