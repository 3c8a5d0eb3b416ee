//! Support for the integration tests: guards that clean up, receivers, workloads.

pub mod kernel;
pub mod otlp_samples;
pub mod python;
pub mod receiver;
pub mod workload;
