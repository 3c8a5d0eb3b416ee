#![no_std]
//! What both halves of Observer must agree on, one file per concept.
//!
//! Everything here is plain data with a fixed layout, or pure integer
//! arithmetic: it compiles for the kernel's BPF machine and for the host, and
//! is tested on the host.

#![warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

pub mod block;
pub mod config;
pub mod cpu;
pub mod cpython;
pub mod family;
pub mod histogram;
pub mod loss;
pub mod names;
pub mod net;
pub mod offcpu;
pub mod offsets;
pub mod plain;
pub mod preemption;
pub mod requests;
pub mod ring;
pub mod slot;
pub mod syscalls;
pub mod tally;
pub mod tcp;
pub mod tunables;
pub mod unwind;
pub mod workload;
