//! Support for the integration tests: guards that clean up, receivers, workloads.
