//! DNS messages, over UDP and TCP, to their parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_fuzz::conversation::{pieces, play};
use observer_fuzz::requests::dns::Dns;

fuzz_target!(|data: &[u8]| {
    if let Some((transport, data)) = data.split_first() {
        play(&mut Dns::new(transport & 1 == 0), &pieces(data));
    }
});
