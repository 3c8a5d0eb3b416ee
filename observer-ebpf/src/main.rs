//! The kernel half of Observer. This file only lists the rest.
//!
//! Built by `cargo xtask ebpf`; the object that results is committed.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys and values of maps go to helpers by pointer: by value they would be copied to the stack"
)]

mod atomic;
mod block;
mod cpu;
mod dirty;
mod hooks;
mod identity;
mod kernel;
mod loss;
mod net;
mod offcpu;
mod preemption;
mod requests;
mod room;
mod sched;
mod scratch;
mod sequence;
mod shares;
mod slot;
mod socket;
mod stack;
mod syscalls;
mod tally;
mod tcp;
mod thread;
mod tunables;
mod unwind;
mod user;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses programs that could get here.
    loop {}
}

// The helpers that tracing programs may call include GPL-only ones.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
