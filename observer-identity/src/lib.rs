//! Who a process is, from what is known of it: pure, with no kernel and no process in
//! sight.
//!
//! What a process says about itself (its command line, its environment, what its SDK
//! published in its memory) becomes a [`Program`]; with what its cgroup says that becomes
//! a [`ProgramIdentity`]: a service's name that is the same at each start, where it comes
//! from, and the attributes of its resource. All of it is written by others: lengths are
//! limited, and nothing panics.
//!
//! The name is the first that is there: of the environment's OpenTelemetry variables, the
//! process context, what an interpreter runs, the systemd unit, the container, the
//! executable.

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::string_slice))]

mod arguments;
mod candidate;
pub mod cgroup;
pub mod container;
pub mod context;
pub mod environment;
mod hints;
mod identity;
mod languages;
mod machine;
pub mod membership;
mod program;
mod redact;
mod runtime;
mod script;
#[cfg(test)]
mod shapes_tests;
mod stable;
pub mod text;
pub mod unit;

pub use candidate::Source;
pub use identity::{Place, ProgramIdentity, worker_pool};
pub use program::{Facts, Program};
