//! HTTP/2 and gRPC: a connection's chunks, both ways.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_requests::http2::Http2;
use observer_requests::testing::hostile;

fuzz_target!(|data: &[u8]| {
    hostile::feed(&mut Http2::new(), data);
});
