//! Names for addresses: kernel, files, vDSO, code made at run time.
//!
//! What it costs (x86_64, measured): blazesym's table of the kernel's 120,000
//! symbols 8 MB and 50 ms, so it is kept. Of files only the names found are
//! kept, and no table is ever made of their symbols. Debug information is read
//! as a whole while it is searched, so that is an option.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::rc::Rc;

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};

use super::file_names;
use super::files::{Lines, Module, Modules, NamedLine, Roots};
use super::jit::Jits;
use super::kernel_code::KernelCode;
use super::mappings::Processes;
use super::places::{Place, place_stack};
use super::reasons::{explain, is_switch};
use super::sideband::Event;
use super::{RawProfile, RawSample, Wait};
use crate::signals::Profile;
use crate::signals::interner::Interner;
use crate::signals::profile::{Frame, FrameKind, Function, Line, Mapping, MappingId, Sample};
use crate::signals::wait::Waited;
use observer_symbols::elf::build_id_in_notes;

/// The kernel's symbols.
const KALLSYMS: &str = "/proc/kallsyms";
/// Kernel names kept between intervals.
const MAX_KERNEL_NAMES: usize = 65_536;
/// Where the kernel half of the address space begins (x86_64, aarch64).
const KERNEL_START: u64 = 0xffff_0000_0000_0000;

/// What to symbolize with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolOptions {
    /// Use DWARF debug information: inlined functions, files and lines, at the
    /// price of memory and time.
    pub debug_info: bool,
}

/// How much of a profile has names, weighted by how often it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameShare {
    /// Frames with a symbol.
    pub named: u64,
    /// All frames.
    pub all: u64,
}

/// The symbolizer. Not `Send`: lives on the worker's thread.
#[derive(Debug)]
pub struct Symbols {
    options: SymbolOptions,
    kernel: Option<Symbolizer>,
    /// Open as long as `kernel` lives: that keeps its inode, and so its times,
    /// by which blazesym would otherwise take it for changed and read it again.
    kallsyms: Option<File>,
    kernel_names: HashMap<u64, Lines>,
    /// What the kernel got since its symbols were read.
    kernel_code: KernelCode,
    /// Some of that is not known.
    kernel_changed: bool,
    kernel_build_id: String,
    /// The files.
    pub(super) modules: Modules,
    jits: Jits,
    /// What is mapped where.
    pub processes: Processes,
}

/// Names of code made at run time, by process and address.
type JitNames = HashMap<(u32, u64), Lines>;

impl Symbols {
    /// A symbolizer that knows nothing yet.
    pub fn new(options: SymbolOptions) -> Self {
        let notes = std::fs::read("/sys/kernel/notes").unwrap_or_default();
        Self {
            options,
            kernel: None,
            kallsyms: None,
            kernel_names: HashMap::new(),
            kernel_code: KernelCode::default(),
            kernel_changed: false,
            kernel_build_id: build_id_in_notes(&notes).unwrap_or_default(),
            modules: Modules::default(),
            jits: Jits::default(),
            processes: Processes::default(),
        }
    }

    /// Takes one piece of news in.
    pub fn apply(&mut self, event: Event) {
        match &event {
            Event::KernelCode {
                start,
                end,
                name: Some(name),
            } => {
                self.kernel_names.retain(|a, _| !(*start..*end).contains(a));
                self.kernel_code.add(*start, *end, name);
            }
            Event::KernelCode { start, .. } => self.kernel_code.remove(*start),
            Event::Lost(_) => self.kernel_changed = true,
            _ => {}
        }
        self.jits.apply(&event);
        self.processes.apply(event);
    }

    /// Names everything in `raw`.
    pub fn symbolize(&mut self, raw: &RawProfile) -> (Profile, FrameShare) {
        self.name_kernel(&raw.samples);
        let places: Vec<Vec<Place>> = raw
            .samples
            .iter()
            .map(|sample| place_stack(&mut self.processes, &mut self.modules, sample))
            .collect();
        self.name_files(&places);
        let jit = self.name_jit(&places);
        self.build(raw, &places, &jit)
    }

    /// Lets go of what ended; to be called when all profiles of an interval are
    /// named.
    pub fn let_go(&mut self) {
        self.processes.forget_ended();
        self.kernel_code.forget_gone();
        self.modules.trim();
        self.jits.trim();
        if self.kernel_names.len() > MAX_KERNEL_NAMES {
            self.kernel_names.clear();
        }
    }

