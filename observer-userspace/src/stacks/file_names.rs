//! Names of places in files: from debug information, symbol tables and PLT
//! stubs, of the file itself and of its separate debug file.

use std::collections::HashMap;
use std::fs::File;
use std::rc::Rc;
use std::time::Duration;

use observer_symbols::debug_info::{self, DebugSections, SourceLine};
use observer_symbols::demangle::Demangler;
use observer_symbols::elf::{Sections, Unread};
use observer_symbols::plt;
use observer_symbols::symbol_table::{Unsized, look_up};

use super::costly;
use super::debug_files::{self, DebugFile};
use super::module::{Lines, Module, NamedLine};
use super::roots::{Place, Roots};
use crate::foreign::{self, FileId, Foreign, Subject};

/// How long a reader may wait for a file with debug information: all of it is read.
const LONG: Duration = Duration::from_secs(10);

/// Which sources of names are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolOptions {
    /// Use DWARF debug information: inlined functions, files and lines, at the
    /// price of memory and time.
    pub debug_info: bool,
    /// Show the functions of an interpreter between those that it runs.
    pub interpreter_frames: bool,
}

/// What was found of one module, not demangled: by file offset.
#[derive(Debug, Default)]
pub struct Found(HashMap<u64, Vec<SourceLine>>);

/// What a reader is asked: names of addresses in a file.
struct Wanted {
    options: SymbolOptions,
    file: File,
    /// Which it was when it was mapped.
    id: FileId,
    /// It, as its process sees it.
    path: String,
    place: Place,
    debug: Option<DebugFile>,
    /// In the file's own address space, sorted.
    addresses: Vec<u64>,
}

/// Looks `offsets` of `module`, which is `path` to process `pid`, up. `place` says where
/// that process's files lie, as often as it is asked.
pub(super) fn find(
    options: SymbolOptions,
    (pid, place): (u32, impl Fn() -> Place),
    path: &str,
    module: &Module,
    offsets: impl IntoIterator<Item = u64>,
) -> Found {
    let mut found = Found::default();
    let mut by_address: Vec<(u64, u64)> = Vec::new();
    for offset in offsets {
        // Remembered also when nothing is found: nobody asks again.
        found.0.insert(offset, Vec::new());
        by_address.extend(module.address(offset).map(|address| (address, offset)));
    }
    by_address.sort_unstable();
    // Segments that overlap could give one address twice.
    by_address.dedup_by_key(|(address, _)| *address);
    let Some(file) = module.file() else {
        return found;
    };
    let wanted = Wanted {
        options,
        file,
        id: module.id,
        path: path.to_owned(),
        place: place(),
        debug: module.debug_file(|| debug_file(module, pid, place(), path)),
        addresses: by_address.iter().map(|(address, _)| *address).collect(),
    };
    let patience = match options.debug_info {
        true => LONG,
        false => foreign::A_WHILE,
    };
    // Debug files are where the process put them: if they don't answer, the file's own
    // file system, which may be everybody's, isn't to blame.
    let subject = match wanted.debug.is_some() || options.debug_info {
        true => Subject::Root(pid),
        false => module.id.subject(),
    };
    let names = foreign::ask(subject, patience, |foreign| wanted.find(foreign));
    for ((_, offset), lines) in by_address.into_iter().zip(names.unwrap_or_default()) {
        found.0.insert(offset, lines);
    }
    found
}

/// The separate debug file of a module.
fn debug_file(module: &Module, pid: u32, place: Place, path: &str) -> Option<DebugFile> {
    let file = module.file()?;
    let (path, build_id) = (path.to_owned(), module.build_id().map(str::to_owned));
    let found = foreign::ask(Subject::Root(pid), foreign::A_WHILE, move |foreign| {
        let roots = place.open(foreign).or_host();
        let sections = Sections::read(&file).unwrap_or_default();
        debug_files::find(&roots, &path, &file, &sections, build_id.as_deref())
    });
    found.ok().flatten()
}

impl Wanted {
    fn find(self, foreign: &Foreign) -> Vec<Vec<SourceLine>> {
        let Self {
            options,
            file,
            id,
            path,
            place,
            debug,
            addresses,
        } = self;
        // What was written since says nothing of what ran before.
        if !FileId::of(foreign, &file).is_ok_and(|now| now.has_contents_of(&id)) {
            return Vec::new();
        }
        let sections = Sections::read(&file).unwrap_or_default();
        let debug = debug.as_ref();
        let mut names = match options.debug_info {
            true => {
                let roots = place.open(foreign).or_host();
                from_debug_info(&roots, &path, &file, &sections, debug, &addresses)
            }
            false => vec![Vec::new(); addresses.len()],
        };
        from_symbols(&file, &sections, debug, &addresses, &mut names);
        names
    }
}

