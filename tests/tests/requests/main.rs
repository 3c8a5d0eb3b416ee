//! Requests of real programs that know nothing of it, as a collector gets them
//! from a real daemon: a file per promise. All need root.

mod chunked;
mod commands;
mod db;
mod dns;
mod exact;
mod floods;
mod heads;
mod hostile;
mod http;
mod http2;
mod link;
mod loops;
mod memcached;
mod odd;
mod proxied;
mod share;
mod stopped;
mod time;
mod tls;
mod tree;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use observer_testkit::requests::Seen;

/// One at a time: they load the machine.
static ALONE: Mutex<()> = Mutex::new(());

/// Taken by each test that may run; `None` without root.
fn turn() -> Option<MutexGuard<'static, ()>> {
    let may = observer_testkit::root::is_root();
    may.then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Fails if anything of requests or of their export was lost.
fn nothing_lost(seen: &Seen) -> Result<()> {
    let mut losses = seen.losses();
    // Others' business, which requests don't depend on.
    losses.retain(|cause, _| {
        let others = ["syscall", "switch"];
        !others.iter().any(|other| cause.contains(other))
    });
    ensure!(losses.is_empty(), "lost: {losses:?}");
    Ok(())
}

/// How often each value occurs.
fn counts<T: Ord>(values: impl IntoIterator<Item = T>) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

/// The value below which this share of the values lies.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len().saturating_sub(1) as f64 * share).round();
    values.get(index as usize).copied().unwrap_or(f64::NAN)
}
