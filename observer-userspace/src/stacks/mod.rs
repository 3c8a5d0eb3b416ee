//! From addresses to named stacks: mappings, symbols, the interner.
//!
//! Everything here runs on one thread of its own ([`worker`]), because
//! blazesym's types can't leave theirs and because naming a stack may take
//! milliseconds that the daemon's loop doesn't have.

pub mod debug_files;
pub mod extents;
mod file_names;
pub mod files;
pub mod images;
mod jit;
mod kernel_code;
pub mod mappings;
pub mod places;
pub mod reasons;
pub mod sideband;
pub mod symbols;
pub mod tables;
pub mod unwinder;
pub mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use observer_common::unwind::Outcome;

use crate::signals::UnixNanos;
use crate::signals::attribute::SharedResource;
use crate::signals::profile::ProfileKind;

pub use symbols::{FrameShare, SymbolOptions};
pub use tables::UnwindStats;
pub use worker::{Stacks, Symbolized, UnwindOptions};

/// Bytes that all unwinding tables may take by default.
pub const DEFAULT_TABLE_BYTES: u64 = 128 << 20;

/// A stack as the kernel walked it, leaf first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RawStack {
    /// Addresses in the kernel; empty when the sample hit user code.
    pub kernel: Box<[u64]>,
    /// Addresses in the process; empty for kernel threads.
    pub user: Box<[u64]>,
}

/// A request that a thread served, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Served {
    /// Its trace.
    pub trace_id: [u8; 16],
    /// Its span.
    pub span_id: [u8; 8],
    /// Its route, e.g. `/users/{id}`.
    pub route: Option<Arc<str>>,
    /// How long it took in nanoseconds; `None` while it is open.
    pub duration: Option<u64>,
    /// Whether its span is kept, as far as that is known.
    pub sampled: bool,
}

/// One counted stack of one thread.
#[derive(Clone, Debug)]
pub struct RawSample {
    /// Where.
    pub stack: Arc<RawStack>,
    /// Process id in the host's PID namespace.
    pub pid: u32,
    /// Thread id in the host's PID namespace.
    pub tid: u32,
    /// The thread's name.
    pub thread: String,
    /// The process's name.
    pub process: String,
    /// Whom it belongs to.
    pub resource: SharedResource,
    /// What unwinding came to.
    pub outcome: Outcome,
    /// Why it was off CPU, if it was.
    pub wait: Option<Wait>,
    /// Samples, or nanoseconds off CPU.
    pub value: u64,
    /// The kernel half's number of the request that the thread served; 0 = none
    /// that is known.
    pub request: u64,
    /// That request.
    pub served: Option<Arc<Served>>,
}

/// How a thread was off CPU, as the kernel half tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// It waited for something.
    Blocked {
        /// See `observer_common::cpu::SampleKey::state`.
        state: u8,
        /// See `observer_common::cpu::SampleKey::syscall`.
        syscall: u32,
    },
    /// It could have run, but had no CPU.
    RunQueue,
}

/// All that was sampled in an interval, before it has names.
#[derive(Clone, Debug, Default)]
pub struct RawProfile {
    /// What was counted.
    pub kind: ProfileKind,
    /// Begin of the interval.
    pub start: UnixNanos,
    /// Its length in nanoseconds.
    pub duration: u64,
    /// Nanoseconds of CPU time that one sample stands for.
    pub period: u64,
    /// The samples.
    pub samples: Vec<RawSample>,
}

impl RawProfile {
    /// Both kinds of time in one profile of nanoseconds.
    pub fn wall(on_cpu: Self, off_cpu: Self) -> Self {
        let period = on_cpu.period;
        let mut samples = on_cpu.samples;
        for sample in &mut samples {
            sample.value = sample.value.saturating_mul(period);
        }
        samples.extend(off_cpu.samples);
        Self {
            kind: ProfileKind::Wall,
            period: 1,
            samples,
            ..on_cpu
        }
    }

    /// What unwinding came to: the values of all samples by outcome, without
    /// those that are zero.
    pub fn outcomes(&self) -> Vec<(Outcome, u64)> {
        let mut sums = std::collections::BTreeMap::new();
        for sample in self.samples.iter().filter(|s| s.value > 0) {
            *sums.entry(sample.outcome).or_default() += sample.value;
        }
        sums.into_iter().collect()
    }
}
