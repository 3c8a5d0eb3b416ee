//! Support for the integration tests: guards that clean up, receivers, workloads.

pub mod bench;
pub mod binary;
pub mod busy;
pub mod cgroup;
pub mod chain;
pub mod costs;
pub mod kernel;
pub mod netns;
pub mod otlp_samples;
pub mod peer;
pub mod python;
pub mod receiver;
pub mod requests;
pub mod root;
pub mod stolen;
pub mod tcp;
pub mod unwind_check;
pub mod workload;

pub use binary::observer_bin;
pub mod diskstats;
pub mod forked;
pub mod loopdev;
pub mod packages;
