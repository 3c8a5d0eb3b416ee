//! Names of the kernel's functions, and of what it loads while we look.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::rc::Rc;

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};

use observer_symbols::elf::build_id_in_notes;

use super::kernel_code::KernelCode;
use super::module::{Lines, NamedLine};
use super::raw::RawSample;
use super::sideband::Event;

/// The kernel's symbols.
const KALLSYMS: &str = "/proc/kallsyms";
/// Kernel names kept between intervals.
const MAX_NAMES: usize = 65_536;

/// The kernel's names, as far as they were asked for.
#[derive(Debug)]
pub(super) struct KernelNames {
    symbolizer: Option<Symbolizer>,
    /// Open as long as the symbolizer lives: that keeps its inode, and so its
    /// times, by which blazesym would otherwise take it for changed and read it
    /// again.
    kallsyms: Option<File>,
    names: HashMap<u64, Lines>,
    /// What the kernel got since its symbols were read.
    code: KernelCode,
    /// Some of that is not known.
    changed: bool,
    build_id: String,
}

impl KernelNames {
    /// Knows the running kernel's build id, and no name yet.
    pub(super) fn new() -> Self {
        let notes = std::fs::read("/sys/kernel/notes").unwrap_or_default();
        Self {
            symbolizer: None,
            kallsyms: None,
            names: HashMap::new(),
            code: KernelCode::default(),
            changed: false,
            build_id: build_id_in_notes(&notes).unwrap_or_default(),
        }
    }

    /// Takes one piece of news in.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::KernelCode {
                start,
                end,
                name: Some(name),
            } => {
                self.names.retain(|a, _| !(*start..*end).contains(a));
                self.code.add(*start, *end, name);
            }
            Event::KernelCode { start, .. } => self.code.remove(*start),
            Event::Lost(_) => self.changed = true,
            _ => {}
        }
    }

    /// Looks up what `samples` have of the kernel.
    pub(super) fn look_up(&mut self, samples: &[RawSample]) {
        if std::mem::take(&mut self.changed) {
            // A BPF program may have come where another one was.
            self.symbolizer = None;
            self.names.clear();
            self.code = KernelCode::default();
        }
        let mut unknown: HashSet<u64> = samples
            .iter()
            .flat_map(|s| s.stack.kernel_call_sites())
            .filter(|a| !self.names.contains_key(a))
            .collect();
        unknown.retain(|address| {
            let found = self.code.find(*address);
            let known = found.is_some();
            self.names.extend(found.map(|name| (*address, name)));
            !known
        });
        if unknown.is_empty() {
            return;
        }
        let symbolizer = self.symbolizer.get_or_insert_with(|| {
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
        self.names.extend(unknown.into_iter().zip(names));
    }

    /// The name of what is at an address that was looked up.
    pub(super) fn get(&self, address: u64) -> Option<&Lines> {
        self.names.get(&address)
    }

    /// The running kernel's build id, lower-case hex; empty if it isn't known.
    pub(super) fn build_id(&self) -> &str {
        &self.build_id
    }

    /// Lets go of code that is gone, and of names when there are too many.
    pub(super) fn let_go(&mut self) {
        self.code.forget_gone();
        if self.names.len() > MAX_NAMES {
            self.names.clear();
        }
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
