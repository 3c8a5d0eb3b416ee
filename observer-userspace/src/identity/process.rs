//! What `/proc/PID` says about a process that may end at any moment.

use std::time::Duration;

use observer_identity::context::{Context, mappings};
use observer_identity::membership::{Membership, parse_proc_cgroup};
use observer_identity::{Facts, Program, worker_pool};

use crate::foreign::{self, Foreign, Subject};
use crate::kernel::clock;

/// The most that is read of a process's environment, in bytes. It can be
/// megabytes; what matters is usually near the top, and the daemon's memory
/// must not depend on its neighbours.
const ENVIRON_LIMIT: u64 = 256 * 1024;

/// Linux cuts comms to this many bytes (`TASK_COMM_LEN` without the NUL).
const COMM_LIMIT: usize = 15;
/// The most that is read of its arguments, in bytes: what says which program runs stands
/// at the beginning.
const CMDLINE_LIMIT: u64 = 64 * 1024;

/// The most that is read of what it has mapped, in bytes: ten thousand mappings. In a
/// process with more a context is found if it is among the first.
const MAPS_LIMIT: u64 = 1024 * 1024;

/// How often and how long a process in the middle of exec is waited for. The
/// kernel does it in microseconds, but may be interrupted by the very event
/// that made us look.
const EXEC_TRIES: u32 = 5;
const EXEC_PAUSE: Duration = Duration::from_millis(1);

