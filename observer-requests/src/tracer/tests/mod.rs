//! Simulated hosts: records as the kernel half makes them, and what must come
//! of them.

mod bounds;
mod host;
mod loops;
mod order;
mod protocols;
mod speed;
mod tasks;
mod time;
mod tracing;
mod trees;

pub use host::{Host, Link as Ends};
