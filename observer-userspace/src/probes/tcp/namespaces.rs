//! Doing something once in each network namespace.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::foreign::process;

/// Does `work` in every network namespace in which a process lives. What fails
/// is logged, in one line for all.
pub(super) fn in_each(work: impl Fn() -> Result<()> + Sync) {
    let mut seen = HashSet::new();
    let mut failures = Vec::new();
    // Our own needs no privilege to enter.
    if let Ok(own) = std::fs::metadata("/proc/self/ns/net") {
        seen.insert(own.ino());
    }
    failures.extend(work().err());
    for namespace in namespaces(&mut seen) {
        failures.extend(in_namespace(namespace, &work).err());
    }
    if let Some(first) = failures.first() {
        tracing::warn!(
            "older TCP connections of {} network namespaces are not counted: {first:#}",
            failures.len()
        );
    }
}

/// Every network namespace in which a process lives, but those already seen.
fn namespaces(seen: &mut HashSet<u64>) -> Vec<File> {
    let new = |pid| {
        let number = process::network_namespace_number(pid)?;
        seen.insert(number)
            .then(|| process::network_namespace(pid))?
    };
    process::all().filter_map(new).collect()
}

/// On a thread of its own: one that has gone there is of no other use.
fn in_namespace(namespace: File, work: &(impl Fn() -> Result<()> + Sync)) -> Result<()> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter a namespace")?;
            work()
        });
        worker.join().map_err(|_| anyhow!("the thread failed"))?
    })
}
