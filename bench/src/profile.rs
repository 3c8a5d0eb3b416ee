//! What profiling costs, and whether the profile is worth it.

pub mod many;
pub mod record;
pub mod sample;
pub mod stacks;
pub mod steady;
pub mod tools;

pub use super::peers::probee;
