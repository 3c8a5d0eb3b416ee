//! Files whose debug information costs more memory or time than one file may.
//!
//! Who writes a file decides what reading it costs, and names are looked for again with
//! each profile. So a file that cost too much once isn't read again: its frames are named
//! by its symbols. It is named in the log, once, and counted.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Files remembered; then all are forgotten.
const MAX_KNOWN: usize = 4096;

/// Files that cost too much, since the start of the process.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A file as it is: what is written to it makes it another.
type Version = (u64, u64, i64, i64);

static KNOWN: LazyLock<Mutex<HashSet<Version>>> = LazyLock::new(Mutex::default);

fn version(file: &File) -> Option<Version> {
    let m = file.metadata().ok()?;
    Some((m.dev(), m.ino(), m.mtime(), m.mtime_nsec()))
}

/// Whether the file cost too much before.
pub(super) fn is_known(file: &File) -> bool {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    version(file).is_some_and(|version| known.contains(&version))
}

/// Remembers, logs and counts that the file `path` (or what belongs to it) costs too much:
/// it `has` what.
pub(super) fn remember(file: &File, path: &str, has: &str) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= MAX_KNOWN {
        known.clear();
    }
    if version(file).is_some_and(|version| known.insert(version)) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("{path} {has}: its inlined functions and lines are not known");
    }
}

/// How many files cost too much since the start of the process.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}
