//! Names as people write them, from those that C++ and Rust compilers make.
//!
//! blazesym knows how, but only tells it of symbols that it looked up itself.
//! So it gets a file, in memory, that has nothing but a table of the names.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolizer};

/// Longer names stay as they are.
const MAX_MANGLED: usize = 4096;
/// Longest name made of one.
const MAX_NAME: usize = 4096;
/// log2 of how long a demangled name could be at most for it to be made.
const MAX_LENGTH_BITS: usize = 20;

/// Whether a name looks like a compiler's, and is safe to demangle.
pub fn is_mangled(name: &str) -> bool {
    let inner = name.trim_start_matches('_');
    inner.len() < name.len()
        && (inner.starts_with('Z') || inner.starts_with('R'))
        && name.len() <= MAX_MANGLED
        && !name.contains('\0')
        && !can_explode(name)
}

/// Whether a C++ name of some hundred bytes could be one of gigabytes: parts
/// refer to earlier parts (`S1_`, `T_`), so a name can double with every two
/// references. Three references at a time make most of them, which is
/// 3^(1/3) = 2^0.53 for each. Of V8's 66,000 names this holds for 7.
fn can_explode(name: &str) -> bool {
    let mut references = 0;
    let mut inside = false;
    for byte in name.bytes() {
        match byte {
            b'S' | b'T' => inside = true,
            b'0'..=b'9' | b'A'..=b'Z' => {}
            b'_' if inside => {
                references += 1;
                inside = false;
            }
            _ => inside = false,
        }
    }
    let doublings = references * 53 / 100;
    let room = MAX_LENGTH_BITS.checked_sub(doublings);
    room.is_none_or(|bits| name.len() >> bits > 0)
}

/// What each of `names` stands for; `None` for what is no mangled name.
pub fn demangle(names: &[&str]) -> Vec<Option<String>> {
    let nothing = || vec![None; names.len()];
    if names.is_empty() {
        return Vec::new();
    }
    let Some(file) = table_of(names) else {
        return nothing();
    };
    let symbolizer = Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_code_info(false)
        .enable_inlined_fns(false)
        .build();
    let mut elf = Elf::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    elf.debug_syms = false;
    let addresses: Vec<u64> = (1..=names.len() as u64).collect();
    let source = Source::Elf(elf);
    let Ok(symbols) = symbolizer.symbolize(&source, Input::VirtOffset(&addresses)) else {
        return nothing();
    };
    let demangled = |(symbol, name): (&blazesym::symbolize::Symbolized<'_>, &&str)| {
        let found = &symbol.as_sym()?.name;
        let is_new = found != name && found.len() <= MAX_NAME;
        is_new.then(|| found.to_string())
    };
    symbols.iter().zip(names).map(demangled).collect()
}

/// An ELF file with one symbol per name, at addresses from 1.
fn table_of(names: &[&str]) -> Option<File> {
    const HEADER: usize = 64;
    const SYMBOL: usize = 24;
    const SECTION_NAMES: &[u8] = b"\0.symtab\0.strtab\0";
    let mut texts = SECTION_NAMES.to_vec();
    let mut symbols = vec![0_u8; SYMBOL];
    for (n, name) in names.iter().enumerate() {
        symbols.extend(u32::try_from(texts.len()).ok()?.to_le_bytes());
        // A global function in section 1.
        symbols.extend([0x12, 0, 1, 0]);
        symbols.extend((n as u64 + 1).to_le_bytes());
        symbols.extend(1_u64.to_le_bytes());
        texts.extend(name.as_bytes());
        texts.push(0);
    }
    let texts_at = HEADER + symbols.len();
    let sections_at = (texts_at + texts.len()).next_multiple_of(8);
    let mut image = b"\x7fELF\x02\x01\x01".to_vec();
    image.resize(16, 0);
    image.extend(2_u16.to_le_bytes()); // a program
    image.extend(62_u16.to_le_bytes()); // for some processor
    image.extend(1_u32.to_le_bytes());
    image.extend([0; 16]);
    image.extend((sections_at as u64).to_le_bytes());
    image.extend(0_u32.to_le_bytes());
    for half in [HEADER as u16, 56, 0, 64, 3, 2] {
        image.extend(half.to_le_bytes());
    }
    image.extend(&symbols);
    image.extend(&texts);
    image.resize(sections_at + 64, 0);
    // Name, kind, place, length, the section of its texts, length of an entry.
    for (name, kind, at, length, link, entry) in [
        (1_u32, 2_u32, HEADER, symbols.len(), 2_u32, SYMBOL),
        (9, 3, texts_at, texts.len(), 0, 0),
    ] {
        image.extend(name.to_le_bytes());
        image.extend(kind.to_le_bytes());
        image.extend([0; 16]);
        image.extend((at as u64).to_le_bytes());
        image.extend((length as u64).to_le_bytes());
        image.extend(link.to_le_bytes());
        image.extend(0_u32.to_le_bytes());
        image.extend(8_u64.to_le_bytes());
        image.extend((entry as u64).to_le_bytes());
    }
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    let file = File::from(nix::sys::memfd::memfd_create(c"observer-names", flags).ok()?);
    file.write_all_at(&image, 0).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks names of C++, of both of Rust's schemes and of C, against what
    /// c++filt(1) and rustfilt print.
    #[test]
    fn known_names() {
        let names = [
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE",
            "_RNvC6_123foo3bar",
            "qsort",
            "_Zebra",
        ];
        let found = demangle(&names);
        assert_eq!(
            found[0].as_deref(),
            Some("std::vector<int, std::allocator<int> >::push_back(int const&)")
        );
        assert_eq!(found[1].as_deref(), Some("core::fmt::Formatter::pad"));
        assert_eq!(found[2].as_deref(), Some("123foo::bar"));
        assert_eq!(found[3..], [None, None]);
        assert!(is_mangled(names[0]) && is_mangled(names[2]) && !is_mangled(names[3]));
    }

    /// Checks that a name which would be 150 MB long stays as it is.
    #[test]
    fn exploding_name() {
        let mut name = "_Z1f1AIiiE".to_owned();
        let digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        // A template of the previous one, twice: S0_ is the second part.
        for last in digits.chars().take(22) {
            name += &format!("1BIS{last}_S{last}_E");
        }
        assert!(name.len() < 300 && !is_mangled(&name), "{name}");
        // A name from the C++ library with many references is none of those.
        assert!(is_mangled(
            "_ZNSt8_Rb_treeINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEESt4pairIKS5_\
             St6vectorIN4shop4ItemESaISA_EEESt10_Select1stISD_ESt4lessIS5_ESaISD_EE\
             29_M_get_insert_hint_unique_posESt23_Rb_tree_const_iteratorISD_ERS7_"
        ));
    }
}
