//! Figures about unwinding, for the daemon's own metrics.

use std::sync::atomic::AtomicU64;

/// Figures about tables and processes, for the daemon's own metrics.
#[derive(Debug, Default)]
pub struct UnwindStats {
    /// Tables in the kernel.
    pub tables: AtomicU64,
    /// Bytes of them.
    pub bytes: AtomicU64,
    /// Tables built since the start.
    pub built: AtomicU64,
    /// Files that were found to have a table already, another's.
    pub shared: AtomicU64,
    /// Tables that couldn't be built.
    pub failed: AtomicU64,
    /// Tables evicted.
    pub evicted: AtomicU64,
    /// Processes whose mappings the kernel half knows.
    pub processes: AtomicU64,
    /// Processes for whose mappings there was no room.
    pub no_room: AtomicU64,
}
