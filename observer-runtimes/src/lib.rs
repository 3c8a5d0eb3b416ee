//! What language runtimes keep in memory about the programs that they run: pure readers,
//! with no kernel and no process in sight.
//!
//! One folder for each runtime. All of them read through [`Memory`], so that they run on
//! recorded bytes as well as on a process. **Memory is hostile**: it is its owner's, it
//! changes while it is read, and what was freed is something else by now. So whatever is
//! followed has a limit, whatever is believed is checked, and a failure is an [`Unread`]
//! with one name.

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::string_slice))]

pub mod cpython;
pub mod memory;

pub use memory::{Memory, Unread};