fn from_debug_info(
    roots: &Roots,
    path: &str,
    file: &File,
    sections: &Sections,
    debug: Option<&DebugFile>,
    addresses: &[u64],
) -> Vec<Vec<SourceLine>> {
    let has_own = sections
        .named(".debug_info")
        .is_some_and(|s| s.has_contents());
    let (from, alternate) = match debug {
        Some(debug) if !has_own => (&debug.file, debug.alternate(roots)),
        _ if has_own => (file, debug_files::alternate(roots, path, file, sections)),
        _ => return vec![Vec::new(); addresses.len()],
    };
    let look_up = || {
        let read = |file: &File| match DebugSections::read(file) {
            _ if costly::is_known(file) => None,
            Ok(sections) => Some(sections),
            Err(Unread::Absent) => None,
            Err(Unread::TooLarge) => {
                costly::remember(file, path, "has too much debug information");
                None
            }
        };
        let sections = read(from)?;
        let alternate = alternate.and_then(|a| read(&a.file));
        let (lines, too_long) = debug_info::look_up(&sections, alternate.as_ref(), addresses);
        if too_long {
            costly::remember(
                from,
                path,
                "has debug information that takes too long to read",
            );
        }
        Some(lines)
    };
    // The reader of the format adds up what a hostile file says; if that
    // overflows where overflows are checked, the file has no names. Nothing
    // that it worked on is used afterwards.
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look_up));
    let found = found.ok().flatten();
    found.unwrap_or_else(|| vec![Vec::new(); addresses.len()])
}

/// Names what has no name yet, or only one of the source, by symbols.
fn from_symbols(
    file: &File,
    sections: &Sections,
    debug: Option<&DebugFile>,
    addresses: &[u64],
    names: &mut [Vec<SourceLine>],
) {
    let own = (file, sections);
    let separate = debug.map(|debug| (&debug.file, &debug.sections));
    let tables = [
        Some((own, ".symtab", Unsized::UntilNext)),
        separate.map(|debug| (debug, ".symtab", Unsized::UntilNext)),
        Some((own, ".dynsym", Unsized::Exact)),
    ];
    for ((file, sections), table, lengthless) in tables.into_iter().flatten() {
        let wanted: Vec<u64> = wanting(addresses, names).collect();
        let is_known = |address, name: &str| {
            let known = addresses.binary_search(&address).ok();
            let known = known.and_then(|at| names.get(at)?.last()?.name.as_deref());
            known == Some(name)
        };
        let found = look_up(file, sections, table, lengthless, &wanted, is_known);
        let found = wanted.into_iter().zip(found);
        put(
            addresses,
            names,
            found.filter_map(|(address, name)| Some((address, name?))),
        );
    }
    let wanted: Vec<u64> = wanting(addresses, names).collect();
    let stubs = plt::look_up(file, sections, &wanted);
    put(addresses, names, stubs);
    // Lines alone say nothing to people who look for functions.
    for lines in names {
        lines.retain(|line| line.name.is_some());
    }
}

/// The addresses whose outermost function hasn't got the linker's name.
fn wanting(addresses: &[u64], names: &[Vec<SourceLine>]) -> impl Iterator<Item = u64> {
    let with_names = addresses.iter().zip(names);
    let wanted = with_names.filter(|(_, lines)| lines.last().is_none_or(|line| !line.is_linkage));
    wanted.map(|(address, _)| *address)
}

/// Gives functions that were found in a table to their addresses; the lines are
/// known already if there is debug information.
fn put(
    addresses: &[u64],
    names: &mut [Vec<SourceLine>],
    found: impl IntoIterator<Item = (u64, String)>,
) {
    for (address, name) in found {
        let at = addresses.binary_search(&address).ok();
        let Some(lines) = at.and_then(|at| names.get_mut(at)) else {
            continue;
        };
        let (file, line) = match lines.pop() {
            Some(outermost) => (outermost.file, outermost.line),
            None => (None, 0),
        };
        lines.push(SourceLine {
            name: Some(name),
            is_linkage: true,
            file,
            line,
        });
    }
}

/// Demangles what was found and gives it to the modules to keep.
pub fn keep(found: Vec<(&Module, Found)>) {
    let mut demangler = Demangler::default();
    let mut known: HashMap<&str, Option<String>> = HashMap::new();
    let all = found.iter().flat_map(|(_, found)| found.0.values());
    for name in all.flatten().filter_map(|line| line.name.as_deref()) {
        known
            .entry(name)
            .or_insert_with(|| demangler.demangle(name));
    }
    let mut shared: HashMap<&str, Rc<str>> = HashMap::new();
    for (module, found) in &found {
        let named = found.0.iter().map(|(offset, lines)| {
            let named = lines.iter().filter_map(|line| {
                let linkage = line.name.as_deref()?;
                let name = known.get(linkage).and_then(Option::as_deref);
                let mut share = |text| Rc::clone(shared.entry(text).or_insert_with(|| text.into()));
                Some(NamedLine {
                    name: share(name.unwrap_or(linkage)),
                    linkage_name: name.map(|_| share(linkage)),
                    file: line.file.clone(),
                    line: line.line,
                })
            });
            (*offset, named.collect::<Lines>())
        });
        module.names.borrow_mut().extend(named);
    }
}
