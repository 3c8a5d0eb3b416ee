//! From the integer that the kernel stamps to the attributes that people know.
//!
//! The kernel half gives every (cgroup, thread-group leader's comm) a small
//! integer. [`Resolver`] turns each, once, into a [`Resource`]: it looks at a
//! representative process while it lives, and at the cgroup's name anyway.
//!
//! - [`cgroup`]: what the name of a cgroup says
//! - [`mounts`]: the hierarchies, and a process's place in them
//! - [`hierarchy`]: ids, paths and members of cgroups
//! - [`process`]: what `/proc/PID` says
//! - [`environment`]: the OpenTelemetry variables that describe a resource
//! - [`host`]: the machine, and the daemon itself
//! - [`workload`]: all of it put together
//!
//! [`Resource`]: observer_signals::Resource

pub(crate) mod cgroup;
pub(crate) mod environment;
pub mod hierarchy;
pub(crate) mod host;
pub(crate) mod mounts;
pub mod process;
pub(crate) mod workload;

pub use hierarchy::{FoundCgroup, find_cgroup};
pub use host::Host;
pub use mounts::{subsys_enum_name, v1_controller};
pub use workload::Resolver;
