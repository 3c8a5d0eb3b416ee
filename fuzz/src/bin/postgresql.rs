//! Conversations with PostgreSQL, to its parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_requests::postgres::Postgres;
use observer_requests::testing::conversation::{pieces, play};

fuzz_target!(|data: &[u8]| {
    play(&mut Postgres::new(), &pieces(data));
});