    fn name_kernel(&mut self, samples: &[RawSample]) {
        if std::mem::take(&mut self.kernel_changed) {
            // A BPF program may have come where another one was.
            self.kernel = None;
            self.kernel_names.clear();
            self.kernel_code = KernelCode::default();
        }
        let mut unknown: HashSet<u64> = samples
            .iter()
            .flat_map(|s| call_sites(&s.stack.kernel))
            .filter(|a| !self.kernel_names.contains_key(a))
            .collect();
        unknown.retain(|address| {
            let found = self.kernel_code.find(*address);
            let known = found.is_some();
            self.kernel_names.extend(found.map(|name| (*address, name)));
            !known
        });
        if unknown.is_empty() {
            return;
        }
        let symbolizer = self.kernel.get_or_insert_with(|| {
            if kernel_symbols_hidden() {
                tracing::warn!(
                    "kernel functions will show as addresses: /proc/kallsyms hides them; \
                     `sysctl kernel.kptr_restrict=1` and CAP_SYSLOG show them"
                );
            }
            self.kallsyms = File::open(KALLSYMS).ok();
            Symbolizer::builder()
                .enable_code_info(false)
                .enable_inlined_fns(false)
                .build()
        });
        let unknown: Vec<u64> = unknown.into_iter().collect();
        let names = symbolize_kernel(symbolizer, &unknown);
        self.kernel_names.extend(unknown.into_iter().zip(names));
    }

    fn name_files(&mut self, places: &[Vec<Place>]) {
        let mut unknown: HashMap<*const Module, (&Place, HashSet<u64>)> = HashMap::new();
        for place in places.iter().flatten() {
            if let Place::File { module, offset, .. } = place
                && !module.names.borrow().contains_key(offset)
            {
                let entry = unknown.entry(Rc::as_ptr(module));
                let (_, offsets) = entry.or_insert_with(|| (place, HashSet::new()));
                offsets.insert(*offset);
            }
        }
        let mut found = Vec::with_capacity(unknown.len());
        for (place, offsets) in unknown.into_values() {
            let Place::File {
                pid, module, map, ..
            } = place
            else {
                continue;
            };
            let roots = self.processes.get(*pid).map(|p| Roots::of(*pid, p));
            let roots = roots.unwrap_or_default();
            let path = &map.file.path;
            let names = file_names::find(self.options, &roots, path, module, offsets);
            found.push((&**module, names));
        }
        file_names::keep(found);
    }

    fn name_jit(&mut self, places: &[Vec<Place>]) -> JitNames {
        let mut unknown: HashMap<u32, Vec<u64>> = HashMap::new();
        for place in places.iter().flatten() {
            match place {
                Place::Memory { pid, address, .. } => {
                    unknown.entry(*pid).or_default().push(*address);
                }
                // Some JITs map their code from a memfd.
                Place::File {
                    pid,
                    address,
                    module,
                    ..
                } if module.info.segments.is_empty() => {
                    unknown.entry(*pid).or_default().push(*address);
                }
                _ => {}
            }
        }
        let mut found = JitNames::new();
        for (pid, mut addresses) in unknown {
            let Some(process) = self.processes.get(pid) else {
                continue;
            };
            for (address, name) in self.jits.names(pid, process, &mut addresses) {
                let line = NamedLine {
                    name: name.into(),
                    ..NamedLine::default()
                };
                found.insert((pid, address), Rc::new([line]));
            }
        }
        found
    }

