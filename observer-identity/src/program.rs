//! What one process says about itself: facts in, a program out.

use crate::arguments;
use crate::candidate::Candidate;
use crate::context::Context;
use crate::environment::Declared;
use crate::hints::Hints;
use crate::languages::Language;
use crate::{redact, runtime, text};

/// What is known of a process; whatever isn't is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Its thread-group leader's name.
    pub comm: &'a str,
    /// Whether it is a thread of the kernel.
    pub is_kernel_thread: bool,
    /// The path of its executable, as the kernel writes it.
    pub executable: Option<&'a str>,
    /// `/proc/PID/cmdline`.
    pub cmdline: &'a [u8],
    /// `/proc/PID/environ`.
    pub environ: &'a [u8],
    /// The folder in which it works, as it sees it.
    pub cwd: Option<&'a str>,
    /// What its SDK published.
    pub context: Option<&'a Context>,
}

/// What a process is, as far as it says so itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// What its environment declares.
    pub declared: Declared,
    /// What its SDK published.
    pub context: Option<Context>,
    /// Whether it is a thread of the kernel.
    pub is_kernel_thread: bool,
    /// Base name of the executable.
    pub executable: Option<String>,
    /// Path of the executable, if it isn't in a folder for temporary files.
    pub executable_path: Option<String>,
    /// `process.runtime.name`.
    pub runtime_name: Option<String>,
    /// `process.runtime.version`.
    pub runtime_version: Option<String>,
    /// `process.command_args`, without what could be secret. Another one for each process:
    /// nothing for metrics.
    pub command_args: Vec<String>,
    pub(crate) hints: Hints,
    pub(crate) ran: Option<Candidate>,
    /// The name under which an executable of many programs was called, or the link by which
    /// it was found (Debian's `redis-server` is one to `redis-check-rdb`).
    pub(crate) applet: Option<String>,
}

/// Executables that are many programs, by the name under which they are called.
const MANY: &[&str] = &["busybox", "toybox", "coreutils"];

impl Program {
    /// Looks at the facts of a process.
    pub fn of(facts: &Facts<'_>) -> Self {
        let hints = Hints::from_environ(facts.environ);
        let path = facts.executable.map(without_deletion);
        // What runs from memory has no file; what it is called there says nothing.
        let executable = path.filter(|path| !is_in_memory(path)).map(base_name);
        let arguments = arguments::split(facts.cmdline);
        let called = arguments
            .first()
            .map(|first| base_name(first).trim_start_matches('-'));
        let is_many = executable.is_some_and(|it| MANY.contains(&it));
        let applet = called.filter(|called| is_many && !called.is_empty());
        let applet = applet.or_else(|| link(called?, facts.comm, executable?));
        // Who can't be looked at is what its name says.
        let runs = applet.or(executable).unwrap_or(facts.comm);
        let language = Language::of(runs).filter(|_| !facts.is_kernel_thread);
        let ran = language.and_then(|it| it.candidate(&arguments, facts.cwd, &hints));
        let (runtime_name, runtime_version) = match (language, path) {
            (Some(language), Some(path)) => runtime::of(language, path),
            _ => (None, None),
        };
        Self {
            declared: Declared::from_environ(facts.environ),
            context: facts.context.cloned(),
            is_kernel_thread: facts.is_kernel_thread,
            executable: executable.and_then(text::name),
            executable_path: path.filter(|path| is_lasting(path)).and_then(text::value),
            runtime_name,
            runtime_version,
            command_args: redact::command_args(&arguments),
            applet: applet.and_then(text::name),
            hints,
            ran,
        }
    }
}

/// The link by which an executable was found, if it was: the kernel names a process by the
/// path that it is told to execute (fs/exec.c, `begin_new_exec`), cut to 15 bytes, and who
/// executes it by its first argument, behind which the program may have written more.
fn link<'a>(called: &'a str, comm: &str, executable: &str) -> Option<&'a str> {
    let called = called.split(' ').next()?;
    let cut = |name: &str| name.bytes().take(15).eq(comm.bytes());
    // Of the versions of one program (`python3`, which is `python3.11`) the file says more.
    let other = !executable.starts_with(called) && !called.starts_with(executable);
    (!called.is_empty() && cut(called) && !cut(executable) && other).then_some(called)
}

/// Whether a program's file is one of memfd_create(2), which the kernel shows as
/// `/memfd:NAME` (mm/memfd.c).
fn is_in_memory(path: &str) -> bool {
    path.starts_with("/memfd:")
}

/// Whether a path is the same at each start.
fn is_lasting(path: &str) -> bool {
    path.starts_with('/')
        && !is_in_memory(path)
        && !path.starts_with("/proc/")
        && !crate::stable::is_in_temporary(path)
}

/// The kernel marks a file that was replaced while it runs.
fn without_deletion(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
