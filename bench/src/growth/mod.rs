//! How Observer's cost grows: a line for each thing of which a machine can have
//! many, with its slope, and what the slopes say of a large host.

pub mod connections;
pub mod events;
pub mod fit;
pub mod host;
pub mod line;
pub mod processes;
pub mod program;
pub mod rate;
pub mod stacks;
pub mod watched;
pub mod workloads;

/// Cells of histograms by default on a machine with so many CPUs
/// (`observer_userspace::config`: 1,024 a CPU, 8,192 at least, 65,536 at most).
pub fn default_cells_of(cpus: u32) -> u32 {
    cpus.saturating_mul(1024).clamp(8192, 65_536)
}
