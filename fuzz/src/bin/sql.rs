//! SQL, as it comes and full of literals, to what takes them out.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_requests::sql::{Cache, Dialect, describe};
use observer_requests::testing::quoting;

fuzz_target!(|data: &[u8]| {
    let [dialect, cut, data @ ..] = data else {
        return;
    };
    let dialect = match dialect % 3 {
        0 => Dialect::Postgres,
        1 => Dialect::MySql,
        _ => Dialect::MySqlPlain,
    };
    let text = quoting::statement(data, dialect);
    quoting::check(&text, usize::from(*cut), dialect);

    let mut cache = Cache::default();
    let found = cache.describe(data, dialect);
    assert_eq!(*found, *cache.describe(data, dialect));
    assert!(found.text.len() <= 2048 && found.summary.len() <= 255);
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(*found, describe(text, dialect));
    }
});
