//! The search: from units to rows of their line tables and to functions.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use gimli::{AttributeValue, DebuggingInformationEntry, Error, Unit, UnitHeader, constants as dw};

use super::lines::{Function, Place};
use super::units::{Dwarf, Files, Reader, Units};
use crate::demangle::processor_time;

/// References followed to find a function's name.
const MAX_REFERENCES: usize = 16;
/// How long to look through one file, in time of the processor; and after how many
/// entries, ranges and rows the time is asked for.
const MAX_TIME: Duration = Duration::from_secs(1);
const STEPS: u64 = 1 << 16;
/// Inlined functions shown at one address.
const MAX_INLINED: usize = 64;

/// A search for some addresses in one file, and the one that it supplements.
pub(super) struct Search<'s, 'a> {
    dwarf: &'s Dwarf<'a>,
    main: Units<'a>,
    alternate: Option<Units<'a>>,
    addresses: &'s [u64],
    places: Vec<Place>,
    /// Until the time is asked for.
    steps: u64,
    end: Duration,
    too_long: bool,
}

impl<'s, 'a> Search<'s, 'a> {
    /// For `addresses`, sorted.
    pub(super) fn new(dwarf: &'s Dwarf<'a>, addresses: &'s [u64]) -> Self {
        Self {
            main: Units::new(dwarf),
            alternate: dwarf.sup().map(Units::new),
            dwarf,
            addresses,
            places: vec![Place::default(); addresses.len()],
            steps: STEPS,
            end: processor_time() + MAX_TIME,
            too_long: false,
        }
    }

    /// Whether it was given up, since it took too long.
    pub(super) fn too_long(&self) -> bool {
        self.too_long
    }

    /// What was found, address by address.
    pub(super) fn into_places(self) -> impl Iterator<Item = Place> {
        self.places.into_iter()
    }

    /// Looks all addresses up.
    ///
    /// # Errors
    /// When the file is broken, or takes too much work; what was found until
    /// then is right.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        let (listed, hit) = self.by_address_ranges()?;
        let headers: Vec<(usize, UnitHeader<Reader<'a>>)> = self
            .main
            .headers
            .iter()
            .filter(|(offset, _)| hit.contains(offset) || !listed.contains(offset))
            .map(|(offset, header)| (*offset, *header))
            .collect();
        for (offset, header) in headers {
            let is_hit = hit.contains(&offset);
            // A broken unit doesn't make the others wrong.
            if let Err(error) = self.unit(header, is_hit) {
                tracing::debug!("unit at {offset:#x} of .debug_info: {error}");
            }
            self.count(1)?;
        }
        Ok(())
    }

