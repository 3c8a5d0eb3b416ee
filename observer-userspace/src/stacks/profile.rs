//! From samples, locations and names to a profile.

use std::collections::HashMap;

use super::cpython::{Merged, Native, PythonNames, merge};
use super::kernel_names::KernelNames;
use super::locations::Location;
use super::module::{Lines, NamedLine};
use super::raw::{RawProfile, RawSample, Wait};
use super::wait_reasons::{DEPTH, explain, is_switch};
use observer_common::unwind::Outcome;
use observer_runtimes::cpython::Place;
use observer_signals::Profile;
use observer_signals::interner::Interner;
use observer_signals::profile::{Frame, FrameKind, Function, Line, Mapping, MappingId, Sample};
use observer_signals::wait::Waited;

/// Where the kernel half of the address space begins (x86_64, aarch64).
const KERNEL_START: u64 = 0xffff_0000_0000_0000;

/// Names of code made at run time, by process and address.
pub(super) type JitNames = HashMap<(u32, u64), Lines>;

/// How much of a profile has names, weighted by how often it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameShare {
    /// Frames with a symbol.
    pub named: u64,
    /// All frames.
    pub all: u64,
}

/// Everything that names what a profile has.
pub(super) struct Names<'a> {
    pub(super) kernel: &'a KernelNames,
    pub(super) jit: &'a JitNames,
    pub(super) python: &'a PythonNames,
    /// Whether the interpreter's own functions are shown.
    pub(super) interpreter_frames: bool,
}

/// A profile of `raw`, whose samples' user frames lie at `locations`.
pub(super) fn build(
    raw: &RawProfile,
    locations: &[Vec<Location>],
    names: &Names<'_>,
) -> (Profile, FrameShare) {
    let mut share = FrameShare::default();
    let mut interner = Interner::new(Profile {
        kind: raw.kind,
        start: raw.start,
        duration: raw.duration,
        period: raw.period,
        ..Profile::default()
    });
    let path = interner.string("[kernel.kallsyms]");
    let build_id = interner.string(names.kernel.build_id());
    let kernel = Mapping {
        start: KERNEL_START,
        end: u64::MAX,
        file_offset: 0,
        path,
        build_id,
    };
    for (sample, locations) in raw.samples.iter().zip(locations) {
        interner.outcome(sample.outcome, sample.value);
        let mut frames = kernel_frames(&mut interner, &kernel, sample, names.kernel);
        let user = user_frames(&mut interner, sample, locations, names);
        let wait = sample.wait.map(|wait| {
            let mapping = interner.mapping(kernel.clone());
            let near = near_the_wait(&mut interner, sample, locations, names);
            let near = near.as_ref().unwrap_or(&user);
            put_reason(&mut interner, mapping, wait, &mut frames, near)
        });
        frames.extend(user);
        share.all += frames.len() as u64 * sample.value;
        let named = frames.iter().filter(|f| !f.lines.is_empty()).count();
        share.named += named as u64 * sample.value;
        add_sample(&mut interner, sample, frames, wait);
    }
    (interner.finish(), share)
}

/// Adds a sample with this stack, leaf first.
fn add_sample(
    interner: &mut Interner,
    sample: &RawSample,
    frames: Vec<Frame>,
    wait: Option<Waited>,
) {
    let frames = frames.into_iter().map(|f| interner.frame(f)).collect();
    let stack = interner.stack(frames);
    let thread = interner.string(&sample.thread);
    let process = interner.string(&sample.process);
    let resource = interner.resource(&sample.resource);
    let request = sample.request_link.as_deref();
    let route = request.and_then(|request| request.route.as_deref());
    let route = interner.string(route.unwrap_or_default());
    interner.sample(Sample {
        stack,
        pid: sample.pid,
        tid: sample.tid,
        thread,
        process,
        resource,
        wait,
        value: sample.value,
        // A link to a span that nobody has leads nowhere.
        link: request
            .filter(|request| request.sampled)
            .map(|request| (request.trace_id, request.span_id)),
        route,
    });
}

/// The kernel half of a sample's stack; without it, the kernel isn't mapped.
fn kernel_frames(
    interner: &mut Interner,
    kernel: &Mapping,
    sample: &RawSample,
    names: &KernelNames,
) -> Vec<Frame> {
    let sites = sample.stack.kernel_call_sites();
    sites
        .map(|address| Frame {
            kind: FrameKind::Kernel,
            mapping: interner.mapping(kernel.clone()),
            address,
            lines: intern_lines(interner, names.get(address)),
        })
        .collect()
}

fn intern_lines(interner: &mut Interner, lines: Option<&Lines>) -> Vec<Line> {
    let lines = lines.map_or(&[][..], |l| l);
    lines
        .iter()
        .map(|line| {
            let name = interner.string(&line.name);
            let system_name = interner.string(line.linkage_name.as_deref().unwrap_or(""));
            let file = interner.string(line.file.as_deref().unwrap_or(""));
            let function = interner.function(Function {
                name,
                system_name,
                file,
            });
            Line {
                function,
                line: line.line,
            }
        })
        .collect()
}

