//! What holds only if a test gets its CPU time in time.
//!
//! Some figures depend on when somebody got a CPU: rates of samples, durations
//! by two clocks, stacks that are complete once a table was built. A test that
//! fails at one says so by [`in_time!`](crate::in_time). `cargo xtask test`
//! tries it again if others, measurably, took CPU time away meanwhile: the
//! host, other processes, a cgroup's limit; and once if they took less than shows.
//! Everything else that fails, a figure
//! that is missing or wrong above all, has failed.

/// What a failure of this kind begins with; `cargo xtask test` looks for it.
pub const NEEDS_CPU: &str = "needs CPU in time: ";

/// Fails with what is wrong.
///
/// # Panics
/// Always.
#[track_caller]
pub fn fail(wrong: &str) -> ! {
    panic!("{NEEDS_CPU}{wrong}")
}

/// Like `assert!` with a message, for what holds only if the test gets its CPU
/// time in time.
#[macro_export]
macro_rules! in_time {
    ($holds:expr, $($wrong:tt)+) => {
        if !$holds {
            $crate::in_time::fail(&format!($($wrong)+))
        }
    };
}

#[cfg(test)]
mod tests {
    /// Checks that only what doesn't hold fails, with the word at the beginning.
    #[test]
    fn fails_with_the_word() {
        in_time!(1 + 1 == 2, "never {}", "said");
        let failed = std::panic::catch_unwind(|| in_time!(1 + 1 == 3, "{} samples", 7));
        let message = failed.expect_err("it doesn't hold");
        let message = message.downcast_ref::<String>().expect("a message");
        assert_eq!(message, "needs CPU in time: 7 samples");
    }
}
