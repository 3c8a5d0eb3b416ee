//! Conversations with MySQL, to its parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_fuzz::conversation::{pieces, play};
use observer_fuzz::requests::mysql::MySql;

fuzz_target!(|data: &[u8]| {
    play(&mut MySql::new(), &pieces(data));
});
