//! Observer's userspace half: loads the kernel half, joins what it sees, and
//! exports it as metrics, spans and profiles.
//!
//! `docs/architecture.md` has the map of the house; arrows between these
//! modules run one way: commands → agent → probes → (stacks) → identity,
//! kernel, and sinks ← agent. What needs no kernel is a crate beside it.

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::string_slice))]

pub mod agent;
pub mod blindness;
pub mod commands;
pub mod config;
mod foreign;
pub(crate) mod governor;
pub mod identity;
pub mod kernel;
pub(crate) mod logging;
mod memory;
pub mod probes;
pub(crate) mod sinks;
pub mod stacks;
mod supervisor;
