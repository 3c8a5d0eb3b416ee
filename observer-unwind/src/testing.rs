//! What holds for unwinding tables whatever they were made from: for this crate's
//! tests and the fuzz targets.

use observer_common::unwind::{
    CHUNK_WORDS, HEADER_WORDS, MAX_RULES, Machine, PAGE_SHIFT, Registers, Rule, cfa, place, search,
    step,
};

use super::Table;

/// Checks a table's layout, and that every row is found and can be stepped by.
///
/// # Panics
///
/// When something is wrong.
pub fn check(table: &Table) {
    let Table {
        ref words,
        rows,
        rules,
        ..
    } = *table;
    assert_eq!(words.len() % CHUNK_WORDS, 0);
    let word = |at: usize| words[at] as usize;
    let (pages, first, start) = (word(0), word(1), word(2));
    assert!(pages <= 1 << (32 - PAGE_SHIFT));
    assert_eq!(word(3), rules);
    assert!((1..=MAX_RULES).contains(&rules));
    assert_eq!(start % Rule::WORDS as usize, 0);
    assert!(start + rules * Rule::WORDS as usize <= words.len());
    let index = &words[HEADER_WORDS as usize..][..=pages];
    assert_eq!(first, HEADER_WORDS as usize + pages + 1);
    assert_eq!(index[pages] as usize, rows);
    assert!(first + rows <= start);
    for (page, range) in index.windows(2).enumerate() {
        let page_rows = &words[first..][range[0] as usize..range[1] as usize];
        let begin = (page as u32) << PAGE_SHIFT;
        // Rows have the low half of the address, of which a part is the page's.
        assert_eq!(page_rows[0] >> 16, begin & 0xffff, "page {page} has a row");
        assert!(page_rows.is_sorted_by(|a, b| a >> 16 < b >> 16));
        for row in page_rows {
            let address = begin & !0xffff | row >> 16;
            assert_eq!(address >> PAGE_SHIFT, page as u32);
            let found = search(address, |at| words.get(at as usize).copied());
            let rule = start as u32 + (row & 0xffff) * Rule::WORDS;
            assert_eq!(found, Some(rule), "the row at {address:#x}");
            steps(&words[rule as usize..]);
        }
    }
    let behind = (pages as u64) << PAGE_SHIFT;
    if let Ok(behind) = u32::try_from(behind) {
        assert_eq!(search(behind, |at| words.get(at as usize).copied()), None);
    }
}

/// Checks that a rule is one, and steps by it.
fn steps(words: &[u32]) {
    let words = [words[0], words[1], words[2], words[3]];
    let rule = Rule::from_words(words);
    assert_eq!(rule.to_words(), words);
    assert!(rule.cfa <= cfa::UNSUPPORTED);
    assert!(rule.ra() <= place::REGISTER && rule.fp() <= place::AT_FP);
    let at = Registers {
        pc: 0x1234,
        sp: 0x7fff_0000,
        fp: u64::MAX,
        lr: 0,
    };
    // Whatever it comes to: it comes back.
    let _ = step(&rule, &at, &mut Everywhere);
}

/// Memory in which each word is its own address.
struct Everywhere;

impl Machine for Everywhere {
    fn read(&mut self, address: u64) -> Option<u64> {
        Some(address)
    }

    fn register(&mut self, number: u8) -> Option<u64> {
        Some(u64::from(number))
    }
}

/// A program whose `.eh_frame` (or, by the first byte, `.debug_frame`, or for
/// another machine) is the rest of `data`.
#[must_use]
pub fn elf_around(data: &[u8]) -> Vec<u8> {
    const HEADER: usize = 64;
    const NAMES: &[u8] = b"\0.shstrtab\0.eh_frame\0.debug_frame\0";
    let (kind, frames) = data.split_first().unwrap_or((&0, &[]));
    let machine: u16 = if kind & 2 == 0 { 62 } else { 183 };
    let name: u32 = if kind & 1 == 0 { 11 } else { 21 };
    let names_at = HEADER + 56;
    let frames_at = names_at + NAMES.len();
    let sections_at = frames_at + frames.len();
    let mut elf = Vec::with_capacity(sections_at + 3 * 64);
    elf.extend(b"\x7fELF\x02\x01\x01");
    elf.resize(16, 0);
    elf.extend([3, 0]);
    elf.extend(machine.to_le_bytes());
    elf.extend(1_u32.to_le_bytes());
    // Entry, program headers, section headers.
    elf.extend(0x1000_u64.to_le_bytes());
    elf.extend((HEADER as u64).to_le_bytes());
    elf.extend((sections_at as u64).to_le_bytes());
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 3, 1] {
        elf.extend(half.to_le_bytes());
    }
    // One executable segment of 16 MiB.
    elf.extend(1_u32.to_le_bytes());
    elf.extend(5_u32.to_le_bytes());
    for word in [0_u64, 0, 0, 0, 16 << 20, 4096] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(NAMES);
    elf.extend(frames);
    elf.resize(elf.len() + 64, 0);
    let sections = [
        (1, 3_u32, 0_u64, names_at, NAMES.len()),
        (name, 1, 0x10_0000, frames_at, frames.len()),
    ];
    for (name, kind, address, offset, size) in sections {
        elf.extend(name.to_le_bytes());
        elf.extend(kind.to_le_bytes());
        elf.extend(0_u64.to_le_bytes());
        elf.extend(address.to_le_bytes());
        elf.extend((offset as u64).to_le_bytes());
        elf.extend((size as u64).to_le_bytes());
        elf.extend([0; 24]);
    }
    elf
}
