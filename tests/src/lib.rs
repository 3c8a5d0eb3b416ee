//! Support for the integration tests: guards that clean up, receivers, workloads.

pub mod kernel;
pub mod netns;
pub mod peer;
pub mod tcp;
pub mod workload;
