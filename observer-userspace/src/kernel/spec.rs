//! What a probe family needs from the kernel, said once: used to attach it, by
//! `observer check`, and to say what is lost when it can't be had.

/// How a program is hooked into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A BTF-typed raw tracepoint.
    Tracepoint(&'static str),
    /// The first of these that the kernel has, where it has been renamed.
    FirstTracepoint(&'static [&'static str]),
    /// A BPF iterator over this kind of object; run on demand.
    Iterator(&'static str),
    /// Loaded only; the probe attaches it itself (perf events).
    Manual,
    /// Likewise, to functions of user programs.
    UserFunction,
}

/// One program of the kernel half.
#[derive(Clone, Copy, Debug)]
pub struct ProgramSpec {
    /// The function's name in the kernel object.
    pub name: &'static str,
    /// Its hook.
    pub attach: Attach,
    /// Fields of [`observer_common::offsets::Offsets`] that it can't do without.
    pub needs: &'static [&'static str],
    /// What is lost without it, as half a sentence: "run-queue latency".
    pub lost_without: &'static str,
}

/// A probe family.
#[derive(Clone, Copy, Debug)]
pub struct ProbeSpec {
    /// The word under which it is found everywhere.
    pub family: &'static str,
    /// What it observes, as half a sentence.
    pub observes: &'static str,
    /// Its programs, in the order in which they are attached.
    pub programs: &'static [ProgramSpec],
}

/// What became of one program.
#[derive(Clone, Debug)]
pub struct ProbeState {
    /// The family's word.
    pub family: &'static str,
    /// The program.
    pub program: ProgramSpec,
    /// Why it isn't attached, if it isn't.
    pub failure: Option<String>,
}
