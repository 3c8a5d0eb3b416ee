//! Waiting until no program of the kernel half can hold what was taken from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// `MEMBARRIER_CMD_GLOBAL` of include/uapi/linux/membarrier.h.
const GLOBAL: libc::c_int = 1;

/// Waited for besides: a kernel with one CPU doesn't wait for what was preempted.
const LEAST: Duration = Duration::from_millis(100);

/// Waited for where the kernel has no such barrier (`nohz_full`).
const ELSE: Duration = Duration::from_secs(2);

/// Grace periods: programs run in RCU's read side (`bpf_trace_run`,
/// kernel/trace/bpf_trace.c), and `membarrier(2)` waits for all readers that were
/// there (`synchronize_rcu`, kernel/sched/membarrier.c). It takes tens of
/// milliseconds, so it is waited for on a thread of its own.
#[derive(Debug, Default)]
pub struct Grace {
    begun: u64,
    over: Arc<AtomicU64>,
}

impl Grace {
    /// Begins a period, if the last one is over.
    pub fn begin(&mut self) {
        if !self.is_over() {
            return;
        }
        self.begun += 1;
        let (over, period) = (Arc::clone(&self.over), self.begun);
        let wait = move || {
            thread::sleep(LEAST);
            // SAFETY: takes no memory of ours.
            let done = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
            if done != 0 {
                thread::sleep(ELSE);
            }
            over.store(period, Ordering::Release);
        };
        if let Err(error) = thread::Builder::new().name("grace".into()).spawn(wait) {
            tracing::debug!("no thread to wait for a grace period: {error}");
            // Tried again at the next.
            self.begun -= 1;
        }
    }

    /// Whether the last period that was begun is over.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) == self.begun
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Checks that a period ends, that only one runs at a time, and that another
    /// can follow.
    #[test]
    fn periods_end() {
        let mut grace = Grace::default();
        for period in 1..=2 {
            assert!(grace.is_over());
            let begin = Instant::now();
            grace.begin();
            let (first, is_over) = (grace.begun, grace.is_over());
            grace.begin();
            assert_eq!(first, period);
            // Whoever lost the CPU here for so long finds it over, and begins another.
            if begin.elapsed() >= LEAST {
                eprintln!("the CPU was away for {:?}: not compared", begin.elapsed());
                return;
            }
            assert!(!is_over, "it takes {LEAST:?} at least");
            assert_eq!(grace.begun, period, "one at a time");
            while !grace.is_over() {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
