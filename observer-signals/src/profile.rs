//! Profiles: counted, symbolized stacks in tables named after their data.
//!
//! A [`Profile`] is what `stacks::interner` makes and what pprof, folded, SVG
//! and OTLP are written from; because all four read these same tables they
//! always agree. In every table entry 0 is the zero value ("none"), as OTLP's
//! dictionary demands.
//!
//! Stacks are leaf first: `stack_table[s][0]` is where the CPU was.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use observer_common::unwind::Outcome;

use super::UnixNanos;
use super::attribute::SharedResource;
use super::wait::Waited;

/// Index into [`Profile::string_table`]; 0 is `""`.
pub type StringId = u32;
/// Index into [`Profile::mapping_table`]; 0 is none.
pub type MappingId = u32;
/// Index into [`Profile::function_table`]; 0 is none.
pub type FunctionId = u32;
/// Index into [`Profile::frame_table`]; 0 is none.
pub type FrameId = u32;
/// Index into [`Profile::stack_table`]; 0 is the empty stack.
pub type StackId = u32;

/// What kind of code a frame is (`profile.frame.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// Compiled user code.
    #[default]
    Native,
    /// The kernel or one of its modules.
    Kernel,
    /// Code made at run time, named by a perf map or jitdump.
    Jit,
    /// A CPython frame.
    CPython,
}

impl FrameKind {
    /// The semantic convention's value of `profile.frame.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kernel => "kernel",
            Self::Jit => "jit",
            Self::CPython => "cpython",
        }
    }
}

/// A file (or the kernel) mapped into memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// First address of the mapping.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset of `start` in the file.
    pub file_offset: u64,
    /// Path as the process sees it, `[kernel.kallsyms]`, `[vdso]`, …
    pub path: StringId,
    /// GNU build id, lower-case hex; 0 when unknown.
    pub build_id: StringId,
}

/// A function, named for people and for linkers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Function {
    /// Demangled name.
    pub name: StringId,
    /// Name as in the symbol table; 0 when the same.
    pub system_name: StringId,
    /// Source file; 0 when unknown.
    pub file: StringId,
}

/// One line of a frame: the innermost inlined function comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Line {
    /// Name of the function.
    pub function: FunctionId,
    /// Source line, 0 when unknown.
    pub line: u32,
}

/// A place in code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What kind of code.
    pub kind: FrameKind,
    /// Where it is mapped; 0 when unknown.
    pub mapping: MappingId,
    /// Address: for mapped files, the address in the file's own address space
    /// (what `addr2line` takes); else the runtime address.
    pub address: u64,
    /// Innermost inlined function first; empty when it couldn't be named.
    pub lines: Vec<Line>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProfileKind {
    /// Samples on CPU; a sample stands for one period of CPU time.
    #[default]
    OnCpu,
    /// Nanoseconds off CPU: blocked, or waiting for a CPU.
    OffCpu,
    /// Nanoseconds of wall-clock time: on CPU and off CPU together.
    Wall,
}

/// One stack of one thread and how often (or long) it was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Stack in the profile's table.
    pub stack: StackId,
    /// Process id in the host's PID namespace.
    pub pid: u32,
    /// Thread id in the host's PID namespace.
    pub tid: u32,
    /// The thread's name.
    pub thread: StringId,
    /// The process's (thread-group leader's) name.
    pub process: StringId,
    /// Whom it belongs to: index into [`Profile::resources`].
    pub resource: u32,
    /// How it was off CPU, if it was.
    pub wait: Option<Waited>,
    /// Count for [`ProfileKind::OnCpu`], else nanoseconds.
    pub value: u64,
    /// Trace and span that the thread was serving, if known.
    pub link: Option<([u8; 16], [u8; 8])>,
    /// The route of the request that the thread was serving; 0 when there is
    /// none, or it isn't known.
    pub route: StringId,
}