    /// Counts work, and gives up when it is too much.
    fn count(&mut self, steps: u64) -> Result<(), Error> {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => {
                self.steps = STEPS;
                self.too_long |= processor_time() > self.end;
            }
        }
        match self.too_long {
            true => Err(Error::OffsetOutOfBounds(0)),
            false => Ok(()),
        }
    }

    /// The wanted addresses from `begin` until before `end`, by index.
    fn within(&self, begin: u64, end: u64) -> std::ops::Range<usize> {
        let first = self.addresses.partition_point(|a| *a < begin);
        let last = self.addresses.partition_point(|a| *a < end);
        first..last.max(first)
    }

    /// Units whose ranges `.debug_aranges` lists, and those of them that have
    /// a wanted address.
    fn by_address_ranges(&mut self) -> Result<(HashSet<usize>, HashSet<usize>), Error> {
        let (mut listed, mut hit) = (HashSet::new(), HashSet::new());
        let mut headers = self.dwarf.debug_aranges.headers();
        // A broken table is no table.
        while let Ok(Some(header)) = headers.next() {
            let unit = header.debug_info_offset().0;
            let mut entries = header.entries();
            while let Ok(Some(entry)) = entries.next() {
                self.count(1)?;
                let range = entry.range();
                if range.begin < range.end {
                    listed.insert(unit);
                    if !self.within(range.begin, range.end).is_empty() {
                        hit.insert(unit);
                    }
                }
            }
        }
        Ok((listed, hit))
    }

    fn unit(&mut self, header: UnitHeader<Reader<'a>>, is_hit: bool) -> Result<(), Error> {
        if !matches!(
            header.type_(),
            gimli::UnitType::Compilation | gimli::UnitType::Skeleton(_)
        ) {
            return Ok(());
        }
        let unit = Rc::new(self.dwarf.unit(header)?);
        let files = unit.line_program.as_ref().map(|p| p.header().file_names());
        self.count(files.map_or(0, |files| files.len() as u64))?;
        if !is_hit {
            let mut entries = unit.entries_raw(None)?;
            let mut root = DebuggingInformationEntry::null();
            entries.read_entry(&mut root)?;
            let ranges = self.ranges(&unit, &root)?;
            let wanted = |r: &(u64, u64)| !self.within(r.0, r.1).is_empty();
            if !ranges.iter().any(wanted) {
                return Ok(());
            }
        }
        let files = self.rows(&unit)?;
        self.functions(&unit, files)
    }

    /// The ranges of an entry.
    fn ranges(
        &mut self,
        unit: &Unit<Reader<'a>>,
        entry: &DebuggingInformationEntry<Reader<'a>>,
    ) -> Result<Vec<(u64, u64)>, Error> {
        if let Some(list) = entry.attr_value(dw::DW_AT_ranges)
            && let Some(mut list) = self.dwarf.attr_ranges(unit, list)?
        {
            let mut ranges = Vec::new();
            while let Some(range) = list.next()? {
                self.count(1)?;
                ranges.push((range.begin, range.end));
            }
            return Ok(ranges);
        }
        let address = |value| self.dwarf.attr_address(unit, value);
        let begin = entry
            .attr_value(dw::DW_AT_low_pc)
            .map(address)
            .transpose()?;
        let Some(begin) = begin.flatten() else {
            return Ok(Vec::new());
        };
        let end = match entry.attr_value(dw::DW_AT_high_pc) {
            Some(AttributeValue::Udata(length)) => begin.checked_add(length),
            Some(value) => address(value)?,
            None => None,
        };
        Ok(end.map(|end| (begin, end)).into_iter().collect())
    }

    /// Finds the wanted addresses' rows; the names of the unit's source files,
    /// to be looked up by number.
    fn rows(&mut self, unit: &Unit<Reader<'a>>) -> Result<Files, Error> {
        let mut files = Files::default();
        let Some(program) = unit.line_program.clone() else {
            return Ok(files);
        };
        let mut rows = program.rows();
        let mut before: Option<(u64, u64, u32)> = None;
        while let Some((_, row)) = rows.next_row()? {
            self.count(1)?;
            let address = row.address();
            if let Some((begin, file, line)) = before.filter(|(begin, ..)| *begin < address) {
                for at in self.within(begin, address) {
                    let name = files.name(self.dwarf, unit, file);
                    if let Some(place) = self.places.get_mut(at) {
                        place.row = Some((name, line));
                    }
                }
            }
            let line = row.line().map_or(0, |line| line.get());
            before = (!row.end_sequence()).then(|| {
                let line = u32::try_from(line).unwrap_or(0);
                (address, row.file_index(), line)
            });
        }
        Ok(files)
    }

    /// Finds the functions that hold the wanted addresses.
    fn functions(&mut self, unit: &Rc<Unit<Reader<'a>>>, mut files: Files) -> Result<(), Error> {
        let mut entries = unit.entries_raw(None)?;
        let mut entry = DebuggingInformationEntry::null();
        // The functions around the present entry: depth, offset.
        let mut around: Vec<(isize, usize)> = Vec::new();
        while !entries.is_empty() {
            self.count(1)?;
            let depth = entries.next_depth();
            let offset = entries.next_offset().0;
            let mut peek = entries.clone();
            let Some(abbreviation) = peek.read_abbreviation()? else {
                entries = peek;
                continue;
            };
            while around.last().is_some_and(|(outer, _)| *outer >= depth) {
                around.pop();
            }
            let is_function = abbreviation.tag() == dw::DW_TAG_subprogram;
            if is_function {
                around.push((depth, offset));
            } else if abbreviation.tag() != dw::DW_TAG_inlined_subroutine {
                peek.skip_attributes(abbreviation.attributes())?;
                entries = peek;
                continue;
            }
            entries.read_entry(&mut entry)?;
            let ranges = self.ranges(unit, &entry)?;
            let lengths = ranges.iter().map(|(begin, end)| end.saturating_sub(*begin));
            let length = lengths.fold(0, u64::saturating_add);
            let owner = around.last().map(|(_, offset)| *offset);
            let mut function = None;
            for (begin, end) in ranges {
                for at in self.within(begin, end) {
                    self.count(1)?;
                    let Some(place) = self.places.get(at) else {
                        break;
                    };
                    // Of functions that claim the same code, the smallest is
                    // the most exact.
                    let is_better = if is_function {
                        place.owner.is_none() || length < place.length
                    } else {
                        place.owner == owner && place.functions.len() < MAX_INLINED
                    };
                    if !is_better {
                        continue;
                    }
                    let described: Function = match &function {
                        Some(known) => Function::clone(known),
                        None => self.describe(unit, &entry, &mut files),
                    };
                    let Some(place) = self.places.get_mut(at) else {
                        break;
                    };
                    if is_function {
                        place.functions.clear();
                        place.owner = owner;
                        place.length = length;
                    }
                    place.functions.push(described.clone());
                    function = Some(described);
                }
            }
        }
        Ok(())
    }

    fn describe(
        &mut self,
        unit: &Rc<Unit<Reader<'a>>>,
        entry: &DebuggingInformationEntry<Reader<'a>>,
        files: &mut Files,
    ) -> Function {
        let file = match entry.attr_value(dw::DW_AT_call_file) {
            Some(AttributeValue::FileIndex(number)) => files.name(self.dwarf, unit, number),
            _ => None,
        };
        let line = entry.attr_value(dw::DW_AT_call_line);
        let line = line.and_then(|value| value.udata_value());
        let name = self.name(unit, entry);
        Function {
            is_linkage: name.as_ref().is_some_and(|(_, is_linkage)| *is_linkage),
            name: name.map(|(name, _)| name),
            call: (file, line.map_or(0, |l| u32::try_from(l).unwrap_or(0))),
        }
    }

    /// The linker's name of a function if it has one (true), else the source's;
    /// often another entry has it, in another unit or file.
    fn name(
        &mut self,
        unit: &Rc<Unit<Reader<'a>>>,
        entry: &DebuggingInformationEntry<Reader<'a>>,
    ) -> Option<(String, bool)> {
        let (mut unit, mut entry) = (unit.clone(), entry.clone());
        let mut is_alternate = false;
        let mut plain = None;
        for _ in 0..MAX_REFERENCES {
            let dwarf = match is_alternate {
                true => self.dwarf.sup()?,
                false => self.dwarf,
            };
            let text = |attribute| {
                let text = dwarf.attr_string(&unit, entry.attr_value(attribute)?);
                let text = text.ok()?.to_string_lossy().into_owned();
                (!text.is_empty()).then_some(text)
            };
            let linkers = text(dw::DW_AT_linkage_name);
            let linkers = linkers.or_else(|| text(dw::DW_AT_MIPS_linkage_name));
            if let Some(name) = linkers {
                return Some((name, true));
            }
            plain = plain.or_else(|| Some((text(dw::DW_AT_name)?, false)));
            let origin = entry.attr_value(dw::DW_AT_abstract_origin);
            let origin = origin.or_else(|| entry.attr_value(dw::DW_AT_specification));
            let next = match origin {
                Some(AttributeValue::UnitRef(offset)) => Some((unit.clone(), offset)),
                Some(AttributeValue::DebugInfoRef(offset)) => {
                    let units = match is_alternate {
                        true => self.alternate.as_mut()?,
                        false => &mut self.main,
                    };
                    units.holding(dwarf, offset.0).ok()
                }
                Some(AttributeValue::DebugInfoRefSup(offset)) => {
                    is_alternate = true;
                    let alternate = self.alternate.as_mut().zip(self.dwarf.sup());
                    alternate.and_then(|(units, dwarf)| units.holding(dwarf, offset.0).ok())
                }
                _ => None,
            };
            let Some((next, offset)) = next else {
                return plain;
            };
            let Ok(origin) = next.entry(offset) else {
                return plain;
            };
            entry = origin;
            unit = next;
        }
        plain
    }
}
