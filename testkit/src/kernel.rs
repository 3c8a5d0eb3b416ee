//! The kernel half, attached for one test, and what it counted for one
//! workload.

use anyhow::{Context, Result, ensure};
use observer_common::loss::Loss;
use observer_common::syscalls::split_error_label;
use observer_common::tally::Kind;
use observer_common::workload::WorkloadId;
use observer_common::workload::WorkloadKey;
use observer_signals::Value;
use observer_userspace::identity::{subsys_enum_name, v1_controller};
use observer_userspace::kernel::cells::{Cells, CounterTally, HistogramTally, Series, Tallies};
use observer_userspace::kernel::{Kernel, LoadOptions, ProbeSpec, syscall_names};
use observer_userspace::probes::plan::{Plan, Purpose};

/// A loaded kernel half; detached when dropped.
pub struct Fixture {
    /// The kernel half.
    pub kernel: Kernel,
    /// Its tallies.
    pub cells: Cells,
}

impl Fixture {
    /// Loads with defaults and attaches `specs` with all that they require.
    pub fn attach(specs: &[&'static ProbeSpec]) -> Result<Self> {
        let options = LoadOptions {
            v1_subsystem: v1_controller().map(subsys_enum_name),
            ..LoadOptions::default()
        };
        Self::with_options(&options, specs)
    }

    /// Loads with `options` and attaches `specs` with all that they require.
    pub fn with_options(options: &LoadOptions, specs: &[&'static ProbeSpec]) -> Result<Self> {
        let mut kernel = Kernel::load(options).context("tests of probes need root")?;
        Plan::of_probes(specs, Purpose::Daemon).attach(&mut kernel);
        for state in kernel.states() {
            ensure!(
                state.failure.is_none(),
                "{} is not attached: {:?}",
                state.program.name,
                state.failure
            );
        }
        let cells = Cells::map(&mut kernel, options.histogram_cells, options.counter_cells)?;
        Ok(Self { kernel, cells })
    }

    /// What was counted for the workloads of processes called `comm`.
    pub fn tallies(&mut self, comm: &str) -> Result<Counted> {
        let losses = self.kernel.losses()?;
        for (cause, count) in losses {
            // The switch of another process's thread is not a loss of the
            // test's.
            let expected = matches!(cause, Loss::SwitchUnseen);
            ensure!(expected || count == 0, "{count} × {}", cause.name());
        }
        let ids = self
            .kernel
            .workloads()?
            .into_iter()
            .filter(|one| self::comm(&one.key) == comm)
            .map(|one| one.id)
            .collect::<Vec<_>>();
        ensure!(!ids.is_empty(), "no workload is called {comm}");
        Ok(Counted {
            ids,
            tallies: self.cells.read(),
        })
    }
}

/// The name of a workload's processes.
pub fn comm(key: &WorkloadKey) -> &str {
    let end = key
        .comm
        .iter()
        .position(|b| *b == 0)
        .unwrap_or(key.comm.len());
    std::str::from_utf8(&key.comm[..end]).unwrap_or_default()
}

/// Tallies of chosen workloads.
pub struct Counted {
    ids: Vec<WorkloadId>,
    tallies: Tallies,
}

impl Counted {
    /// Number of workloads under the name.
    pub fn workloads(&self) -> usize {
        self.ids.len()
    }

    /// Histograms of a kind with their series.
    pub fn histograms(&self, kind: Kind) -> impl Iterator<Item = (&Series, &HistogramTally)> {
        self.tallies
            .histograms
            .iter()
            .filter(move |(s, _)| s.kind == kind as u8 && self.ids.contains(&s.workload))
    }

    /// Counters of a kind with their series.
    pub fn counters(&self, kind: Kind) -> impl Iterator<Item = (&Series, &CounterTally)> {
        self.tallies
            .counters
            .iter()
            .filter(move |(s, _)| s.kind == kind as u8 && self.ids.contains(&s.workload))
    }

    /// Sum of a kind's counters.
    pub fn counter(&self, kind: Kind) -> u64 {
        self.counters(kind).map(|(_, tally)| tally.value).sum()
    }

    /// The histogram of a syscall.
    pub fn histogram(&self, kind: Kind, syscall: &str) -> Option<&HistogramTally> {
        self.histograms(kind)
            .find(|(s, _)| syscall_names::name(s.label as u32) == syscall)
            .map(|(_, t)| t)
    }

    /// Number of values in it.
    pub fn histogram_count(&self, kind: Kind, syscall: &str) -> u64 {
        self.histogram(kind, syscall)
            .map_or(0, HistogramTally::count)
    }

    /// Calls of a syscall that weren't timed.
    pub fn untimed(&self, syscall: &str) -> u64 {
        self.counters(Kind::SyscallUntimed)
            .filter(|(s, _)| syscall_names::name(s.label as u32) == syscall)
            .map(|(_, t)| t.value)
            .sum()
    }

    /// Failures of a syscall with an errno.
    pub fn errors(&self, syscall: &str, errno: &'static str) -> u64 {
        self.counters(Kind::SyscallErrors)
            .filter(|(s, _)| {
                let (label, number) = split_error_label(s.label);
                syscall_names::name(label) == syscall
                    && syscall_names::errno_name(number) == Value::from(errno)
            })
            .map(|(_, tally)| tally.value)
            .sum()
    }
}
