//! Requests between real programs, seen by a real daemon: [`Scene`] has the
//! programs, [`Daemon`] observes them, [`Seen`] is what a collector got.

mod daemon;
mod scene;
mod seen;
mod servers;

pub use crate::port::free as free_port;
pub use daemon::Daemon;
pub use scene::{Scene, said};
pub use seen::{Attributed, Attributes, Point, Sample, Seen, Series, Span, Value, kind};
pub use servers::{Logged, Postgres, read_log};
