//! Names for addresses: kernel, files, vDSO, code made at run time.
//!
//! What it costs (x86_64, measured): blazesym's table of the kernel's 120,000
//! symbols 8 MB and 50 ms, so it is kept. Of files only the names found are
//! kept, and no table is ever made of their symbols. Debug information is read
//! as a whole while it is searched, so that is an option.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::cpython::Codes;
use super::file_names::{self, SymbolOptions};
use super::jit::Jits;
use super::kernel_names::KernelNames;
use super::locations::{Location, locate_stack};
use super::mappings::{MappingLosses, Processes};
use super::module::{Module, NamedLine};
use super::modules::Modules;
use super::profile::{FrameShare, JitNames, Names, build};
use super::raw::RawProfile;
use super::roots::Place;
use super::sideband::Event;
use observer_signals::Profile;

/// The symbolizer. Not `Send`: lives on the worker's thread.
#[derive(Debug)]
pub(super) struct Symbols {
    options: SymbolOptions,
    kernel: KernelNames,
    /// The files.
    pub(super) modules: Modules,
    jits: Jits,
    /// Python's functions.
    pub(super) codes: Codes,
    /// Programs whose Python functions have no names, since the start.
    pub(super) unsupported: u64,
    /// What is mapped where.
    pub(super) processes: Processes,
}

impl Symbols {
    /// A symbolizer that knows nothing yet.
    pub(super) fn new(options: SymbolOptions) -> Self {
        Self {
            options,
            kernel: KernelNames::new(),
            modules: Modules::default(),
            jits: Jits::default(),
            codes: Codes::default(),
            unsupported: 0,
            processes: Processes::default(),
        }
    }

    /// Takes one piece of news in.
    pub(super) fn apply(&mut self, event: Event) {
        self.kernel.apply(&event);
        self.jits.apply(&event);
        self.codes.apply(&event);
        self.processes.apply(event);
    }

    /// Names everything in `raw`.
    pub(super) fn symbolize(&mut self, raw: &RawProfile) -> (Profile, FrameShare) {
        self.kernel.look_up(&raw.samples);
        let locations: Vec<Vec<Location>> = raw
            .samples
            .iter()
            .map(|sample| locate_stack(&mut self.processes, &mut self.modules, sample))
            .collect();
        self.name_files(&locations);
        let jit = self.name_jit(&locations);
        let python = self.codes.names(&raw.samples);
        let names = Names {
            kernel: &self.kernel,
            jit: &jit,
            python: &python,
            interpreter_frames: self.options.interpreter_frames,
        };
        build(raw, &locations, &names)
    }

    /// What was lost since the start.
    pub(super) fn losses(&self) -> MappingLosses {
        MappingLosses {
            perf_map_lines: self.jits.malformed_lines(),
            code_unread: self.codes.unread(),
            interpreters: self.unsupported,
            ..self.processes.losses()
        }
    }

    /// Lets go of what ended; to be called when all profiles of an interval are
    /// named.
    pub(super) fn let_go(&mut self) {
        self.processes.forget_ended();
        self.kernel.let_go();
        self.modules.trim();
        self.jits.trim();
        self.codes.let_go();
    }

    fn name_files(&mut self, locations: &[Vec<Location>]) {
        let mut unknown: HashMap<*const Module, (&Location, HashSet<u64>)> = HashMap::new();
        for location in locations.iter().flatten() {
            if let Location::File { module, offset, .. } = location
                && !module.names.borrow().contains_key(offset)
            {
                let entry = unknown.entry(Rc::as_ptr(module));
                let (_, offsets) = entry.or_insert_with(|| (location, HashSet::new()));
                offsets.insert(*offset);
            }
        }
        let mut found = Vec::with_capacity(unknown.len());
        for (location, offsets) in unknown.into_values() {
            let Location::File {
                pid, module, map, ..
            } = location
            else {
                continue;
            };
            // Where the module is the module's, whoever was sampled.
            let place = || {
                let root = map.file.root.as_ref();
                root.and_then(|root| Place::held(root)).unwrap_or_default()
            };
            let path = &map.file.path;
            let names = file_names::find(self.options, (*pid, place), path, module, offsets);
            found.push((&**module, names));
        }
        file_names::keep(found);
    }

    fn name_jit(&mut self, locations: &[Vec<Location>]) -> JitNames {
        let mut unknown: HashMap<u32, Vec<u64>> = HashMap::new();
        for location in locations.iter().flatten() {
            match location {
                Location::Memory { pid, address, .. } => {
                    unknown.entry(*pid).or_default().push(*address);
                }
                // Some JITs map their code from a memfd.
                Location::File {
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
}
