//! Checks names by perf maps, whole and growing.

use super::*;
use crate::testing;
use std::io::Write as _;

/// Checks that each address gets the newest name whose range holds it, and
/// that lines which aren't entries are passed over.
#[test]
fn newest_name_wins() {
    let map = "1000 100 old\nnonsense\n\n0x1000 80 new name with spaces\n2000 10 last";
    let mut addresses = vec![0x2000, 0x1000, 0x1080, 0x10ff, 0x1100, 0x2010];
    let found = names_in(map.as_bytes(), &mut addresses);
    let name = |a: u64| found.get(&a).map(String::as_str);
    assert_eq!(name(0x1000), Some("new name with spaces"));
    assert_eq!(name(0x1080), Some("old"));
    assert_eq!(name(0x10ff), Some("old"));
    assert_eq!(name(0x1100), None);
    assert_eq!(name(0x2000), Some("last"));
    assert_eq!(name(0x2010), None);
}

/// Checks that a line without an end takes no more memory than a line, and
/// that what follows it is read.
#[test]
fn endless_line() {
    let long = format!("1000 10 {}\n2000 10 next\n", "x".repeat(1 << 20));
    let mut found = Vec::new();
    let parsed = parse(long.as_bytes(), |e| found.push((e.start, e.name.len())));
    assert_eq!(found, [(0x1000, MAX_LINE - 8), (0x2000, 4)]);
    assert_eq!(parsed.complete, long.len() as u64);
    assert_eq!(parsed.malformed, 0);
}

/// Checks that reading comes to an end when each line names everything.
#[test]
fn work_is_bounded() {
    let map = "0 ffffffffffff x\n".repeat(5) + "0 1 late\n";
    let mut addresses: Vec<u64> = (0..1 << 20).collect();
    assert_eq!(names_in(map.as_bytes(), &mut addresses)[&0], "x");
}

/// Checks that lines which are no entries are counted once each, also where
/// a map is read in pieces, and that neither empty lines nor one that is on
/// its way are.
#[test]
fn malformed_lines_are_counted() {
    let mut map = tempfile::tempfile().expect("file");
    let mut index = Index::default();
    let pieces: [(&[u8], u64); 5] = [
        (b"1000 10 good\n\n  \nno entry\n1000\n", 2),
        (b"zz 10 no number\n2000 10", 1),
        (b" good\n3000 10 \n", 1),
        (
            b"\xff\xfe\n-1 10 negative\n10000000000000000 1 too large\n",
            3,
        ),
        (b"4000 10 good\n", 0),
    ];
    for (piece, expected) in pieces {
        map.write_all(piece).expect("written");
        index.names(&map, &mut vec![0x1000]);
        assert_eq!(index.take_malformed(), expected, "{piece:?}");
        index.names(&map, &mut vec![0x1000]);
        assert_eq!(index.take_malformed(), 0, "told already");
    }
    let names = index.names(&map, &mut vec![0x1000, 0x2000, 0x4000]);
    assert_eq!(names.len(), 3);
    // Another file begins anew.
    let mut other = tempfile::tempfile().expect("file");
    other.write_all(b"trash\n").expect("written");
    index.names(&other, &mut vec![0x1000]);
    assert_eq!(index.take_malformed(), 1);
}

/// Checks an index that reads a growing map piece by piece against reading
/// all of it at once, with functions that overlap at random.
#[test]
fn growing_map() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut map = tempfile::tempfile().expect("file");
    let mut index = Index::default();
    let mut text = String::new();
    for turn in 0..60 {
        let mut added = String::new();
        for n in 0..random.usize(0..20) {
            let (start, size) = (random.u32(0..400), random.u32(0..40));
            added += &format!("{start:x} {size:x} f{turn}_{n}\n");
        }
        // The last line is on its way.
        let cut = random.usize(0..=added.len());
        for part in [&added[..cut], &added[cut..]] {
            map.write_all(part.as_bytes()).expect("written");
            text += part;
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            let mut addresses: Vec<u64> = (0..450).collect();
            let expected = names_in(whole.as_bytes(), &mut addresses);
            assert_eq!(index.names(&map, &mut addresses), expected, "turn {turn}");
        }
    }
    assert!(index.read > 0 && index.functions() > 10);
}

/// Checks that all inputs which fuzzing found worth keeping are read without
/// a panic, and that what comes of them is well-formed.
#[test]
fn fuzzed_inputs() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/perf_map");
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("a corpus") {
        let map = std::fs::read(file.expect("a file").path()).expect("read");
        let mut addresses = testing::addresses(&map);
        let found = names_in(map.as_slice(), &mut addresses);
        testing::check(&map, &addresses, &found);
        count += 1;
    }
    assert!(count > 0, "{folder} is empty");
}
