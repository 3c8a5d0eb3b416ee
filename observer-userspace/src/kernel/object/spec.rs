//! What a probe family needs from the kernel, said once: used to attach it, by
//! `observer check`, and to say what is lost when it can't be had.

use anyhow::Result;
use observer_common::family::{Family, Part};

use super::Kernel;
use super::attach_error::AttachError;

/// How a program is hooked into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A BTF-typed raw tracepoint.
    Tracepoint(&'static str),
    /// One at which another program stands already, for what that isn't shown: where
    /// programs on tracepoints can be preempted ([`super::super::preemption`]).
    SecondLook(&'static str),
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
    /// The part that it belongs to.
    pub family: Part,
    /// What it observes, as half a sentence.
    pub observes: &'static str,
    /// Its programs, in the order in which they are attached.
    pub programs: &'static [ProgramSpec],
    /// The probes that are attached before it, in this order.
    pub requires: &'static [&'static ProbeSpec],
    /// The family whose probe does the same and more: where that is attached,
    /// this one isn't.
    pub covered_by: Option<Family>,
    /// Run once when it is attached, before any other is.
    pub prepare: Option<fn(&mut Kernel) -> Result<()>>,
    /// The programs by which it sees what it observes: one of them is enough to
    /// see something. They may be another probe's. None means any of its own.
    pub seen_by: &'static [&'static str],
}

impl ProgramSpec {
    /// Whether it is attached where programs on tracepoints can be preempted or, if
    /// not `preemptible`, can't.
    pub fn is_wanted(&self, preemptible: bool) -> bool {
        preemptible || !matches!(self.attach, Attach::SecondLook(_))
    }
}

impl ProbeSpec {
    /// Whether this program is one of those by which it sees.
    pub fn is_seen_by(&self, program: &str) -> bool {
        if self.seen_by.is_empty() {
            self.programs.iter().any(|own| own.name == program)
        } else {
            self.seen_by.contains(&program)
        }
    }
}

/// What became of one program.
#[derive(Clone, Debug)]
pub struct ProbeState {
    /// The part that it belongs to.
    pub family: Part,
    /// Program of the kernel half, with what it needs.
    pub program: ProgramSpec,
    /// Why it isn't attached, if it isn't.
    pub failure: Option<AttachError>,
}
