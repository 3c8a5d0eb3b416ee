//! Conversations with Memcached, to its parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_requests::memcached::Memcached;
use observer_requests::testing::conversation::{pieces, play};

fuzz_target!(|data: &[u8]| {
    play(&mut Memcached::new(), &pieces(data));
});
