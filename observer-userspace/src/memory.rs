//! The daemon's own memory: who hands it out, and how it is given back.

use std::sync::Arc;

use observer_signals::metric::MetricBatch;

/// From so many points on a tick's figures are some megabytes.
const MANY_POINTS: usize = 10_000;

/// musl's own allocator has one lock for all threads and asks the kernel again and
/// again; with it the static build would cost more than the dynamic one.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives freed memory back to the system. What works in bursts (types of the
/// kernel, symbols, tables) frees tens of megabytes in small pieces, which glibc
/// would keep; mimalloc keeps those of a thread until it allocates again.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: frees unused heap pages, touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
    #[cfg(target_env = "musl")]
    // SAFETY: frees unused pages of this thread's heap and of threads that are over,
    // touches nothing that is in use.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Gives up a batch, and gives what was freed back to the system if that was much: where
/// names come and go by the hundreds, a batch is as large as all that is kept between two.
/// (What a sink keeps of it is freed when the next one comes, and given back then.)
pub fn give_back_batch(batch: Arc<MetricBatch>) {
    let metrics = batch.resources.iter().flat_map(|of| &of.metrics);
    let points: usize = metrics.map(|metric| metric.points.len()).sum();
    drop(batch);
    if points >= MANY_POINTS {
        give_back();
    }
}
