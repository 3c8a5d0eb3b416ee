//! Where a user address lies: in which file, at which offset.

use std::rc::Rc;

use super::images::{Image, Map};
use super::mappings::Processes;
use super::module::Module;
use super::modules::Modules;
use super::raw::RawSample;
use observer_signals::profile::Mapping;

/// A user address, explained as far as the mappings go.
#[derive(Debug)]
pub(super) enum Location {
    /// In a file that could be opened.
    File {
        /// The process.
        pid: u32,
        /// The address in the process.
        address: u64,
        /// The file.
        module: Rc<Module>,
        offset: u64,
        /// What is mapped there.
        map: Map,
    },
    /// In a file that could not be opened.
    Lost {
        offset: u64,
        /// What is mapped there.
        map: Map,
    },
    /// In memory without a file: code made at run time.
    Memory {
        /// The process.
        pid: u32,
        /// The address in the process.
        address: u64,
        /// What is mapped there.
        map: Map,
    },
    /// In no known mapping.
    Unknown {
        /// The address in the process.
        address: u64,
    },
}

impl Location {
    /// Process and address, where names depend on them.
    pub(super) fn runtime_address(&self) -> Option<(u32, u64)> {
        match self {
            Self::File { pid, address, .. } | Self::Memory { pid, address, .. } => {
                Some((*pid, *address))
            }
            Self::Lost { .. } | Self::Unknown { .. } => None,
        }
    }

    /// The address to show: in the file's own address space if there is one.
    pub(super) fn shown_address(&self) -> u64 {
        match self {
            Self::File { module, offset, .. } => module.address(*offset).unwrap_or(*offset),
            Self::Lost { offset, .. } => *offset,
            Self::Memory { address, .. } | Self::Unknown { address } => *address,
        }
    }

    /// The mapping (in the same address space as [`Self::shown_address`], so
    /// that one file is one mapping in all processes), its path and build id.
    pub(super) fn mapping(&self) -> Option<(Mapping, &str, &str)> {
        let (mapping, map, build_id) = match self {
            Self::File {
                module,
                offset,
                map,
                ..
            } => {
                let mapping = match module.info.segment(*offset) {
                    Some(segment) => Mapping {
                        start: segment.address,
                        end: segment.address.saturating_add(segment.length),
                        file_offset: segment.offset,
                        ..Mapping::default()
                    },
                    None => by_offset(map),
                };
                (mapping, map, module.build_id().unwrap_or_default())
            }
            Self::Lost { map, .. } => (by_offset(map), map, ""),
            Self::Memory { map, .. } => {
                let mapping = Mapping {
                    start: map.start,
                    end: map.end,
                    ..Mapping::default()
                };
                (mapping, map, "")
            }
            Self::Unknown { .. } => return None,
        };
        let path = match &*map.file.path {
            "//anon" => "[anon]",
            path => path.strip_suffix(" (deleted)").unwrap_or(path),
        };
        Some((mapping, path, build_id))
    }
}

/// A mapping whose addresses are the file's offsets.
fn by_offset(map: &Map) -> Mapping {
    Mapping {
        start: map.offset,
        end: map.offset.saturating_add(map.end - map.start),
        file_offset: map.offset,
        ..Mapping::default()
    }
}

/// Where the user part of `sample`'s stack lies, leaf first.
pub(super) fn locate_stack(
    processes: &mut Processes,
    modules: &mut Modules,
    sample: &RawSample,
) -> Vec<Location> {
    let addresses: Vec<u64> = sample.stack.user_call_sites().collect();
    if addresses.is_empty() {
        return Vec::new();
    }
    // The leaf is somewhere for certain; what follows may not be code at all.
    let certain = if processes.is_complete() {
        1
    } else {
        addresses.len()
    };
    let holds_all = |image: &Image| {
        let mut certain = addresses.iter().take(certain);
        certain.all(|a| image.find(*a).is_some())
    };
    let known = processes
        .get(sample.pid)
        .and_then(|p| p.image(&sample.process, &addresses))
        .is_some_and(holds_all);
    if !known {
        processes.refresh(sample.pid);
    }
    let process = processes.get(sample.pid);
    let image = process.and_then(|p| p.image(&sample.process, &addresses));
    let pid = sample.pid;
    let locate = |address: u64| {
        let Some((process, map)) = process.zip(image.and_then(|i| i.find(address))) else {
            return Location::Unknown { address };
        };
        let map = map.clone();
        let offset = address - map.start + map.offset;
        if !map.file.is_file() && &*map.file.path != "[vdso]" {
            return Location::Memory { pid, address, map };
        }
        match modules.of(pid, process, &map) {
            Some(module) => Location::File {
                pid,
                address,
                module,
                offset,
                map,
            },
            None => Location::Lost { offset, map },
        }
    };
    let mut locations: Vec<Location> = addresses.into_iter().map(locate).collect();
    if image.is_some() {
        // Code built without frame pointers uses that register for data. An
        // address where nothing executable is mapped was never a return
        // address, and what seems to follow it isn't a stack.
        let real = |location: &Location| !matches!(location, Location::Unknown { .. });
        let end = locations
            .iter()
            .skip(1)
            .position(|location| !real(location));
        locations.truncate(end.map_or(locations.len(), |end| end + 1));
    }
    locations
}
