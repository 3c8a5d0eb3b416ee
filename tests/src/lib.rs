//! Support for the integration tests: guards that clean up, receivers, workloads.

pub mod diskstats;
pub mod forked;
pub mod loopdev;
pub mod packages;
