//! Conversations with PostgreSQL, to its parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_fuzz::conversation::{pieces, play};
use observer_fuzz::requests::postgres::Postgres;

fuzz_target!(|data: &[u8]| {
    play(&mut Postgres::new(), &pieces(data));
});
