//! Functions of Go's programs by name, which they keep for their own use, also when stripped.
//!
//! Layout: `.gopclntab`, `pcHeader`, `functab` and `_func` of runtime/symtab.go and
//! runtime/runtime2.go; the same as debug/gosym reads. Go 1.18 and newer, which hand over
//! arguments in registers on all machines, of 64 bits and this machine's byte order.

use std::fs::File;

use crate::elf::Sections;

/// Where it is; the second in position-independent programs.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Largest that is read, in bytes.
const MAX_TABLE: u64 = 128 << 20;
/// `pcHeader.magic` by the first version that has it.
const GO_1_18: u32 = 0xffff_fff0;
const GO_1_20: u32 = 0xffff_fff1;

/// Whether a file is a program of Go's.
pub fn is_go(sections: &Sections) -> bool {
    SECTIONS.iter().any(|name| sections.named(name).is_some())
}

/// Where the functions called `names` begin, in the file's own address space.
pub fn addresses_of(file: &File, sections: &Sections, names: &[&str]) -> Vec<Option<u64>> {
    let found = SECTIONS.into_iter().find_map(|name| {
        let table = sections.contents(file, name, MAX_TABLE).ok()?;
        let text = sections.named(".text").map_or(0, |text| text.address);
        Table::of(&table, text).map(|table| table.find(names))
    });
    found.unwrap_or_else(|| vec![None; names.len()])
}

/// The parts of `.gopclntab` that are needed.
struct Table<'a> {
    /// Of each function its entry and where more of it is said.
    functions: &'a [u8],
    /// Names, each ended by a zero.
    names: &'a [u8],
    count: usize,
    /// Where code begins.
    text: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

impl<'a> Table<'a> {
    /// `text` is where the section of code begins, for programs that learn it when they
    /// are loaded.
    fn of(table: &'a [u8], text: u64) -> Option<Self> {
        let magic = u32_at(table, 0)?;
        if table.get(7) != Some(&8) {
            return None;
        }
        // Words behind the magic number: functions, files, text, names, units, files, values,
        // functions.
        let word = |number: usize| u64_at(table, 8 * (1 + number));
        let part = |number: usize| table.get(usize::try_from(word(number)?).ok()?..);
        let count = usize::try_from(word(0)?).ok()?;
        match magic {
            GO_1_18 | GO_1_20 => Some(Self {
                functions: part(7)?,
                names: part(3)?,
                count,
                text: word(2).filter(|start| *start != 0).unwrap_or(text),
            }),
            _ => None,
        }
    }

    /// The entry of a function and the offset of its name.
    fn function(&self, number: usize) -> Option<(u64, u32)> {
        let at = number.checked_mul(8)?;
        let entry = u32_at(self.functions, at)?;
        let more = u32_at(self.functions, at + 4)?;
        let name = usize::try_from(more).ok()?.checked_add(4)?;
        let entry = self.text.wrapping_add(entry.into());
        Some((entry, u32_at(self.functions, name)?))
    }

    fn find(&self, names: &[&str]) -> Vec<Option<u64>> {
        let offsets: Vec<Option<u32>> = names.iter().map(|name| self.name(name)).collect();
        let mut found = vec![None; names.len()];
        if offsets.iter().all(Option::is_none) {
            return found;
        }
        for number in 0..self.count {
            let Some((entry, name)) = self.function(number) else {
                break;
            };
            for (place, offset) in found.iter_mut().zip(&offsets) {
                if *offset == Some(name) {
                    *place = Some(entry);
                }
            }
        }
        found
    }

    /// Where a name is among the names.
    fn name(&self, name: &str) -> Option<u32> {
        let mut wanted = vec![0];
        wanted.extend(name.as_bytes());
        wanted.push(0);
        let at = memchr::memmem::find(self.names, &wanted)?;
        u32::try_from(at + 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table as Go writes it, of these functions.
    fn table(magic: u32, functions: &[(u64, &str)]) -> Vec<u8> {
        let (mut names, mut offsets) = (vec![0_u8], Vec::new());
        for (_, name) in functions {
            offsets.push(names.len() as u32);
            names.extend(name.as_bytes());
            names.push(0);
        }
        names.resize(names.len().next_multiple_of(8), 0);
        let header = 72;
        let entries = functions.len() * 8;
        let (mut tab, mut more) = (Vec::new(), Vec::new());
        for ((address, _), name) in functions.iter().zip(offsets) {
            let at = (entries + more.len()) as u64;
            let entry = (address - 0x40_1000) as u32;
            tab.extend(entry.to_ne_bytes());
            tab.extend((at as u32).to_ne_bytes());
            more.extend(entry.to_ne_bytes());
            more.extend(name.to_ne_bytes());
        }
        let mut words = vec![functions.len() as u64, 1, 0x40_1000];
        let functab = (header + names.len()) as u64;
        words.extend([header as u64, 0, 0, 0, functab]);
        let mut bytes = magic.to_ne_bytes().to_vec();
        bytes.extend([0, 0, 1, 8]);
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(names);
        bytes.extend(tab);
        bytes.extend(more);
        bytes
    }

    /// Checks that functions are found by their whole names in tables of all versions, and
    /// that tables that are cut or of other versions have none.
    #[test]
    fn all_versions() {
        let functions = [
            (0x40_1000, "main.main"),
            (0x40_2000, "net/http.(*conn).serve.func1"),
            (0x40_3000, "net/http.(*conn).serve"),
        ];
        let names = ["net/http.(*conn).serve", "serve", "main.main"];
        for magic in [GO_1_18, GO_1_20] {
            let bytes = table(magic, &functions);
            let found = Table::of(&bytes, 0).expect("a table").find(&names);
            assert_eq!(found, [Some(0x40_3000), None, Some(0x40_1000)]);
            for length in 0..bytes.len() {
                if let Some(cut) = Table::of(&bytes[..length], 0) {
                    cut.find(&names);
                }
            }
        }
        // Loaded anywhere: the text's beginning isn't in the file.
        let mut bytes = table(GO_1_20, &functions);
        bytes[24..32].fill(0);
        let found = Table::of(&bytes, 0x1000).expect("a table").find(&names);
        assert_eq!(found, [Some(0x3000), None, Some(0x1000)]);
        assert!(Table::of(&table(0xffff_fffb, &functions), 0).is_none());
    }
}
