//! Source lines and inlined functions from DWARF.
//!
//! Looks a set of addresses up in one file, in one pass: what it needs of the
//! file is read, used and dropped, and no index outlives it. Files are broken
//! or hostile sometimes, so the work is counted and given up beyond a limit,
//! nothing recurses, and what can't be read is left out.
//!
//! Format: DWARF 5, sections 2.17 (ranges), 3.3 (functions), 6.2 (lines);
//! supplementary files as dwz(1) makes them (`DW_FORM_GNU_ref_alt`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::rc::Rc;

use gimli::{
    AttributeValue, DebuggingInformationEntry, DwarfSections, EndianSlice, Error, LittleEndian,
    SectionId, Unit, UnitHeader, UnitOffset, constants as dw,
};

use super::elf::Sections;

/// Debug information read of one file, decompressed.
const MAX_BYTES: u64 = 1 << 30;
/// References followed to find a function's name.
const MAX_REFERENCES: usize = 16;
/// Entries, ranges and rows looked at for one file; some seconds.
const MAX_WORK: u64 = 400_000_000;
/// Inlined functions shown at one address.
const MAX_INLINED: usize = 64;

type Reader<'a> = EndianSlice<'a, LittleEndian>;
type Dwarf<'a> = gimli::Dwarf<Reader<'a>>;

/// One function at an address, not demangled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The function as linkers or the source call it; `None` when the debug
    /// information has only the line.
    pub name: Option<String>,
    /// Whether that is the linker's name; else it is the source's, which
    /// doesn't say of which namespace or class.
    pub is_linkage: bool,
    /// Source file.
    pub file: Option<Rc<str>>,
    /// Source line, 0 when unknown.
    pub line: u32,
}

/// The contents of a file's debug sections.
pub struct DebugSections(DwarfSections<Vec<u8>>);

impl DebugSections {
    /// Reads them; `None` when there is no debug information, or too much.
    pub fn read(file: &File) -> Option<Self> {
        let sections = Sections::read(file).ok()?;
        sections
            .named(".debug_info")
            .filter(|s| s.has_contents() && s.size > 0)?;
        let mut left = MAX_BYTES;
        let read = |id: SectionId| -> Result<Vec<u8>, ()> {
            // Where variables live is of no interest here.
            let wanted = !matches!(
                id,
                SectionId::DebugLoc
                    | SectionId::DebugLocLists
                    | SectionId::DebugMacinfo
                    | SectionId::DebugMacro
                    | SectionId::DebugNames
                    | SectionId::DebugTypes
            );
            if !wanted || sections.named(id.name()).is_none() {
                return Ok(Vec::new());
            }
            let contents = sections.contents(file, id.name(), left).ok_or(())?;
            left -= contents.len() as u64;
            Ok(contents)
        };
        DwarfSections::load(read).ok().map(Self)
    }
}

/// What `addresses` (sorted, in the file's own address space) are in the
/// source, innermost function first; empty where nothing is known. `alternate`
/// is the supplementary file that dwz(1) moved common parts to.
pub fn look_up(
    sections: &DebugSections,
    alternate: Option<&DebugSections>,
    addresses: &[u64],
) -> Vec<Vec<SourceLine>> {
    let slice = |section| EndianSlice::new(section, LittleEndian);
    let mut dwarf = sections
        .0
        .borrow_with_sup(alternate.map(|a| &a.0), |s| slice(s.as_slice()));
    // Units share tables of abbreviations; each is read once.
    dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
    let mut search = Search {
        main: Units::new(&dwarf),
        alternate: dwarf.sup().map(Units::new),
        dwarf: &dwarf,
        addresses,
        places: vec![Place::default(); addresses.len()],
        work: 0,
    };
    // What was found before something broken is still right.
    if let Err(error) = search.run() {
        tracing::debug!("debug information is broken: {error}");
    }
    search.places.into_iter().map(Place::into_lines).collect()
}

/// All units of one file, by where they begin; parsed when needed.
struct Units<'a> {
    headers: BTreeMap<usize, UnitHeader<Reader<'a>>>,
    parsed: HashMap<usize, Rc<Unit<Reader<'a>>>>,
}

impl<'a> Units<'a> {
    fn new(dwarf: &Dwarf<'a>) -> Self {
        let mut headers = BTreeMap::new();
        let mut all = dwarf.units();
        while let Ok(Some(header)) = all.next() {
            if let Some(offset) = header.debug_info_offset() {
                headers.insert(offset.0, header);
            }
        }
        Self {
            headers,
            parsed: HashMap::new(),
        }
    }

