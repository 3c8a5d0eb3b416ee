//! From a configuration to a running agent: what is loaded, attached, and seen of it.

use std::time::Instant;

use anyhow::Result;
use observer_common::family::{Family, Part};
use observer_containers::Containers;

use super::health::Health;
use super::limiter::SpanLimiter;
use super::options::load_options;
use super::profiler::Profiler;
use super::reporter::Reporter;
use super::retire::Retirement;
use super::rings::Rings;
use super::sight::SelfCheck;
use super::workloads::Workloads;
use super::{Agent, budget, diagnostics, programs};
use crate::config::Config;
use crate::identity::Host;
use crate::kernel::cells::Cells;
use crate::kernel::{Kernel, LoadOptions, clock};
use crate::probes::plan::{Plan, Purpose};
use crate::probes::{self, Probe};
use crate::sinks::Sinks;

impl Agent {
    /// Loads the kernel half, attaches the chosen probes and takes stock of
    /// what is older than the daemon. Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When nothing at all can be seen. A program that can't be attached is
    /// logged with its reason, and the others go on.
    pub fn start(config: &Config, host: &Host, sinks: Sinks) -> Result<Self> {
        let options = LoadOptions {
            connection_records: config.spans.tcp && sinks.wants_spans(),
            ..load_options(config)?
        };
        let mut kernel = Kernel::load(&options)?;
        let mut probes = chosen(config);
        if config.kernel_debug {
            diagnostics::start(&mut kernel);
        }

        Plan::of(&config.probes, Purpose::Daemon).attach(&mut kernel);
        if !kernel.sees(&probes::sched::SPEC) {
            anyhow::bail!(
                "sched_switch can't be attached, and all probes build on it; `observer check` says more"
            );
        }
        // What is left of a family goes on, even if it is little.
        probes.retain(|probe| {
            let mut programs = probe.spec().programs.iter();
            programs.any(|program| kernel.has(program.name)) || probe.is_seen(&kernel)
        });
        let cells = Cells::map(&mut kernel, options.histogram_cells, options.counter_cells)?;
        let rings = Rings::take(&mut kernel, &probes)?;
        for probe in &mut probes {
            if let Err(error) = probe.start(&mut kernel) {
                let family = probe.spec().family;
                tracing::warn!(
                    probe = %family,
                    "{family}: what is older than the daemon is not known: {error:#}"
                );
            }
        }
        let profiler = start_profiler(&mut kernel, &probes, config);
        kernel.forget_types();
        let families = seen(&kernel, &probes, profiler.is_some());
        if families.is_empty() {
            let chosen: Vec<_> = config.probes.iter().map(|family| family.as_str()).collect();
            anyhow::bail!(
                "nothing of {} can be seen here; `observer check` says why",
                chosen.join(", ")
            );
        }
        for probe in &mut probes {
            if let Err(error) = probe.begin(&mut kernel) {
                let family = probe.spec().family;
                tracing::warn!(probe = %family, "{family}: {error:#}");
            }
        }
        let retirement = Retirement::start(&mut kernel, options.histogram_cells)?;
        let teller = programs::start(&mut kernel);
        let wants_spans = sinks.wants_spans();
        let budget = budget::start(&mut kernel, config, &probes, &profiler, wants_spans);
        Ok(Self {
            cells,
            rings,
            profiler,
            probes,
            families,
            workloads: Workloads::new(host, containers(config)),
            retirement,
            teller,
            profiled: Instant::now(),
            limiter: SpanLimiter::new(config.spans.rate, config.spans.burst),
            sinks,
            health: Health::new(budget.is_some()),
            self_check: SelfCheck::new(&options.filters),
            budget,
            started: clock::measure(),
            clock: clock::measure(),
            tables: config.tables.clone(),
            behind: false,
            stall_limit: config.stall_limit,
            interval: config.interval,
            reporter: Reporter::of_environment(),
            kernel,
        })
    }
}

/// Who says what containers are called.
fn containers(config: &Config) -> Option<Containers> {
    let started = Containers::start(config.containers.clone());
    started.unwrap_or_else(|error| {
        tracing::warn!("containers have their id and no name: no thread asks for it: {error}");
        None
    })
}

/// The chosen families' probes.
fn chosen(config: &Config) -> Vec<Box<dyn Probe>> {
    let mut probes = probes::all();
    for probe in &mut probes {
        probe.configure(config);
    }
    probes.retain(|probe| {
        config
            .probes
            .iter()
            .any(|family| probe.spec().family == Part::Family(*family))
    });
    probes
}

/// The families of which anything is seen; of profiles nothing is without the
/// profiler.
fn seen(kernel: &Kernel, probes: &[Box<dyn Probe>], profiles: bool) -> Vec<Family> {
    let families = probes.iter().filter(|probe| probe.is_seen(kernel));
    let families = families.filter_map(|probe| match probe.spec().family {
        Part::Family(family) => Some(family),
        _ => None,
    });
    families
        .filter(|family| profiles || !matches!(family, Family::Cpu | Family::OffCpu))
        .collect()
}

/// Starts the profiler if one of its families was chosen and sees anything.
fn start_profiler(
    kernel: &mut Kernel,
    probes: &[Box<dyn Probe>],
    config: &Config,
) -> Option<Profiler> {
    let has = |family| probes.iter().any(|probe| probe.spec().family == family);
    let on_cpu = has(probes::cpu::SPEC.family);
    let off_cpu = has(probes::offcpu::SPEC.family);
    if !on_cpu && !off_cpu {
        return None;
    }
    let frequency = on_cpu.then_some(config.frequency);
    Profiler::start(kernel, frequency, off_cpu, config.tables.unwind_bytes)
        .inspect_err(|error| tracing::warn!("no profiles: {error:#}"))
        .ok()
}
