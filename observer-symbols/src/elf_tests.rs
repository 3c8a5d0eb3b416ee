//! Checks what is read of ELF files.

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
