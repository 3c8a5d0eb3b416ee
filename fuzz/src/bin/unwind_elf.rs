//! Whole files to the table builder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_unwind::{build_bytes, testing};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(table)) = build_bytes(data) {
        testing::check(&table);
    }
});
