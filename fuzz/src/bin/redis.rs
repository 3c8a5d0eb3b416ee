//! Conversations with Redis, to its parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_requests::redis::Redis;
use observer_requests::testing::conversation::{pieces, play};

fuzz_target!(|data: &[u8]| {
    play(&mut Redis::new(), &pieces(data));
});
