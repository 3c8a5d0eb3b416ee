//! From the integer that the kernel stamps to the attributes that people know.
//!
//! The kernel half gives every (cgroup, thread-group leader's comm) a small
//! integer. [`Resolver`] turns each, once, into a [`Resource`]: it looks at a
//! representative process while it lives, and at the cgroup's name anyway.
//!
//! What the facts mean is `observer_identity`'s; here they are found.
//!
//! - [`mounts`]: the hierarchies
//! - [`hierarchy`]: ids, paths and members of cgroups
//! - [`process`]: what `/proc/PID` says
//! - [`host`]: the machine, and the daemon itself
//! - [`workload`]: all of it put together
//!
//! [`Resource`]: observer_signals::Resource

pub mod hierarchy;
pub(crate) mod host;
pub(crate) mod mounts;
pub mod process;
pub(crate) mod workload;

pub use hierarchy::{FoundCgroup, find_cgroup};
pub use host::Host;
pub use mounts::{subsys_enum_name, v1_controller};
pub use workload::Resolver;
