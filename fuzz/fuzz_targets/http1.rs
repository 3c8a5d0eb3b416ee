//! HTTP/1.x: a connection's chunks, both ways.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_fuzz::hostile;
use observer_fuzz::requests::http1::Http1;

fuzz_target!(|data: &[u8]| {
    hostile::feed(&mut Http1::new(), data);
});
