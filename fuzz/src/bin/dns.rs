//! DNS messages, over UDP and TCP, to their parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_requests::dns::Dns;
use observer_requests::testing::conversation::{pieces, play};

fuzz_target!(|data: &[u8]| {
    if let Some((transport, data)) = data.split_first() {
        play(&mut Dns::new(transport & 1 == 0), &pieces(data));
    }
});
