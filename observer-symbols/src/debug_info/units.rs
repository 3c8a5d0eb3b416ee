//! Compilation units, and the source files that they name.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use gimli::{EndianSlice, Error, LittleEndian, Unit, UnitHeader, UnitOffset};

pub(super) type Reader<'a> = EndianSlice<'a, LittleEndian>;
pub(super) type Dwarf<'a> = gimli::Dwarf<Reader<'a>>;

/// All units of one file, by where they begin; parsed when needed.
pub(super) struct Units<'a> {
    pub(super) headers: BTreeMap<usize, UnitHeader<Reader<'a>>>,
    parsed: HashMap<usize, Rc<Unit<Reader<'a>>>>,
}

impl<'a> Units<'a> {
    pub(super) fn new(dwarf: &Dwarf<'a>) -> Self {
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
    pub(super) fn holding(
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

/// Names of a unit's source files, by number.
#[derive(Default)]
pub(super) struct Files(HashMap<u64, Option<Arc<str>>>);

impl Files {
    pub(super) fn name<'a>(
        &mut self,
        dwarf: &Dwarf<'a>,
        unit: &Unit<Reader<'a>>,
        number: u64,
    ) -> Option<Arc<str>> {
        let known = self.0.entry(number);
        known
            .or_insert_with(|| file_name(dwarf, unit, number))
            .clone()
    }
}

/// The path of a source file, as the compiler wrote it.
fn file_name<'a>(dwarf: &Dwarf<'a>, unit: &Unit<Reader<'a>>, number: u64) -> Option<Arc<str>> {
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
