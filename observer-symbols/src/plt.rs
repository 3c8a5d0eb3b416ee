//! Names of the stubs through which a file calls other files' functions
//! (`write@plt`), which no symbol table lists.
//!
//! A stub jumps to what a slot of the global offset table points to, and a
//! relocation says which symbol that is; so the stub's instructions lead to its
//! name, whatever kind of stub the linker made. (System V ABI, x86-64 and
//! AArch64 supplements.)

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::elf::{Section, Sections, u32_at};
use super::symbol_table::name_of;

const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
/// Length of an `Elf64_Rela`.
const RELOCATION: usize = 24;
/// Largest table of relocations read, in bytes.
const MAX_RELOCATIONS: u64 = 64 << 20;
/// How much of it is read at once.
const PIECE: usize = RELOCATION * 4096;
/// Longest stub.
const MAX_STUB: u64 = 16;

/// Whether `section` is one of those that consist of stubs.
fn is_stubs(section: &Section) -> bool {
    matches!(
        section.name.as_str(),
        ".plt" | ".plt.sec" | ".plt.got" | ".plt.bnd"
    ) && section.is_code()
}

/// Names of those of `addresses` that lie in stubs.
pub fn look_up(file: &File, sections: &Sections, addresses: &[u64]) -> HashMap<u64, String> {
    let mut names = HashMap::new();
    let mut wanted: HashMap<u64, Vec<u64>> = HashMap::new();
    let stubs: Vec<&Section> = sections.list.iter().filter(|s| is_stubs(s)).collect();
    for address in addresses {
        let Some(section) = stubs.iter().find(|s| s.holds(*address)) else {
            continue;
        };
        match slot(file, sections.machine, section, *address) {
            Some(slot) => wanted.entry(slot).or_default().push(*address),
            // The first stub of a lazily bound table is the way to the linker.
            None => _ = names.insert(*address, section.name.clone()),
        }
    }
    if wanted.is_empty() || !sections.is_64 {
        return names;
    }
    for table in [".rela.plt", ".rela.dyn"] {
        let Some(table) = sections.named(table).filter(|s| s.has_contents()) else {
            continue;
        };
        let Some(symbols) = sections.list.get(table.link as usize) else {
            continue;
        };
        relocations(file, table, |slot, symbol, addend| {
            let Some(stubs) = wanted.get(&slot) else {
                return;
            };
            // As objdump(1) and perf(1) write it.
            let name = match symbol {
                0 => Some(format!("*ABS*+{addend:#x}@plt")),
                _ => name_of(file, sections, symbols, symbol).map(|name| name + "@plt"),
            };
            for stub in stubs {
                names.extend(name.clone().map(|name| (*stub, name)));
            }
        });
    }
    names
}

/// The address of the slot that the stub around `address` jumps by.
fn slot(file: &File, machine: u16, section: &Section, address: u64) -> Option<u64> {
    let length = match (machine, section.name.as_str()) {
        (EM_X86_64, ".plt.got") if !section.size.is_multiple_of(16) => 8,
        _ => MAX_STUB,
    };
    let start = (address - section.address) / length * length;
    let mut code = [0; MAX_STUB as usize];
    let code = code.get_mut(..length.min(section.size - start) as usize)?;
    file.read_exact_at(code, section.offset.checked_add(start)?)
        .ok()?;
    let at = section.address.checked_add(start)?;
    match machine {
        EM_X86_64 => {
            // jmp *offset(%rip), after endbr64 and a bnd prefix if need be. The
            // first stub pushes before it jumps.
            if code.starts_with(&[0xff, 0x35]) {
                return None;
            }
            let jump = code.windows(2).position(|w| w == [0xff, 0x25])?;
            let offset = i64::from(u32_at(code, jump + 2)? as i32);
            at.checked_add(jump as u64 + 6)?.checked_add_signed(offset)
        }
        EM_AARCH64 => {
            // adrp x16, page; ldr x17, [x16, #offset], after bti if need be.
            let (words, _) = code.as_chunks();
            let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
            let mut numbered = words.by_ref().enumerate();
            let (adrp, word) = numbered.find(|(_, w)| w & 0x9f00_001f == 0x9000_0010)?;
            let load = words.next()?;
            if load & 0xffc0_03ff != 0xf940_0211 {
                return None;
            }
            let pages = (word >> 5 & 0x7_ffff) << 2 | (word >> 29 & 3);
            let pages = i64::from((pages << 11) as i32 >> 11) << 12;
            let page = at.wrapping_add(adrp as u64 * 4) & !0xfff;
            let offset = u64::from(load >> 10 & 0xfff) * 8;
            page.checked_add_signed(pages)?.checked_add(offset)
        }
        _ => None,
    }
}

/// Calls `each` with slot, symbol and addend of every relocation.
fn relocations(file: &File, table: &Section, mut each: impl FnMut(u64, u64, u64)) {
    let end = table.offset.saturating_add(table.size.min(MAX_RELOCATIONS));
    let mut at = table.offset;
    let mut piece = vec![0; PIECE];
    while at < end {
        let wanted = PIECE.min((end - at) as usize / RELOCATION * RELOCATION);
        let Some(piece) = piece.get_mut(..wanted).filter(|p| !p.is_empty()) else {
            return;
        };
        if file.read_exact_at(piece, at).is_err() {
            return;
        }
        let (words, _) = piece.as_chunks();
        let (relocations, _) = words.as_chunks::<{ RELOCATION / 8 }>();
        for relocation in relocations {
            let [slot, info, addend] = relocation.map(u64::from_le_bytes);
            each(slot, info >> 32, addend);
        }
        at += wanted as u64;
    }
}
