//! Conversations with MySQL, to its parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_requests::mysql::MySql;
use observer_requests::testing::conversation::{pieces, play};

fuzz_target!(|data: &[u8]| {
    play(&mut MySql::new(), &pieces(data));
});
