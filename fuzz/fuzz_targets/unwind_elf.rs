//! Whole files to the table builder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_fuzz::{check, unwind};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(table)) = unwind::build_bytes(data) {
        check::table(&table.words, table.rows, table.rules);
    }
});