/// All that was sampled in one interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// What was counted.
    pub kind: ProfileKind,
    /// Whom it is about, where and since when, for a picture's title; may be empty.
    pub about: String,
    /// Begin of the interval.
    pub start: UnixNanos,
    /// Its length in nanoseconds.
    pub duration: u64,
    /// Nanoseconds of CPU time that one sample stands for (never 0 for on-CPU).
    pub period: u64,
    /// Interned strings.
    pub string_table: Vec<String>,
    /// Interned mappings.
    pub mapping_table: Vec<Mapping>,
    /// Interned functions.
    pub function_table: Vec<Function>,
    /// Interned frames.
    pub frame_table: Vec<Frame>,
    /// Interned stacks, leaf first.
    pub stack_table: Vec<Vec<FrameId>>,
    /// The workloads' resources.
    pub resources: Vec<SharedResource>,
    /// Stacks with what was counted for each.
    pub samples: Vec<Sample>,
    /// What unwinding came to: the values of all samples by outcome, without
    /// those that are zero.
    pub outcomes: Vec<(Outcome, u64)>,
    /// The arguments of processes (`process.command_args`), by their ids, as far as they
    /// are known.
    pub commands: HashMap<u32, Arc<[String]>>,
}

/// One function of a stack, as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The function, or `file+0xaddress` when it has no name.
    pub name: Cow<'a, str>,
    /// What kind of code.
    pub kind: FrameKind,
    /// Whether the compiler inlined it into the function before it.
    pub inlined: bool,
}

impl Profile {
    /// The interned string, `""` for an unknown id.
    pub fn text(&self, id: StringId) -> &str {
        self.string_table
            .get(id as usize)
            .map_or("", String::as_str)
    }

    /// Sum of all samples' values.
    pub fn total(&self) -> u64 {
        self.samples.iter().map(|s| s.value).sum()
    }

    /// The values of all samples whose stacks aren't whole, by reason, greatest
    /// first.
    pub fn incomplete(&self) -> Vec<(Outcome, u64)> {
        let outcomes = self.outcomes.iter().copied();
        let mut incomplete: Vec<_> = outcomes.filter(|(o, _)| !o.is_complete()).collect();
        incomplete.sort_by_key(|(_, value)| std::cmp::Reverse(*value));
        incomplete
    }

    /// The frame's functions, innermost inlined function first; one call named
    /// by address when it has no symbol.
    pub fn calls(&self, frame: FrameId) -> impl DoubleEndedIterator<Item = Call<'_>> {
        let frame = self.frame_table.get(frame as usize);
        let kind = frame.map_or(FrameKind::Native, |f| f.kind);
        let lines = frame.map_or(&[][..], |f| &f.lines);
        let unnamed = frame.filter(|f| f.lines.is_empty()).map(|f| Call {
            name: Cow::Owned(self.label_by_address(f)),
            kind,
            inlined: false,
        });
        let outermost = lines.len().saturating_sub(1);
        let named = lines.iter().enumerate().map(move |(i, line)| {
            let function = self.function_table.get(line.function as usize);
            Call {
                name: Cow::Borrowed(function.map_or("", |f| self.text(f.name))),
                kind,
                inlined: i < outermost,
            }
        });
        named.chain(unnamed)
    }

    /// All functions of a stack, root first.
    pub fn calls_from_root(&self, stack: StackId) -> impl Iterator<Item = Call<'_>> {
        let frames = self.stack_table.get(stack as usize);
        let frames = frames.map_or(&[][..], Vec::as_slice);
        frames.iter().rev().flat_map(|f| self.calls(*f).rev())
    }

    /// The function of a stack's leaf, for lists of the hottest: those of a file
    /// without symbols together, because single addresses tell people nothing.
    pub fn leaf(&self, stack: StackId) -> String {
        let frames = self.stack_table.get(stack as usize);
        let Some(&frame) = frames.and_then(|frames| frames.first()) else {
            return "[no stack]".to_owned();
        };
        let place = self.frame_table.get(frame as usize);
        let mapping = place.and_then(|f| self.mapping_table.get(f.mapping as usize));
        match (place, mapping) {
            (Some(place), Some(mapping)) if place.lines.is_empty() && mapping.path != 0 => {
                let path = self.text(mapping.path);
                format!("{} (no symbols)", path.rsplit('/').next().unwrap_or(path))
            }
            (Some(place), _) if place.lines.is_empty() => "[unknown]".to_owned(),
            _ => match self.calls(frame).next() {
                Some(call) => call.name.into_owned(),
                None => "[unknown]".to_owned(),
            },
        }
    }

    /// `libc.so.6+0x1234`, or only the address where nothing is mapped.
    fn label_by_address(&self, frame: &Frame) -> String {
        let mapping = self.mapping_table.get(frame.mapping as usize);
        let path = mapping.map_or("", |m| self.text(m.path));
        let file = path.rsplit('/').next().unwrap_or(path);
        match file {
            "" => format!("{:#x}", frame.address),
            file => format!("{file}+{:#x}", frame.address),
        }
    }
}
