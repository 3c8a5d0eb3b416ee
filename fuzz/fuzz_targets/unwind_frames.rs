//! Call frame information in a well-formed file to the table builder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_fuzz::{check, unwind};

fuzz_target!(|data: &[u8]| {
    let table = unwind::build_bytes(&check::elf_around(data)).expect("the file is well-formed");
    if let Some(table) = table {
        check::table(&table.words, table.rows, table.rules);
    }
});
