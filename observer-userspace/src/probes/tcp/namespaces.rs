//! Doing something once in each network namespace.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

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
    let mut namespaces = Vec::new();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return namespaces;
    };
    for process in processes.flatten() {
        // What isn't a process has no such file; a process may be gone by now.
        let path = process.path().join("ns/net");
        if let Ok(metadata) = path.metadata()
            && seen.insert(metadata.ino())
            && let Ok(file) = File::open(path)
        {
            namespaces.push(file);
        }
    }
    namespaces
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
