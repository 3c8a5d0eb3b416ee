//! What was sampled, before it has names.

use std::collections::BTreeMap;
use std::sync::Arc;

use observer_common::cpython::CodeFrame;
use observer_common::unwind::Outcome;

use observer_signals::attribute::SharedResource;
use observer_signals::profile::ProfileKind;
use observer_signals::{RequestLink, UnixNanos};

/// A stack as the kernel walked it, leaf first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RawStack {
    /// Addresses in the kernel; empty when the sample hit user code.
    pub kernel: Box<[u64]>,
    /// Addresses in the process; empty for kernel threads.
    pub user: Box<[u64]>,
    /// Frames of its Python interpreter.
    pub python: Box<[CodeFrame]>,
}

impl RawStack {
    /// Addresses of the kernel half to look up, leaf first.
    pub(super) fn kernel_call_sites(&self) -> impl Iterator<Item = u64> {
        call_sites(&self.kernel)
    }

    /// Addresses of the user half to look up, leaf first.
    pub(super) fn user_call_sites(&self) -> impl Iterator<Item = u64> {
        call_sites(&self.user)
    }
}

/// Addresses to look up: the leaf where it is; its callers one byte before the
/// return address, which may already belong to the next function or line.
fn call_sites(addresses: &[u64]) -> impl Iterator<Item = u64> {
    let leaf = addresses.iter().take(1).copied();
    leaf.chain(addresses.iter().skip(1).map(|a| a.saturating_sub(1)))
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
    /// Trace, span and route of that request, as far as they are known.
    pub request_link: Option<Arc<RequestLink>>,
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
        /// See `observer_common::cpu::SampleKey::in_request`.
        in_request: bool,
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
    /// Stacks with what was counted for each.
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
        let mut sums = BTreeMap::new();
        for sample in self.samples.iter().filter(|s| s.value > 0) {
            *sums.entry(sample.outcome).or_default() += sample.value;
        }
        sums.into_iter().collect()
    }
}
