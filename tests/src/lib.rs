//! Support for the integration tests: guards that clean up, receivers, workloads.

pub mod binary;
pub mod busy;

pub use binary::observer_bin;
