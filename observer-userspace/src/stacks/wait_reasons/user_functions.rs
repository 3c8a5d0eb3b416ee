//! Which functions of programs wait in a futex for what: for a lock that somebody holds,
//! or to be woken when there is something to do.
//!
//! The kernel sees the same call for both. Who waits for a lock is held up by whoever has
//! it; who waits on a condition variable, a semaphore or to be unparked is mostly a thread
//! of a pool without work. Where no function is known it is told as what it is, a futex, and
//! counts as idle: a pool of hundreds of idle threads must not look like a convoy.

use observer_signals::wait::Reason;

/// How many functions, from the wait on, are looked at: the library's own.
pub(in crate::stacks) const DEPTH: usize = 12;

/// Parts of names, in this order: the first that is found in one counts. Versions
/// (`@GLIBC_2.34`), hashes and type parameters stand around them.
const FUNCTIONS: &[(&str, Reason)] = &[
    // POSIX threads: glibc (nptl/), musl (src/thread/). Condition variables take their
    // mutex again within themselves, which is a lock.
    ("pthread_mutex_cond_lock", Reason::Lock),
    ("pthread_mutex_lock", Reason::Lock),
    ("pthread_mutex_timedlock", Reason::Lock),
    ("pthread_mutex_clocklock", Reason::Lock),
    ("pthread_rwlock_", Reason::Lock),
    ("pthread_spin_lock", Reason::Lock),
    ("lll_lock_wait", Reason::Lock),
    ("lll_mutex_lock", Reason::Lock),
    ("pthread_cond_", Reason::Parked),
    ("pthread_join", Reason::Parked),
    ("pthread_timedjoin", Reason::Parked),
    ("pthread_clockjoin", Reason::Parked),
    ("pthread_barrier_", Reason::Parked),
    ("sem_wait", Reason::Parked),
    ("sem_timedwait", Reason::Parked),
    ("sem_clockwait", Reason::Parked),
    ("cnd_wait", Reason::Parked),
    ("mtx_lock", Reason::Lock),
    // Allocators that lock for themselves (glibc: malloc/arena.c).
    ("arena_get", Reason::Lock),
    // Rust's own (library/std/src/sys/sync/) and parking_lot.
    ("lock_contended", Reason::Lock),
    ("read_contended", Reason::Lock),
    ("write_contended", Reason::Lock),
    ("lock_slow", Reason::Lock),
    ("lock_exclusive_slow", Reason::Lock),
    ("lock_shared_slow", Reason::Lock),
    ("lock_upgradable_slow", Reason::Lock),
    ("poison::mutex::Mutex", Reason::Lock),
    ("poison::rwlock::RwLock", Reason::Lock),
    ("Condvar", Reason::Parked),
    ("condvar", Reason::Parked),
    ("thread::park", Reason::Parked),
    ("Thread>::park", Reason::Parked),
    ("thread_parking", Reason::Parked),
    ("mpmc::context::Context", Reason::Parked),
    ("Parker::park", Reason::Parked),
    // Go (runtime/lock_futex.go, lock_spinbit.go, proc.go).
    ("runtime.lock2", Reason::Lock),
    ("runtime.lockVerifyMSize", Reason::Lock),
    ("runtime.notesleep", Reason::Parked),
    ("runtime.notetsleep", Reason::Parked),
    ("runtime.stopm", Reason::Parked),
    // C++ (libstdc++, abseil).
    ("std::mutex::lock", Reason::Lock),
    ("absl::Mutex::Lock", Reason::Lock),
    ("condition_variable", Reason::Parked),
    ("absl::CondVar", Reason::Parked),
    // HotSpot (runtime/objectMonitor.cpp, prims/unsafe.cpp).
    ("ObjectMonitor::wait", Reason::Parked),
    ("Unsafe_Park", Reason::Parked),
];

/// Names that decide although something that is known stands nearer to the wait: they are
/// made of it.
const BUILT_ON: &[(&str, Reason)] = &[
    // HotSpot's monitors; CPython's global lock (Python/ceval_gil.c).
    ("ObjectMonitor::enter", Reason::Lock),
    ("take_gil", Reason::Lock),
    ("PyEval_RestoreThread", Reason::Lock),
    ("PyEval_AcquireThread", Reason::Lock),
];

