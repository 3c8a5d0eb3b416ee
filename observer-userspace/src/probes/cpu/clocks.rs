//! The clocks that take samples: one per online CPU.

use observer_common::names::programs;
use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, bail};
use aya::programs::Program;

use crate::kernel::Kernel;
use crate::kernel::perf::{self, PerfEvent};

/// Perf events that run the program `cpu_sample` at each of their ticks, on the
/// CPUs that are online. Closed when dropped.
pub(super) struct Clocks {
    events: HashMap<u32, PerfEvent>,
    program: OwnedFd,
    /// Ticks per second of CPU time that isn't idle.
    frequency: u32,
    /// The frequency of the next interval, if it is another one.
    next_frequency: Option<u32>,
    running: bool,
}

impl Clocks {
    /// Opens them; `cpu_sample` must be loaded. They stand still until
    /// [`Self::start`].
    ///
    /// # Errors
    /// When the program is missing or a clock can't be opened.
    pub(super) fn open(kernel: &mut Kernel, frequency: u32) -> anyhow::Result<Self> {
        let program = match kernel.program_mut(programs::CPU_SAMPLE) {
            Some(Program::PerfEvent(program)) => program.fd()?.as_fd().try_clone_to_owned()?,
            _ => bail!("the kernel object has no program cpu_sample"),
        };
        let mut clocks = Self {
            events: HashMap::new(),
            program,
            frequency: frequency.max(1),
            next_frequency: None,
            running: false,
        };
        clocks.follow_cpus()?;
        Ok(clocks)
    }

    /// Starts them all.
    ///
    /// # Errors
    /// When a clock can't be started.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        for (cpu, event) in &self.events {
            event
                .enable()
                .with_context(|| format!("cannot start the clock of CPU {cpu}"))?;
        }
        self.running = true;
        Ok(())
    }

    /// Ends them all: closing is the one way that can't fail.
    pub(super) fn stop(&mut self) {
        self.running = false;
        self.events.clear();
    }

    /// Sets the frequency of the next interval; this one has no more samples.
    pub(super) fn change_frequency(&mut self, frequency: u32) {
        self.next_frequency = Some(frequency.max(1));
        self.events.clear();
    }

    /// Goes on with the next interval: with its frequency, on the CPUs that are
    /// online by now.
    ///
    /// # Errors
    /// When a clock can't be opened or started.
    pub(super) fn begin_interval(&mut self) -> anyhow::Result<()> {
        self.frequency = self.next_frequency.take().unwrap_or(self.frequency);
        if self.running {
            self.follow_cpus()?;
        }
        Ok(())
    }

    /// CPUs that are sampled.
    pub(super) fn cpus(&self) -> usize {
        self.events.len()
    }

    /// Nanoseconds of CPU time between two ticks of a clock.
    pub(super) fn period(&self) -> u64 {
        // As the kernel computes it (perf_swevent_init_hrtimer).
        1_000_000_000 / u64::from(self.frequency)
    }

    /// Opens clocks on CPUs that came online, closes those of CPUs that went.
    fn follow_cpus(&mut self) -> anyhow::Result<()> {
        let online = aya::util::online_cpus()
            .map_err(|(path, error)| anyhow::anyhow!("cannot read {path}: {error}"))?;
        self.events.retain(|cpu, _| online.contains(cpu));
        for cpu in online {
            if self.events.contains_key(&cpu) {
                continue;
            }
            let event = PerfEvent::cpu_clock(cpu, self.frequency.into()).with_context(|| {
                format!(
                    "cannot open a clock of {} Hz on CPU {cpu} (perf_event_open; {}; its rate \
                     may be kernel.perf_event_max_sample_rate at most)",
                    self.frequency,
                    perf::privilege()
                )
            })?;
            event
                .set_bpf(self.program.as_fd())
                .context("cannot attach cpu_sample to its clock")?;
            if self.running {
                event.enable().context("cannot start a clock")?;
            }
            self.events.insert(cpu, event);
        }
        Ok(())
    }
}
