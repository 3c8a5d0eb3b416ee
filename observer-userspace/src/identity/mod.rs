//! From the integer that the kernel stamps to the attributes that people know.
//!
//! The kernel half gives every (cgroup, thread-group leader's comm) a small
//! integer; and every (cgroup, program), where the daemon says that a process runs
//! something that its name doesn't tell. [`Resolver`] turns each, once, into a
//! [`Resource`]: it looks at a representative process while it lives, and at the
//! cgroup's name anyway.
//!
//! What the facts mean is `observer_identity`'s; here they are found.
//!
//! - [`mounts`]: the hierarchies
//! - [`hierarchy`]: ids, paths and members of cgroups
//! - [`process`]: what `/proc/PID` says
//! - [`finding`]: who a workload is, by its processes' word
//! - [`host`]: the machine, and the daemon itself
//! - [`names`]: what is asked of containers; [`calling`]: what becomes of the answer
//! - [`programs`]: numbers for programs of one name and cgroup
//! - [`resources`]: each in memory once
//! - [`workload`]: all of it put together
//!
//! [`Resource`]: observer_signals::Resource

mod calling;
mod finding;
pub mod hierarchy;
pub(crate) mod host;
pub(crate) mod mounts;
mod names;
pub mod process;
mod programs;
mod resources;
pub(crate) mod workload;

pub use hierarchy::{FoundCgroup, find_cgroup};
pub use host::Host;
pub use mounts::{subsys_enum_name, v1_controller};
pub use workload::Resolver;
