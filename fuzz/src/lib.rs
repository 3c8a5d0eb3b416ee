//! What the fuzz targets test, compiled by itself.

#[path = "../../testkit/src/unwind_check.rs"]
pub mod check;
#[path = "../../observer-userspace/src/requests/conversation.rs"]
pub mod conversation;
#[path = "../../observer-userspace/src/stacks/elf.rs"]
pub mod elf;
#[path = "../../observer-userspace/src/requests/hostile.rs"]
pub mod hostile;
#[path = "../../observer-userspace/src/stacks/jitdump.rs"]
pub mod jitdump;
#[path = "../../observer-userspace/src/stacks/perf_map.rs"]
pub mod perf_map;
#[path = "../../observer-userspace/src/requests/sql/quoting.rs"]
pub mod quoting;
#[path = "../../observer-userspace/src/requests/mod.rs"]
pub mod requests;
#[path = "../../observer-userspace/src/signals/mod.rs"]
pub mod signals;
#[path = "../../observer-userspace/src/unwind/mod.rs"]
pub mod unwind;

// What requests become needs the clock, and that metrics are told of.
#[path = "../../observer-userspace/src/probes/builder.rs"]
mod builder;
#[path = "../../observer-userspace/src/kernel/clock.rs"]
mod clock;

mod kernel {
    pub(crate) use crate::clock;
}

mod probes {
    pub(crate) use crate::builder::MetricBuilder;
}

// The checkers are the parsers' neighbours at home.
pub use requests::{Call, call, protocol};
