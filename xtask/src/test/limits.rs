//! How long a test may take before it is killed and named: generous, since
//! machines differ; what is in time says nothing here.

use std::time::Duration;

/// A test that loads the kernel half, from its start to the end of its last
/// process. Most take a few seconds.
const TEST: Duration = Duration::from_secs(180);

/// The tests that need more, by the names of their binary and their own.
const LONGER: &[(&str, &str, u64)] = &[
    // Waits for the governor, up to two minutes each time.
    ("governor", "keeps_to_the_budget", 600),
    ("governor", "counts_what_it_does_not_time", 600),
    // Installs Python packages when it is the first.
    ("otlp_decoders", "", 600),
];

/// A whole binary of unit tests, or all of a package's examples in comments.
pub const UNIT: Duration = Duration::from_secs(1200);

/// Listing the tests of a binary.
pub const LIST: Duration = Duration::from_secs(60);

/// So many times as long where the machine was made slow on purpose.
const SLOW: u32 = 3;

/// The limit of a test, on a machine that was made slow or not.
pub fn of_test(binary: &str, test: &str, slow: bool) -> Duration {
    let longer = LONGER
        .iter()
        .find(|(its_binary, its_test, _)| *its_binary == binary && test.starts_with(its_test));
    let limit = longer.map_or(TEST, |(.., seconds)| Duration::from_secs(*seconds));
    if slow { limit * SLOW } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that exceptions are found by both names, and that a slow machine
    /// has more time.
    #[test]
    fn exceptions() {
        assert_eq!(of_test("tcp", "refused", false), TEST);
        let decoders = of_test("otlp_decoders", "any", false);
        assert!(decoders > TEST);
        assert_eq!(of_test("otlp_decoders", "any", true), decoders * SLOW);
        assert_eq!(of_test("cli", "keeps_to_the_budget", false), TEST);
    }
}
