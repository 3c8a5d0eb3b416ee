//! HTTP/1.x: a connection's chunks, both ways.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_requests::http1::Http1;
use observer_requests::testing::hostile;

fuzz_target!(|data: &[u8]| {
    hostile::feed(&mut Http1::new(), data);
});
