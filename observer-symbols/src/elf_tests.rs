//! Checks what is read of ELF files.

use super::notes::NT_GNU_BUILD_ID;
use super::*;

/// Checks that the segments of this very program contain its own code
/// where the kernel mapped it, and that `[vdso]`-like short files are fine.
#[test]
fn own_segments() {
    let file = File::open("/proc/self/exe").expect("own program");
    let info = ElfInfo::read(&file).expect("readable");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let exe = std::fs::read_link("/proc/self/exe").expect("link");
    let exe = exe.to_str().expect("UTF-8");
    let code = maps
        .lines()
        .find(|l| l.contains(" r-xp ") && l.ends_with(exe))
        .expect("mapped code");
    let offset = code.split_whitespace().nth(2).expect("offset");
    let offset = u64::from_str_radix(offset, 16).expect("hex");
    assert!(info.segment(offset + 4096).is_some());
    let short = tempfile::tempfile().expect("file");
    assert_eq!(ElfInfo::read(&short).expect("readable"), ElfInfo::default());
}

/// Checks which segments are code in a 32-bit file, whose program headers have
/// the flags behind the sizes.
#[test]
fn code_of_32_bits() {
    let header = |offset: u32, address: u32, flags: u32| {
        // Type, offset, both addresses, both sizes, flags, alignment.
        let words = [PT_LOAD, offset, address, address, 0x100, 0x100, flags, 4];
        words.map(u32::to_le_bytes).concat()
    };
    let mut file = vec![0; 52];
    file[..6].copy_from_slice(b"\x7fELF\x01\x01");
    file[28..32].copy_from_slice(&52_u32.to_le_bytes());
    file[42..44].copy_from_slice(&32_u16.to_le_bytes());
    file[44..46].copy_from_slice(&2_u16.to_le_bytes());
    // The offset of the first, which isn't code, has the bit of the flag.
    file.extend(header(0x1001, 0x2001, 6));
    file.extend(header(0x3000, 0x4000, 5));
    let path = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(path.path(), file).expect("writable");
    let info = ElfInfo::read(path.as_file()).expect("readable");
    let code: Vec<bool> = info.segments.iter().map(|s| s.executable).collect();
    assert_eq!(code, [false, true]);
    assert_eq!(info.offset(0x4010), Some(0x3010));
    assert_eq!(info.offset(0x2011), None);
}

/// Checks that the running kernel's build id is found in its notes, and
/// that cut-off notes end the search.
#[test]
fn kernel_build_id() {
    let mut notes = vec![4, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0];
    notes.extend(b"XXX\0\x01\x02\0\0");
    notes.extend([4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0]);
    notes.extend(b"GNU\0\xab\xcd\x01\0");
    assert_eq!(build_id_in_notes(&notes).as_deref(), Some("abcd01"));
    for cut in 0..notes.len() - 2 {
        assert_eq!(build_id_in_notes(&notes[..cut]), None);
    }
}

/// A note: name and value, each filled up to a multiple of four.
fn note(kind: u32, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    note.extend((name.len() as u32).to_le_bytes());
    note.extend((value.len() as u32).to_le_bytes());
    note.extend(kind.to_le_bytes());
    for part in [name, value] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

/// Checks build ids of every length, behind notes whose names and values have
/// every padding, and that one which is cut short is none.
#[test]
fn build_ids_of_odd_lengths() {
    for length in 0..=21_u8 {
        let id: Vec<u8> = (1..=length).collect();
        let other = note(1, &b"Linux\0\0"[..usize::from(length % 7)], &id);
        let own = note(NT_GNU_BUILD_ID, b"GNU\0", &id);
        let whole = [other.clone(), own].concat();
        assert_eq!(build_id_in_notes(&whole), Some(hex(&id)), "{length} bytes");
        let needed = other.len() + 16 + usize::from(length);
        for cut in 0..whole.len() {
            // Only what fills it up may be missing.
            let expected = (cut >= needed).then(|| hex(&id));
            assert_eq!(build_id_in_notes(&whole[..cut]), expected, "{cut} bytes");
        }
    }
}

/// Checks that lengths that no file has end the search, and that a note of
/// another owner is no build id.
#[test]
fn hostile_notes() {
    for (name, value) in [
        (u32::MAX, 4),
        (4, u32::MAX),
        (u32::MAX, u32::MAX),
        (1 << 31, 4),
    ] {
        let mut notes = Vec::new();
        for word in [name, value, NT_GNU_BUILD_ID] {
            notes.extend(word.to_le_bytes());
        }
        notes.extend(b"GNU\0\x01\x02\x03\x04");
        assert_eq!(build_id_in_notes(&notes), None);
    }
    let foreign = note(NT_GNU_BUILD_ID, b"BSD\0", b"\x01\x02");
    assert_eq!(build_id_in_notes(&foreign), None);
    let short = note(NT_GNU_BUILD_ID, b"GN\0", b"\x01\x02");
    assert_eq!(build_id_in_notes(&short), None);
}
