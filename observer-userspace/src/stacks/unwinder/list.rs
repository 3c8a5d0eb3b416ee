//! The mappings of a program, as the kernel half has them.

use std::rc::Rc;

use observer_common::unwind::{Mapping, Process as KernelProcess, TABLE_ABSENT, TABLE_EMPTY};

use super::states::State;
use observer_runtimes::cpython::Runtime;

use crate::foreign::{FileId, Tenant};
use crate::stacks::images::Map;
use crate::stacks::module::Module;

/// A list of mappings; processes that fork share it.
#[derive(Debug)]
pub(super) struct List {
    pub(super) number: u32,
    pub(super) first: u32,
    pub(super) maps: Rc<Vec<Map>>,
    /// The file of each, and where it begins in the file's own addresses.
    pub(super) files: Vec<Option<(Rc<FileId>, u64)>>,
    /// Processes that have it.
    pub(super) users: u32,
    /// Whose they are.
    pub(super) tenant: Tenant,
    /// The Python interpreter among them, and its number; 0 if the kernel half has none.
    pub(super) cpython: Option<(u32, Runtime)>,
}

impl List {
    /// What the kernel half gets to know of a process that has it.
    pub(super) fn known(&self) -> KernelProcess {
        KernelProcess {
            first: self.first,
            count: self.maps.len() as u32,
            list: self.number,
            asked: 0,
            cpython: self.cpython.map_or(0, |(number, _)| number),
        }
    }

    /// The entry of `map` as the kernel half wants it; `start` is the address in
    /// memory of the file's own address 0.
    pub(super) fn entry(&self, map: &Map, state: State, start: u64) -> Mapping {
        let (table, base) = match state {
            State::Ready { id, base } => (id, start.wrapping_add(base)),
            State::Empty => (TABLE_EMPTY, 0),
            State::Ordered | State::Failed | State::Evicted => (TABLE_ABSENT, 0),
        };
        Mapping {
            start: map.start,
            end: map.end,
            base,
            table,
            list: self.number,
        }
    }
}

/// The address in memory of the file's own address 0.
pub(super) fn load_address(module: &Module, map: &Map) -> Option<u64> {
    let length = map.end - map.start;
    // A mapping begins and ends at pages, segments don't.
    let segment = module.info.segments.iter().find(|s| {
        s.offset < map.offset.saturating_add(length)
            && s.offset.saturating_add(s.length) > map.offset
            && s.executable
    })?;
    let address = segment
        .address
        .wrapping_add(map.offset.wrapping_sub(segment.offset));
    Some(map.start.wrapping_sub(address))
}
