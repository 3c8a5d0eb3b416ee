//! How long a thread waited for anything but a CPU. Who computes is given its time, who
//! is kept waiting isn't: neither at once nor, answer by answer, a little each time.

use std::fs;
use std::time::{Duration, Instant};

/// A thread of this process that works on something.
#[derive(Debug)]
pub(super) struct Patience {
    thread: i32,
    begin: Instant,
    /// Time on CPUs and in their queues at the beginning.
    used: Duration,
    limit: Duration,
}

impl Patience {
    /// With thread `thread`, for so long from now on.
    pub(super) fn new(thread: i32, limit: Duration) -> Self {
        Self {
            thread,
            begin: Instant::now(),
            used: used(thread),
            limit,
        }
    }

    /// Whether it waited longer than that.
    pub(super) fn is_over(&self) -> bool {
        let passed = self.begin.elapsed();
        if passed < self.limit {
            return false;
        }
        let used = used(self.thread).saturating_sub(self.used);
        // What it waits for a CPU now isn't counted yet.
        passed.saturating_sub(used) >= self.limit && !wants_cpu(self.thread)
    }
}

/// Time that a thread was on a CPU, or waited for one (`/proc/PID/schedstat`); none where
/// the kernel doesn't count it.
fn used(thread: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"));
    let text = text.unwrap_or_default();
    let times = text.split_ascii_whitespace().take(2);
    Duration::from_nanos(times.filter_map(|time| time.parse::<u64>().ok()).sum())
}

/// Whether a thread runs or could (proc(5): field 3 of `stat`).
fn wants_cpu(thread: i32) -> bool {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    let text = text.unwrap_or_default();
    text.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('R'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Checks that a thread that computes is waited for, and one that sleeps isn't.
    #[test]
    fn sleep_is_no_work() {
        let limit = Duration::from_millis(100);
        let own = nix::unistd::gettid().as_raw();
        let patience = Patience::new(own, limit);
        let begin = Instant::now();
        while begin.elapsed() < 3 * limit {
            std::hint::spin_loop();
        }
        assert!(!patience.is_over());
        std::thread::sleep(2 * limit);
        // It is asked by another thread, as this one would be running; and it may be for
        // a moment more.
        let other = std::thread::spawn(move || {
            let begin = Instant::now();
            while !patience.is_over() {
                assert!(begin.elapsed() < LONG, "who sleeps is waited for");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        other.join().expect("no panic");
    }
}