    fn build(
        &self,
        raw: &RawProfile,
        places: &[Vec<Place>],
        jit: &JitNames,
    ) -> (Profile, FrameShare) {
        let mut share = FrameShare::default();
        let mut interner = Interner::new(Profile {
            kind: raw.kind,
            start: raw.start,
            duration: raw.duration,
            period: raw.period,
            outcomes: raw.outcomes(),
            ..Profile::default()
        });
        let path = interner.string("[kernel.kallsyms]");
        let build_id = interner.string(&self.kernel_build_id);
        let kernel = Mapping {
            start: KERNEL_START,
            end: u64::MAX,
            file_offset: 0,
            path,
            build_id,
        };
        for (sample, places) in raw.samples.iter().zip(places) {
            interner.outcome(sample.outcome, sample.value);
            let mut frames = Vec::with_capacity(sample.stack.kernel.len() + places.len());
            for address in call_sites(&sample.stack.kernel) {
                let mapping = interner.mapping(kernel.clone());
                let lines = self.kernel_names.get(&address);
                let lines = intern_lines(&mut interner, lines);
                frames.push(Frame {
                    kind: FrameKind::Kernel,
                    mapping,
                    address,
                    lines,
                });
            }
            let wait = sample.wait.map(|wait| {
                let mapping = interner.mapping(kernel.clone());
                put_reason(&mut interner, mapping, wait, &mut frames)
            });
            frames.extend(places.iter().map(|p| intern_place(&mut interner, p, jit)));
            share.all += frames.len() as u64 * sample.value;
            let named = frames.iter().filter(|f| !f.lines.is_empty()).count();
            share.named += named as u64 * sample.value;
            let frames = frames.into_iter().map(|f| interner.frame(f)).collect();
            let stack = interner.stack(frames);
            let thread = interner.string(&sample.thread);
            let process = interner.string(&sample.process);
            let resource = interner.resource(&sample.resource);
            let served = sample.served.as_deref();
            let route = served.and_then(|served| served.route.as_deref());
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
                link: served
                    .filter(|served| served.sampled)
                    .map(|served| (served.trace_id, served.span_id)),
                route,
            });
        }
        (interner.finish(), share)
    }
}

/// Addresses to look up: the leaf where it is; its callers one byte before the
/// return address, which may already belong to the next function or line.
pub(super) fn call_sites(addresses: &[u64]) -> impl Iterator<Item = u64> {
    let leaf = addresses.iter().take(1).copied();
    leaf.chain(addresses.iter().skip(1).map(|a| a.saturating_sub(1)))
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
/// in the place of those that only switch threads.
fn put_reason(
    interner: &mut Interner,
    mapping: MappingId,
    wait: Wait,
    kernel: &mut Vec<Frame>,
) -> Waited {
    let names = kernel.iter().map(|frame| interner.name_of(frame));
    let switching = names.clone().take_while(|name| is_switch(name)).count();
    let waited = explain(wait, names.skip(switching));
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

fn intern_place(interner: &mut Interner, place: &Place, jit: &JitNames) -> Frame {
    let mapping = place.mapping().map_or(0, |(mapping, path, build_id)| {
        let path = interner.string(path);
        let build_id = interner.string(build_id);
        interner.mapping(Mapping {
            path,
            build_id,
            ..mapping
        })
    });
    let jitted = place
        .runtime_address()
        .and_then(|(pid, address)| jit.get(&(pid, address)));
    let in_file = match place {
        Place::File { module, offset, .. } => module.names.borrow().get(offset).cloned(),
        _ => None,
    };
    let kind = if jitted.is_some() || matches!(place, Place::Memory { .. }) {
        FrameKind::Jit
    } else {
        FrameKind::Native
    };
    Frame {
        kind,
        mapping,
        address: place.shown_address(),
        lines: intern_lines(interner, jitted.or(in_file.as_ref())),
    }
}

/// One entry per kernel address, empty where there is no name.
fn symbolize_kernel(symbolizer: &Symbolizer, addresses: &[u64]) -> Vec<Lines> {
    let source = Source::Kernel(Kernel {
        vmlinux: MaybeDefault::None,
        debug_syms: false,
        ..Kernel::default()
    });
    let lines_of = |symbol: &Symbolized<'_>| -> Lines {
        let line = symbol.as_sym().map(|symbol| NamedLine {
            name: symbol.name.as_ref().into(),
            ..NamedLine::default()
        });
        line.into_iter().collect()
    };
    match symbolizer.symbolize(&source, Input::AbsAddr(addresses)) {
        Ok(symbols) => symbols.iter().map(lines_of).collect(),
        Err(error) => {
            tracing::debug!("no symbols of the kernel: {error}");
            vec![Rc::default(); addresses.len()]
        }
    }
}

/// Whether the kernel shows zeros instead of its functions' addresses.
fn kernel_symbols_hidden() -> bool {
    let Ok(file) = File::open(KALLSYMS) else {
        return true;
    };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    let mut functions = lines.filter(|l| l.contains(" T ") || l.contains(" t "));
    // One function at address 0 is odd, a hundred are hidden.
    functions
        .by_ref()
        .take(100)
        .all(|l| l.trim_start_matches('0').starts_with(' '))
}
