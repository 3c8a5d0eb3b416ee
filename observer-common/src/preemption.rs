//! Where a program keeps the CPU to itself: calls that the daemon settles at load.
//!
//! The kernel half calls functions that no kernel has, by the numbers below. Before
//! the load the daemon puts the kernel's own in their place, where programs can be
//! preempted and that matters, and else instructions that do nothing, which the
//! kernel removes.
//!
//! `bpf_preempt_enable` alone would be a bad end: whoever is to lose the CPU loses it
//! right there, still in the program. With interrupts off it only allows that, and
//! the thread goes at the next occasion, which usually is behind the program.

/// The calls at both ends of what isn't to be preempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bracket {
    /// Its beginning: `bpf_preempt_disable`.
    pub begin: i32,
    /// Its end, of [`END`] instructions: this call, which becomes nothing in any
    /// case, and [`SAVE`], [`ENABLE`] and [`RESTORE`] with what they need.
    pub end: i32,
}

/// Around programs on tracepoints. Up to Linux 7.1 these run with preemption off
/// anyway. Since 7.2 they don't: a thread that is preempted in one keeps it from
/// running on that CPU until it goes on, and another program may run in between.
pub const TRACEPOINTS: Bracket = Bracket {
    begin: 0x6f62_7301,
    end: 0x6f62_7302,
};

/// Around programs on functions of user programs, which can always be preempted.
/// Since Linux 6.13 their stack may belong to the CPU and not to the thread, and
/// two of them would share it.
pub const USER_FUNCTIONS: Bracket = Bracket {
    begin: 0x6f62_7303,
    end: 0x6f62_7304,
};

/// Instructions of a bracket's end.
pub const END: usize = 8;
/// `bpf_local_irq_save`.
pub const SAVE: i32 = 0x6f62_7305;
/// `bpf_preempt_enable`.
pub const ENABLE: i32 = 0x6f62_7306;
/// `bpf_local_irq_restore`.
pub const RESTORE: i32 = 0x6f62_7307;

/// All brackets.
pub const ALL: [Bracket; 2] = [TRACEPOINTS, USER_FUNCTIONS];
