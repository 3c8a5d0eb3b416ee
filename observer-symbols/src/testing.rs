//! What holds for names from perf maps whatever is in them: for this crate's tests
//! and the fuzz targets.

use std::collections::HashMap;

/// Addresses that a perf map is asked for: its first bytes, else all small ones.
#[must_use]
pub fn addresses(data: &[u8]) -> Vec<u64> {
    let (words, _) = data.as_chunks::<8>();
    let words = words.iter().take(16).map(|word| u64::from_le_bytes(*word));
    (0..256).chain(words).collect()
}

/// Checks what a perf map's reader found for `addresses`, sorted by it.
///
/// # Panics
///
/// When something is wrong.
pub fn check(map: &[u8], addresses: &[u64], found: &HashMap<u64, String>) {
    assert!(addresses.is_sorted_by(|a, b| a < b));
    for (address, name) in found {
        assert!(addresses.binary_search(address).is_ok());
        // Bytes that aren't UTF-8 are replaced, each by three at most.
        assert!(name.len() <= 3 * map.len());
    }
}