/// Puts a frame that says why the thread waited on top of its kernel frames,
/// in the place of those that only switch threads. `user` are the frames behind them.
fn put_reason(
    interner: &mut Interner,
    mapping: MappingId,
    wait: Wait,
    kernel: &mut Vec<Frame>,
    user: &[Frame],
) -> Waited {
    let names = kernel.iter().map(|frame| interner.name_of(frame));
    let switching = names.clone().take_while(|name| is_switch(name)).count();
    let functions = user.iter().flat_map(|frame| interner.names_of(frame));
    let waited = explain(wait, names.skip(switching), functions);
    kernel.drain(..switching);
    let name = interner.string(waited.reason.frame());
    let function = interner.function(Function {
        name,
        ..Function::default()
    });
    kernel.insert(
        0,
        Frame {
            kind: FrameKind::Kernel,
            mapping,
            address: 0,
            lines: vec![Line { function, line: 0 }],
        },
    );
    waited
}

/// Of a stack whose native frames are left out in part, the youngest of these: an
/// interpreter's own functions say what it waits for.
fn near_the_wait(
    interner: &mut Interner,
    sample: &RawSample,
    locations: &[Location],
    names: &Names<'_>,
) -> Option<Vec<Frame>> {
    let is_merged = !sample.stack.python.is_empty() && !names.interpreter_frames;
    let near = locations.iter().take(DEPTH);
    is_merged.then(|| {
        near.map(|location| user_frame(interner, location, names.jit))
            .collect()
    })
}

/// The user half of a sample's stack, Python's frames among the native ones.
fn user_frames(
    interner: &mut Interner,
    sample: &RawSample,
    locations: &[Location],
    names: &Names<'_>,
) -> Vec<Frame> {
    if sample.stack.python.is_empty() {
        let user = locations.iter();
        return user
            .map(|location| user_frame(interner, location, names.jit))
            .collect();
    }
    let natives: Vec<Native> = locations.iter().map(native).collect();
    let python = &*sample.stack.python;
    // The interpreter's frames may be what is missing, and the native ones whole.
    let is_complete = matches!(
        sample.outcome,
        Outcome::Complete
            | Outcome::CPythonFault
            | Outcome::CPythonThreads
            | Outcome::CPythonTruncated
    );
    let merged = merge(&natives, python, is_complete, names.interpreter_frames);
    let is_cut = sample.outcome == Outcome::CPythonTruncated;
    let frames = merged.into_iter().flat_map(|frame| match frame {
        Merged::Native(number) => {
            let location = locations.get(number);
            let frame = location.map(|location| user_frame(interner, location, names.jit));
            [frame, None]
        }
        Merged::Python(number) => {
            let frame = python.get(number).and_then(|frame| {
                let lines = names.python.get(&(sample.pid, *frame));
                let is_own = lines.is_some_and(|lines| lines.iter().any(is_interpreters));
                let shown = names.interpreter_frames || !is_own;
                shown.then(|| python_frame(frame.code, intern_lines(interner, lines)))
            });
            let is_last = number + 1 == python.len();
            [frame, (is_cut && is_last).then(|| missing(interner))]
        }
    });
    frames.flatten().collect()
}

/// Whether a function is none of the program's: what CPython 3.13 puts between a class and
/// its `__init__` (`_Py_InitCleanup`, Python/specialize.c), whose file is no file.
fn is_interpreters(line: &NamedLine) -> bool {
    &*line.name == "__init__" && line.file.as_deref() == Some("__init__")
}

fn python_frame(address: u64, lines: Vec<Line>) -> Frame {
    Frame {
        kind: FrameKind::CPython,
        mapping: 0,
        address,
        lines,
    }
}

/// What stands for Python's frames beyond those that are walked.
fn missing(interner: &mut Interner) -> Frame {
    let function = Function {
        name: interner.string("[more frames]"),
        ..Function::default()
    };
    let function = interner.function(function);
    python_frame(0, vec![Line { function, line: 0 }])
}

/// What a native frame is to the interpreter.
fn native(location: &Location) -> Native {
    let Location::File { module, offset, .. } = location else {
        return Native::Other;
    };
    let Some(symbols) = module.cpython().flatten() else {
        return Native::Other;
    };
    let holds = |place: Place| {
        let address = module.address(*offset);
        address.is_some_and(|at| at.wrapping_sub(place.address) < place.size)
    };
    // Compilers move parts of it elsewhere, and call them `.cold`.
    let named = module.names.borrow();
    let mut lines = named.get(offset).into_iter().flat_map(|lines| lines.iter());
    if symbols.eval.is_some_and(holds) || lines.any(|line| line.name.starts_with(LOOP)) {
        Native::Loop
    } else {
        Native::Interpreter
    }
}

/// The interpreter's loop.
const LOOP: &str = "_PyEval_EvalFrameDefault";

/// A frame of the user half.
fn user_frame(interner: &mut Interner, location: &Location, jit: &JitNames) -> Frame {
    let mapping = location.mapping().map_or(0, |(mapping, path, build_id)| {
        let path = interner.string(path);
        let build_id = interner.string(build_id);
        interner.mapping(Mapping {
            path,
            build_id,
            ..mapping
        })
    });
    let jitted = location
        .runtime_address()
        .and_then(|(pid, address)| jit.get(&(pid, address)));
    let in_file = match location {
        Location::File { module, offset, .. } => module.names.borrow().get(offset).cloned(),
        _ => None,
    };
    let kind = if jitted.is_some() || matches!(location, Location::Memory { .. }) {
        FrameKind::Jit
    } else {
        FrameKind::Native
    };
    Frame {
        kind,
        mapping,
        address: location.shown_address(),
        lines: intern_lines(interner, jitted.or(in_file.as_ref())),
    }
}
