//! Call frame information in a well-formed file to the table builder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_unwind::{build_bytes, testing};

fuzz_target!(|data: &[u8]| {
    let table = build_bytes(&testing::elf_around(data)).expect("the file is well-formed");
    if let Some(table) = table {
        testing::check(&table);
    }
});
