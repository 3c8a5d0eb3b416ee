//! Conversations with Redis, to its parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_fuzz::conversation::{pieces, play};
use observer_fuzz::requests::redis::Redis;

fuzz_target!(|data: &[u8]| {
    play(&mut Redis::new(), &pieces(data));
});