    /// The unit that holds an offset of the section, and the offset within it.
    fn holding(
        &mut self,
        dwarf: &Dwarf<'a>,
        offset: usize,
    ) -> Result<(Rc<Unit<Reader<'a>>>, UnitOffset), Error> {
        let missing = Error::NoEntryAtGivenOffset(offset as u64);
        let (start, header) = self.headers.range(..=offset).next_back().ok_or(missing)?;
        let unit = match self.parsed.get(start) {
            Some(unit) => unit.clone(),
            None => {
                let unit = Rc::new(dwarf.unit(*header)?);
                self.parsed.insert(*start, unit.clone());
                unit
            }
        };
        Ok((unit, UnitOffset(offset - start)))
    }
}

/// A function that an address belongs to.
#[derive(Clone, Debug)]
struct Function {
    name: Option<String>,
    is_linkage: bool,
    /// Where the function before it calls it.
    call: (Option<Rc<str>>, u32),
}

/// What is known about one address.
#[derive(Clone, Debug, Default)]
struct Place {
    row: Option<(Option<Rc<str>>, u32)>,
    /// Outermost first.
    functions: Vec<Function>,
    /// Which entry the outermost one is, and how much code it has.
    owner: Option<usize>,
    length: u64,
}

impl Place {
    fn into_lines(self) -> Vec<SourceLine> {
        let mut at = self.row;
        if self.functions.is_empty() {
            let (file, line) = match at {
                Some(at) => at,
                None => return Vec::new(),
            };
            return vec![SourceLine {
                name: None,
                is_linkage: false,
                file,
                line,
            }];
        }
        let mut lines = Vec::with_capacity(self.functions.len());
        let outermost = self.functions.len() - 1;
        for (depth, function) in self.functions.into_iter().rev().enumerate() {
            let (file, line) = at.take().unwrap_or_default();
            at = Some(function.call);
            // Nothing can be said about an inlined function without a name.
            if function.name.is_some() || depth == outermost {
                lines.push(SourceLine {
                    name: function.name,
                    is_linkage: function.is_linkage,
                    file,
                    line,
                });
            }
        }
        lines
    }
}

struct Search<'s, 'a> {
    dwarf: &'s Dwarf<'a>,
    main: Units<'a>,
    alternate: Option<Units<'a>>,
    addresses: &'s [u64],
    places: Vec<Place>,
    work: u64,
}

impl<'a> Search<'_, 'a> {
    fn run(&mut self) -> Result<(), Error> {
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
        self.work += steps;
        if self.work > MAX_WORK {
            return Err(Error::OffsetOutOfBounds(self.work));
        }
        Ok(())
    }

    /// The wanted addresses from `begin` until before `end`, by index.
    fn within(&self, begin: u64, end: u64) -> std::ops::Range<usize> {
        let first = self.addresses.partition_point(|a| *a < begin);
        let count = self.addresses[first..].partition_point(|a| *a < end);
        first..first + count
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
                    self.places[at].row = Some((name, line));
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
                    let place = &self.places[at];
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
                    let place = &mut self.places[at];
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

/// Names of a unit's source files, by number.
#[derive(Default)]
struct Files(HashMap<u64, Option<Rc<str>>>);

impl Files {
    fn name<'a>(
        &mut self,
        dwarf: &Dwarf<'a>,
        unit: &Unit<Reader<'a>>,
        number: u64,
    ) -> Option<Rc<str>> {
        let known = self.0.entry(number);
        known
            .or_insert_with(|| file_name(dwarf, unit, number))
            .clone()
    }
}

/// The path of a source file, as the compiler wrote it.
fn file_name<'a>(dwarf: &Dwarf<'a>, unit: &Unit<Reader<'a>>, number: u64) -> Option<Rc<str>> {
    let header = unit.line_program.as_ref()?.header();
    let file = header.file(number)?;
    let text = |value| {
        let text = dwarf.attr_string(unit, value).ok()?;
        Some(text.to_string_lossy().into_owned())
    };
    let mut path = text(file.path_name())?;
    let folder = file.directory(header).and_then(text);
    let start = unit.comp_dir.map(|c| c.to_string_lossy().into_owned());
    for folder in [folder, start].into_iter().flatten() {
        if !path.starts_with('/') && !folder.is_empty() {
            path = format!("{}/{path}", folder.trim_end_matches('/'));
        }
    }
    Some(path.into())
}
