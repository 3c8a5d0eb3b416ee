//! What tests and benchmarks are made of: guards that clean up, receivers,
//! workloads, scenes. The programs that they start are under `src/bin` and
//! `programs`.

pub mod binary;
pub mod btf;
pub mod busy;
pub mod cgroup;
pub mod chain;
pub mod collector;
pub mod cpus;
pub mod daemon;
pub mod datagrams;
pub mod diskstats;
pub mod empty_program;
pub mod forked;
pub mod hang;
pub mod in_time;
pub mod interrupt;
pub mod kernel;
pub mod loopdev;
pub mod memory;
pub mod netns;
pub mod otlp_samples;
pub mod packages;
pub mod peer;
pub mod port;
pub mod python;
pub mod receiver;
pub mod requests;
pub mod root;
pub mod runtimes;
pub mod semaphore;
pub mod stolen;
pub mod tcp;
pub mod terminal;
pub mod tool;
pub mod workload;

pub use binary::observer_bin;
