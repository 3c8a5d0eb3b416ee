//! What profiling costs, and whether the profile is worth it.

pub mod many;
pub mod record;
pub mod sample;
pub mod stacks;
pub mod steady;

use std::path::PathBuf;

use super::peers;

/// Where probee (profile-bee, a profiler that walks stacks in the kernel, too)
/// is: what `OBSERVER_PROBEE` says, else where `PATH` leads.
pub fn probee() -> Option<PathBuf> {
    match std::env::var_os("OBSERVER_PROBEE") {
        Some(path) => Some(path.into()),
        None => peers::find("probee"),
    }
}

/// What it calls itself.
pub fn probee_version() -> Option<String> {
    peers::version(probee()?, &["--version"])
}
