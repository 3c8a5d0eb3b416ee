//! Perf maps to their readers: at once, and piece by piece as they grow.

#![no_main]

use std::fs::File;
use std::io::Write as _;

use libfuzzer_sys::fuzz_target;
use observer_symbols::perf_map::{Index, names_in, parse};
use observer_symbols::testing;

/// An empty file without a name.
fn file() -> std::io::Result<File> {
    let path = std::env::temp_dir().join(format!("observer-fuzz-{}.map", std::process::id()));
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

fuzz_target!(|data: &[u8]| {
    let mut addresses = testing::addresses(data);
    let found = names_in(data, &mut addresses);
    testing::check(data, &addresses, &found);

    let mut file = file().expect("a file");
    let mut index = Index::default();
    let (first, second) = data.split_at(data.len() / 2);
    file.write_all(first).expect("written");
    index.names(&file, &mut addresses);
    file.write_all(second).expect("written");
    let indexed = index.names(&file, &mut addresses);
    testing::check(data, &addresses, &indexed);
    // The index leaves out a last line without an end, and what is no JIT's.
    let mut same = true;
    parse(data, |entry| {
        same &= entry.is_whole && entry.size <= u64::from(u32::MAX);
        same &= entry.start.checked_add(entry.size).is_some();
    });
    assert!(!same || indexed == found);

    // The same bytes as a jitdump file: whatever comes of it.
    let mut index = Index::default();
    let dumped = index.names_in_dump(&file, &addresses);
    assert!(dumped.keys().all(|address| addresses.contains(address)));
});
