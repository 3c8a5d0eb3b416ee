//! How many files the daemon may have open: each program, map, clock and attached
//! function is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How many may be open at once.
pub fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// Raises the limit to as many as this process may have without asking anybody:
/// the soft limit is low for the sake of programs that use `select(2)`.
///
/// # Errors
/// The kernel refuses.
pub fn raise() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// What to say when none is left, and what mends it.
pub fn exhausted() -> String {
    format!(
        "the limit of open files is {} (raise it: ulimit -n, LimitNOFILE= of a unit)",
        limit()
    )
}