/// How many processes of a cgroup are asked for their name: a root cgroup can
/// have tens of thousands.
const SIBLING_LIMIT: usize = 256;

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`, as in field 9 of
/// `/proc/PID/stat`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// A process as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its id in the daemon's PID namespace.
    pub tgid: u32,
    /// Kernel time (ns) before anything of it was read.
    pub time: u64,
    /// The name of the thread-group leader. For kernel workers the kernel adds
    /// what they are working on; see [`Process::is_named`].
    pub comm: String,
    /// What it runs, and what it says about itself.
    pub program: Program,
    /// Where it stands in each cgroup hierarchy, best first.
    pub cgroups: Vec<Membership>,
}

impl Process {
    /// Reads what can be read; `None` when the process is gone or changed its
    /// program while we looked. Waits a few milliseconds for one that is just
    /// changing it: then name, executable and environment don't belong together.
    ///
    /// Of a process that doesn't answer, only what the kernel knows without it.
    pub fn read(tgid: u32) -> Option<Self> {
        // Most that are short are gone by now: no reader is needed to see that.
        foreign::process::comm(tgid)?;
        let whole = foreign::ask(Subject::Process(tgid), foreign::SHORTLY, move |foreign| {
            Self::read_whole(foreign, tgid)
        });
        whole.unwrap_or_else(|_| Self::read_outside(tgid))
    }

    fn read_whole(foreign: &Foreign, tgid: u32) -> Option<Self> {
        for _ in 0..EXEC_TRIES {
            match Self::try_read(foreign, tgid)? {
                (process, false) => return Some(process),
                (_, true) => std::thread::sleep(EXEC_PAUSE),
            }
        }
        None
    }

    /// The process, and whether it is in the middle of exec.
    fn try_read(foreign: &Foreign, tgid: u32) -> Option<(Self, bool)> {
        let time = clock::monotonic();
        let comm = comm(tgid)?;
        let stat = foreign::process::stat(foreign, tgid)?;
        let stat = String::from_utf8_lossy(&stat);
        let cgroups = foreign::process::cgroup(tgid)?;
        // Not allowed, or a zombie: then it declares nothing.
        let environ = foreign::process::environ(foreign, tgid, ENVIRON_LIMIT).unwrap_or_default();
        let cmdline = foreign::process::cmdline(foreign, tgid, CMDLINE_LIMIT).unwrap_or_default();
        let is_kernel_thread = is_kernel_thread(&stat);
        let context = (!is_kernel_thread)
            .then(|| context(foreign, tgid))
            .flatten();
        let (executable, cwd) = (executable(tgid), working_directory(tgid));
        let program = Program::of(&Facts {
            comm: &comm,
            is_kernel_thread,
            executable: executable.as_deref(),
            cmdline: &cmdline,
            environ: &environ,
            cwd: cwd.as_deref(),
            context: context.as_ref(),
        });
        let process = Self {
            tgid,
            time,
            program,
            cgroups: parse_proc_cgroup(&cgroups),
            comm,
        };
        // An exec in the meantime would have mixed two programs.
        let now = foreign::process::stat(foreign, tgid)?;
        let changed = memory(&stat) != memory(&String::from_utf8_lossy(&now));
        let unnamed = self::comm(tgid).is_none_or(|now| !process.is_named(&now));
        // Where the executable shows, so would the environment's place.
        let in_exec = executable.is_some() && stat_field(&stat, 50) == Some(0);
        Some((process, in_exec || changed || unnamed))
    }

    /// What the kernel says of a process without asking it.
    fn read_outside(tgid: u32) -> Option<Self> {
        let time = clock::monotonic();
        let comm = comm(tgid)?;
        let cgroups = foreign::process::cgroup(tgid)?;
        let (executable, cwd) = (executable(tgid), working_directory(tgid));
        let program = Program::of(&Facts {
            comm: &comm,
            executable: executable.as_deref(),
            cwd: cwd.as_deref(),
            ..Facts::default()
        });
        let unchanged = self::comm(tgid)? == comm;
        unchanged.then_some(Self {
            tgid,
            time,
            comm,
            program,
            cgroups: parse_proc_cgroup(&cgroups),
        })
    }

    /// Those of `candidates` that live under the name `comm`, one after the other.
    pub fn find(candidates: &[u32], comm: &str) -> impl Iterator<Item = Self> {
        candidates
            .iter()
            .take(SIBLING_LIMIT)
            .filter_map(move |tgid| {
                // One small file tells most of them off.
                if worker_pool(&self::comm(*tgid)?) != worker_pool(comm) {
                    return None;
                }
                Self::read(*tgid).filter(|process| process.is_named(comm))
            })
    }

    /// Its name as the kernel has it, if it still has that.
    pub fn name_bytes(&self) -> Option<[u8; 16]> {
        let now = foreign::process::comm(self.tgid)?;
        let now = now.strip_suffix(b"\n").unwrap_or(&now);
        let mut name = [0; 16];
        name.iter_mut()
            .take(COMM_LIMIT)
            .zip(now)
            .for_each(|(to, from)| *to = *from);
        (comm_from_bytes(now) == self.comm).then_some(name)
    }

    /// Whether `comm`, as the kernel half saw it, is this process's name.
    pub fn is_named(&self, comm: &str) -> bool {
        if self.program.is_kernel_thread {
            // /proc shows `kworker/0:1-events` for what is `kworker/0:1`.
            return worker_pool(&self.comm) == worker_pool(comm);
        }
        self.comm == comm
    }
}

/// Whether a name may be the beginning of a longer one.
pub(super) fn is_cut(comm: &str) -> bool {
    // A character that didn't fit whole isn't there.
    comm.len() + char::MAX.len_utf8() > COMM_LIMIT
}

fn comm(tgid: u32) -> Option<String> {
    foreign::process::comm(tgid).map(|bytes| comm_from_bytes(&bytes))
}

fn executable(tgid: u32) -> Option<String> {
    let target = foreign::process::executable(tgid)?;
    Some(target.to_string_lossy().into_owned())
}

fn working_directory(tgid: u32) -> Option<String> {
    let target = foreign::process::working_directory(tgid)?;
    Some(target.to_string_lossy().into_owned())
}

/// What its SDK published, if it did.
fn context(foreign: &Foreign, tgid: u32) -> Option<Context> {
    let maps = foreign::process::maps(foreign, tgid, MAPS_LIMIT).ok()?;
    mappings(&maps).into_iter().find_map(|start| {
        let memory = |at, into: &mut [u8]| foreign::process::memory(foreign, tgid, at, into);
        match Context::read(start, memory) {
            Ok(context) => Some(context),
            Err(error) => {
                tracing::debug!("the process context of process {tgid} isn't read: {error}");
                None
            }
        }
    })
}

/// A comm as people write it: up to the first NUL or line end, always UTF-8.
pub fn comm_from_bytes(bytes: &[u8]) -> String {
    let mut parts = bytes.split(|b| matches!(b, 0 | b'\n'));
    let name = parts.next().unwrap_or(bytes);
    let whole = match std::str::from_utf8(name) {
        // The kernel cuts between any two bytes: what is left of a character is none.
        Err(error) if error.error_len().is_none() && name.len() >= COMM_LIMIT => {
            name.get(..error.valid_up_to()).unwrap_or(name)
        }
        _ => name,
    };
    String::from_utf8_lossy(whole).into_owned()
}

fn is_kernel_thread(stat: &str) -> bool {
    stat_field(stat, 9).is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// Where a process's program stands in its memory, by `/proc/PID/stat` (fields 26 and
/// 48): the kernel chooses other addresses at each exec.
fn memory(stat: &str) -> [Option<u64>; 2] {
    [26, 48].map(|number| stat_field(stat, number))
}

/// A number in `/proc/PID/stat`, counted from 1 as proc(5) does: 9 is the
/// flags, 50 the address of the environment, 0 until exec has written it.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    // The name in parentheses, field 2, may itself contain blanks and
    // parentheses; field 3 comes right behind.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_ascii_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that our own process is described as std describes it.
    #[test]
    fn own_process_is_read() {
        let process = Process::read(std::process::id()).expect("we are alive");
        let exe = std::env::current_exe().expect("our executable");
        let name = exe.file_name().map(|n| n.to_string_lossy().into_owned());
        assert_eq!(process.program.executable, name);
        assert_eq!(process.program.executable_path.as_deref(), exe.to_str());
        assert!(!process.program.is_kernel_thread);
        assert!(!process.cgroups.is_empty());
    }

    /// Checks that a process that doesn't exist is not described.
    #[test]
    fn absent_process_is_none() {
        // Larger than the kernel's largest possible pid (2^22).
        assert_eq!(Process::read(1 << 30), None);
    }

    /// Checks that kernel threads are told by their flags, whatever their name.
    #[test]
    fn kernel_threads_are_told_by_flags() {
        assert!(is_kernel_thread("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        assert!(!is_kernel_thread("9 (a) S 1 (b) S 1 9 9 0 -1 4194560 0 0"));
        assert!(!is_kernel_thread("garbage"));
        assert_eq!(stat_field("9 (a) b) S 1 2", 4), Some(1));
        assert_eq!(stat_field("9 (a) S 1 2", 50), None);
    }

    /// Checks that comms end at NUL or newline and are always text.
    #[test]
    fn comms_are_text() {
        assert_eq!(comm_from_bytes(b"bash\0\0x"), "bash");
        assert_eq!(comm_from_bytes(b"a b\n"), "a b");
        assert_eq!(comm_from_bytes(b"\xff"), "\u{fffd}");
        // 15 bytes of a name whose letters have two or three.
        assert_eq!(
            comm_from_bytes("обработчик".get(..14).expect("bytes").as_bytes()),
            "обработ"
        );
        assert_eq!(
            comm_from_bytes("обработчик\0".as_bytes().get(..15).expect("bytes")),
            "обработ"
        );
        assert_eq!(
            comm_from_bytes("日本語サービス".as_bytes().get(..15).expect("bytes")),
            "日本語サー"
        );
    }
}
