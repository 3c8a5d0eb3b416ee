//! What code objects are called. They are read when the kernel half meets them first, since
//! the process may be gone when the profile is made, or another at the address: so each is
//! known by what identifies it, too, and a frame has its name only if that is the same.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use observer_common::cpython::{CodeFrame, identity};
use observer_common::workload::has_share;
use observer_runtimes::cpython::{Code, Runtime};

use crate::foreign::{self, ProcessMemory, Subject, Tenant};
use crate::stacks::module::{Lines, NamedLine};
use crate::stacks::raw::RawSample;
use crate::stacks::sideband::Event;

/// Code objects that are kept of one process.
const MAX_OF_PROCESS: usize = 32 * 1024;
/// Bytes that they take, and those of all processes.
const MAX_BYTES_OF_PROCESS: usize = 16 << 20;
const MAX_BYTES: u64 = 64 << 20;
/// Code objects that are read at once of a process.
const MAX_AT_ONCE: usize = 4096;
/// What can't be read of one process until nothing more of it is: who makes frames up has no
/// end of them.
const MAX_FAILED: usize = 4096;

/// Names of frames, by process.
pub(in crate::stacks) type PythonNames = HashMap<(u32, CodeFrame), Lines>;

/// Address and identity of code.
type Key = (u64, u64);

/// What is known of a process.
#[derive(Debug)]
struct Process {
    runtime: Runtime,
    codes: HashMap<Key, Arc<Code>>,
    /// That they take.
    bytes: usize,
    tenant: Tenant,
    failed: usize,
    ended: bool,
}

/// All code objects that are known.
#[derive(Debug, Default)]
pub(in crate::stacks) struct Codes {
    processes: HashMap<u32, Process>,
    unread: u64,
}

impl Codes {
    /// Takes one piece of news in.
    pub(in crate::stacks) fn apply(&mut self, event: &Event) {
        match event {
            Event::Comm {
                pid, exec: true, ..
            }
            | Event::Fork { pid, .. } => _ = self.processes.remove(pid),
            Event::Exit { pid } => {
                if let Some(process) = self.processes.get_mut(pid) {
                    process.ended = true;
                }
            }
            _ => {}
        }
    }

    /// Reads code objects that the kernel half met in process `pid`.
    pub(in crate::stacks) fn read(&mut self, pid: u32, runtime: &Runtime, mut codes: Vec<u64>) {
        let process = self.processes.entry(pid).or_insert_with(|| Process {
            runtime: *runtime,
            codes: HashMap::new(),
            bytes: 0,
            tenant: Tenant::of(pid),
            failed: 0,
            ended: false,
        });
        let tenant = process.tenant;
        if process.failed > MAX_FAILED || !self.admits(tenant) {
            return;
        }
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        if process.runtime != *runtime {
            process.runtime = *runtime;
            process.codes.clear();
            process.bytes = 0;
        }
        codes.sort_unstable();
        codes.dedup();
        let room = MAX_OF_PROCESS.saturating_sub(process.codes.len());
        codes.truncate(room.min(MAX_AT_ONCE));
        if codes.is_empty() {
            return;
        }
        let runtime = *runtime;
        let read = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
            let memory = ProcessMemory::of(foreign, pid);
            let objects = runtime.objects(&memory);
            let read = codes.into_iter().map(|at| (at, Code::read(&objects, at)));
            read.collect::<Vec<_>>()
        });
        for (at, code) in read.unwrap_or_default() {
            match code {
                Ok(code) if process.bytes + code.bytes() <= MAX_BYTES_OF_PROCESS => {
                    process.bytes += code.bytes();
                    let key = (at, identity_of(&code));
                    let before = process.codes.insert(key, Arc::new(code));
                    process.bytes -= before.map_or(0, |code| code.bytes());
                }
                Ok(_) => process.failed += 1,
                Err(error) => {
                    process.failed += 1;
                    tracing::trace!("code of process {pid} at {at:#x}: {error}");
                }
            }
        }
    }

    /// Whether more code of a tenant's processes is kept; else says so.
    fn admits(&self, tenant: Tenant) -> bool {
        let bytes = |of: Option<Tenant>| {
            let processes = self.processes.values();
            let theirs = processes.filter(|p| of.is_none_or(|of| of == p.tenant));
            theirs.map(|p| p.bytes as u64).sum::<u64>()
        };
        let free = MAX_BYTES.saturating_sub(bytes(None));
        if has_share(bytes(Some(tenant)), free, MAX_BYTES) {
            return true;
        }
        if foreign::refused("cpython_code", tenant.to_string()) {
            tracing::warn!(
                "no room for more Python functions of {tenant}: they have no names in profiles"
            );
        }
        false
    }

    /// Names of the Python frames of `samples`.
    pub(in crate::stacks) fn names(&mut self, samples: &[RawSample]) -> PythonNames {
        let mut names = PythonNames::new();
        let mut frames: HashMap<u32, HashSet<CodeFrame>> = HashMap::new();
        for sample in samples.iter().filter(|s| !s.stack.python.is_empty()) {
            let of_process = frames.entry(sample.pid).or_default();
            of_process.extend(sample.stack.python.iter().copied());
        }
        for (pid, frames) in frames {
            self.ask_again(pid, &frames);
            let process = self.processes.get(&pid);
            let code = |frame: &CodeFrame| process?.codes.get(&(frame.code, frame.identity));
            let mut unread = HashSet::new();
            for frame in frames {
                match code(&frame) {
                    Some(code) => _ = names.insert((pid, frame), lines(code, frame)),
                    None => _ = unread.insert((frame.code, frame.identity)),
                }
            }
            self.unread += unread.len() as u64;
        }
        names
    }

    /// Reads what isn't known yet, if the process lives.
    fn ask_again(&mut self, pid: u32, frames: &HashSet<CodeFrame>) {
        let Some(process) = self.processes.get(&pid).filter(|process| !process.ended) else {
            return;
        };
        let is_known =
            |frame: &&CodeFrame| process.codes.contains_key(&(frame.code, frame.identity));
        let unknown = frames.iter().filter(|frame| !is_known(frame));
        let unknown: Vec<u64> = unknown.map(|frame| frame.code).collect();
        let runtime = process.runtime;
        self.read(pid, &runtime, unknown);
    }

    /// Code objects that had no name in a profile, since the start.
    pub(in crate::stacks) fn unread(&self) -> u64 {
        self.unread
    }

    /// Lets go of processes that ended.
    pub(in crate::stacks) fn let_go(&mut self) {
        self.processes.retain(|_, process| !process.ended);
    }
}

/// What the kernel half tells of the same code.
fn identity_of(code: &Code) -> u64 {
    let of = &code.identity;
    identity(
        of.length,
        of.file,
        of.qualified_name,
        of.line_table,
        of.first_line,
    )
}

/// Function, file and line of a frame.
fn lines(code: &Code, frame: CodeFrame) -> Lines {
    let line = frame.unit.and_then(|unit| code.line(unit));
    [NamedLine {
        name: (&*code.name).into(),
        linkage_name: None,
        file: Some((&*code.file).into()),
        line: line.unwrap_or(code.first_line),
    }]
    .into()
}