/// What functions that wait in a futex do, by their names, the nearest to the wait first.
pub(super) fn in_futex<'a>(functions: impl Iterator<Item = &'a str> + Clone) -> Reason {
    let of = |table: &[(&str, Reason)], name: &str| {
        let known = table.iter().find(|(part, _)| name.contains(part));
        known.map(|(_, reason)| *reason)
    };
    let near = functions.take(DEPTH);
    near.clone()
        .find_map(|name| of(BUILT_ON, name))
        .or_else(|| near.clone().find_map(|name| of(FUNCTIONS, name)))
        .unwrap_or(Reason::Futex)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks stacks as debuggers show them: of C, Rust, Go, Java and Python, with a lock
    /// that is held and with nothing to do.
    #[test]
    fn stacks_of_programs() {
        for (stack, expected) in [
            (
                "__lll_lock_wait|pthread_mutex_lock@@GLIBC_2.2.5|convoy|start_thread",
                Reason::Lock,
            ),
            (
                "__futex_abstimed_wait_common64|pthread_cond_wait@@GLIBC_2.3.2|worker",
                Reason::Parked,
            ),
            // Without the names of what glibc doesn't export.
            ("|pthread_cond_timedwait@GLIBC_2.3.2|pool", Reason::Parked),
            ("|pthread_mutex_lock|main", Reason::Lock),
            (
                "__lll_lock_wait|__pthread_mutex_cond_lock|pthread_cond_wait|worker",
                Reason::Lock,
            ),
            (
                "|sem_clockwait@GLIBC_2.34|PyThread_acquire_lock_timed",
                Reason::Parked,
            ),
            (
                "syscall|std::sys::pal::unix::futex::futex_wait|\
                 std::sys::sync::mutex::futex::Mutex::lock_contended|app::work",
                Reason::Lock,
            ),
            (
                "syscall|std::sys::pal::unix::futex::futex_wait|\
                 std::sys::sync::condvar::futex::Condvar::wait_optional_timeout|app::work",
                Reason::Parked,
            ),
            // As the compiler's newer way to mangle names has methods: `<T>::f`.
            (
                "syscall|std::sys::pal::unix::futex::futex_wait|\
                 <std::sys::sync::thread_parking::futex::Parker>::park|\
                 <std::thread::thread::Thread>::park|start_thread",
                Reason::Parked,
            ),
            (
                "syscall|lock|std::sync::poison::mutex::Mutex<T>::lock|start_thread",
                Reason::Lock,
            ),
            (
                "syscall|std::sync::mpmc::context::Context::wait_until|start_thread",
                Reason::Parked,
            ),
            (
                "runtime.futex.abi0|runtime.futexsleep|runtime.notesleep|runtime.mPark|\
                 runtime.stopm|runtime.findRunnable",
                Reason::Parked,
            ),
            (
                "runtime.futex.abi0|runtime.futexsleep|runtime.lock2|runtime.lockWithRank",
                Reason::Lock,
            ),
            (
                "|pthread_cond_wait@@GLIBC_2.3.2|PlatformEvent::park()|\
                 ObjectMonitor::enter(JavaThread*)|SharedRuntime::monitor_enter_helper",
                Reason::Lock,
            ),
            (
                "|pthread_cond_timedwait|take_gil|PyEval_RestoreThread|sock_recv",
                Reason::Lock,
            ),
            ("nobody|knows|these", Reason::Futex),
            ("", Reason::Futex),
        ] {
            assert_eq!(in_futex(stack.split('|')), expected, "{stack}");
        }
    }

    /// Checks that a lock of the program's far behind the wait says nothing about it.
    #[test]
    fn only_the_nearest_count() {
        let far = std::iter::repeat_n("f", DEPTH).chain(["pthread_mutex_lock"]);
        assert_eq!(in_futex(far), Reason::Futex);
    }

    /// Checks that no rule is hidden behind one before it.
    #[test]
    fn every_rule_can_apply() {
        for (n, (part, _)) in FUNCTIONS.iter().enumerate() {
            let hidden = FUNCTIONS[..n].iter().find(|(p, _)| part.contains(p));
            assert_eq!(hidden, None, "{part}");
        }
    }
}
