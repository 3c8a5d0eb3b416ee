//! HTTP/2 and gRPC: a connection's chunks, both ways.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_fuzz::hostile;
use observer_fuzz::requests::http2::Http2;

fuzz_target!(|data: &[u8]| {
    hostile::feed(&mut Http2::new(), data);
});
