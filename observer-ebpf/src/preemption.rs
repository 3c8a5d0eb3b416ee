//! Keeping the CPU while a program runs.
//!
//! What belongs to a CPU (its slot, its cells, its scratches, whom it last saw
//! dirty a file) is written by one program at a time: all on tracepoints keep the
//! CPU for as long as they run, whether the kernel sees to that (up to 7.1) or they
//! do (since 7.2), and interrupts come in between only as far as they always could.

use observer_common::preemption::{Bracket, ENABLE, RESTORE, SAVE, TRACEPOINTS, USER_FUNCTIONS};

/// Runs the body of a program within a [`Bracket`]. Nothing of the program's frame is
/// used behind the body, so the end keeps the interrupts' state there.
macro_rules! bracketed {
    ($bracket:expr, $body:expr) => {{
        const BRACKET: Bracket = $bracket;
        // SAFETY: a function without arguments that leaves what any may: the
        // registers that calls don't keep. Not `nomem`, so that the body stays
        // behind it.
        unsafe {
            core::arch::asm!(
                "call {begin}",
                begin = const BRACKET.begin,
                out("r0") _, out("r1") _, out("r2") _,
                out("r3") _, out("r4") _, out("r5") _,
            );
        }
        $body();
        // SAFETY: likewise; and the eight bytes of the frame are nobody's any more.
        unsafe {
            core::arch::asm!(
                "call {end}",
                "r1 = r10",
                "r1 += -8",
                "call {save}",
                "call {enable}",
                "r1 = r10",
                "r1 += -8",
                "call {restore}",
                end = const BRACKET.end,
                save = const SAVE,
                enable = const ENABLE,
                restore = const RESTORE,
                out("r0") _, out("r1") _, out("r2") _,
                out("r3") _, out("r4") _, out("r5") _,
            );
        }
        0
    }};
}

/// Runs the `body` of a program on a tracepoint without losing the CPU. Its result is
/// the program's, which the kernel doesn't look at.
#[inline(always)]
pub fn undisturbed(body: impl FnOnce() -> i32) -> i32 {
    bracketed!(TRACEPOINTS, body)
}

/// The same for a program on a function of a user program, where kernels need it.
#[inline(always)]
pub fn undisturbed_in_user_function(body: impl FnOnce() -> u32) -> u32 {
    bracketed!(USER_FUNCTIONS, body)
}
