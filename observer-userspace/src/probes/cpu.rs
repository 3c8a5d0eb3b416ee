//! CPU samples: the stacks of whoever runs, at a fixed rate on every CPU.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aya::maps::{Array, Map, MapData, RingBuf};
use aya::programs::Program;
use observer_common::cpu::{COUNT_OFF_CPU, SampleKey, StackHeader, kind};
use observer_common::unwind::Outcome;

use super::offcpu;
use super::sched::IDENTITY_FIELDS;
use super::served::{Links, Resolve};
use super::{MetricBuilder, Probe, Tick};
use crate::kernel::clock::Clock;
use crate::kernel::perf::PerfEvent;
use crate::kernel::{Attach, Kernel, ProbeSpec, ProgramSpec, batch, ring};
use crate::signals::MetricDef;
use crate::signals::attribute::SharedResource;
use crate::signals::profile::ProfileKind;
use crate::stacks::{RawProfile, RawSample, RawStack, Served, Wait};

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: "cpu",
    observes: "stacks on CPU",
    programs: &[ProgramSpec {
        name: "cpu_sample",
        attach: Attach::Manual,
        needs: IDENTITY_FIELDS,
        lost_without: "CPU profiles",
    }],
};

/// Attached with it: keep what the kernel half knows of processes up to date.
pub static UNWIND: ProbeSpec = ProbeSpec {
    family: "cpu",
    observes: "mappings of processes",
    programs: &[
        ProgramSpec {
            name: "unwind_fork",
            attach: Attach::Tracepoint("sched_process_fork"),
            needs: &["task_tgid"],
            lost_without: "the first complete stacks of a new process",
        },
        ProgramSpec {
            name: "unwind_exec",
            attach: Attach::Tracepoint("sched_process_exec"),
            needs: &["task_tgid"],
            lost_without: "the first complete stacks of a new program",
        },
        ProgramSpec {
            name: "unwind_exit",
            attach: Attach::Tracepoint("sched_process_exit"),
            needs: &["task_tgid", "task_pid"],
            lost_without: "room for the mappings of new processes",
        },
    ],
};

/// The family, as documented; the work is done by [`Sampler`].
pub struct Cpu;

impl Probe for Cpu {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        &[]
    }

    fn collect(&mut self, _tick: &Tick<'_>, _out: &mut MetricBuilder) {}
}

/// Which stack of which thread, whatever it did there.
type Seen = (u64, u64, u32);

/// What a sample's key stands for.
#[derive(Clone, Debug)]
struct Known {
    stack: Arc<RawStack>,
    thread: String,
    process: String,
}

/// What was counted in an interval, before it has names.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Samples of threads on CPU.
    pub on_cpu: RawProfile,
    /// Nanoseconds of threads off CPU; without samples unless they are followed.
    pub off_cpu: RawProfile,
}

/// Samples all CPUs until it is dropped.
pub struct Sampler {
    /// One per online CPU.
    events: HashMap<u32, PerfEvent>,
    /// `None`: nothing on CPU is sampled.
    program: Option<std::os::fd::OwnedFd>,
    frequency: u32,
    /// What it becomes with the next interval.
    next_frequency: Option<u32>,
    /// Threads off CPU, if they are followed.
    off_cpu: Option<offcpu::Blocked>,
    running: bool,
    ring: RingBuf<MapData>,
    /// The two hashes of counts.
    samples: [MapData; 2],
    epoch_map: Array<MapData, u32>,
    epoch: u32,
    /// Per epoch: what was told of its keys.
    known: [HashMap<SampleKey, Known>; 2],
    /// What was told of threads off CPU in earlier intervals: the kernel half
    /// tells the stack of a block once, however long it lasts. The last
    /// interval's first, then that before it.
    lasting: [HashMap<Seen, Known>; 2],
    /// The requests that sampled threads served.
    links: Links,
    /// When the interval began, CLOCK_MONOTONIC.
    since: u64,
    /// When sampling was stopped, likewise.
    until: Option<u64>,
}

impl Sampler {
    /// Opens one clock per online CPU with `frequency` ticks per second of CPU
    /// time that isn't idle. The family's program must be loaded
    /// (`kernel.attach(&SPEC)`). Nothing is sampled before [`Self::start`].
    ///
    /// # Errors
    /// When a map is missing or a clock can't be opened.
    pub fn attach(kernel: &mut Kernel, frequency: u32) -> anyhow::Result<Self> {
        let program = match kernel.program_mut("cpu_sample") {
            Some(Program::PerfEvent(program)) => program.fd()?.as_fd().try_clone_to_owned()?,
            _ => bail!("the kernel object has no program cpu_sample"),
        };
        let mut sampler = Self::without_clocks(kernel)?;
        sampler.program = Some(program);
        sampler.frequency = frequency.max(1);
        sampler.follow_cpus()?;
        Ok(sampler)
    }

    /// One that samples nothing, for threads off CPU only.
    ///
    /// # Errors
    /// When a map is missing.
    pub fn without_clocks(kernel: &mut Kernel) -> anyhow::Result<Self> {
        let ring = RingBuf::try_from(kernel.take_map("STACK_RING")?)?;
        let samples = [
            hash_map(kernel.take_map("SAMPLES_0")?)?,
            hash_map(kernel.take_map("SAMPLES_1")?)?,
        ];
        let epoch_map = Array::try_from(kernel.take_map("SAMPLE_EPOCH")?)?;
        Ok(Self {
            events: HashMap::new(),
            program: None,
            frequency: 1,
            next_frequency: None,
            off_cpu: None,
            running: false,
            ring,
            samples,
            epoch_map,
            epoch: 0,
            known: Default::default(),
            lasting: Default::default(),
            links: Links::default(),
            since: Clock::monotonic(),
            until: None,
        })
    }

    /// From its start on, threads off CPU are counted as well.
    pub fn follow(&mut self, off_cpu: offcpu::Blocked) {
        self.off_cpu = Some(off_cpu);
    }

    /// Starts sampling; the interval begins now.
    ///
    /// # Errors
    /// When a clock can't be started, or threads can't be looked at.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if let Some(off_cpu) = &self.off_cpu {
            // Nothing is counted yet: this only notes who is off CPU, and then
            // asks for what it takes to walk their stacks.
            off_cpu.catch_up()?;
            off_cpu.catch_up()?;
            self.set_epoch(self.epoch | COUNT_OFF_CPU)?;
        }
        for (cpu, event) in &self.events {
            event
                .enable()
                .with_context(|| format!("cannot start the clock of CPU {cpu}"))?;
        }
        self.running = true;
        self.until = None;
        self.since = Clock::monotonic();
        Ok(())
    }

    /// Stops sampling; what was sampled stays until it is taken.
    pub fn stop(&mut self) {
        if self.running && self.off_cpu.is_some() {
            let caught_up = self
                .catch_up()
                .and_then(|()| self.set_epoch(self.epoch & 1));
            if let Err(error) = caught_up {
                tracing::warn!("time off CPU may go beyond the end: {error:#}");
            }
        }
        self.running = false;
        self.until.get_or_insert(Clock::monotonic());
        // Closing them is the one way that can't fail.
        self.events.clear();
    }

    /// Samples so many times a second and CPU from the next interval on. What is
    /// left of this one has no samples: take it at once.
    pub fn change_frequency(&mut self, frequency: u32) {
        self.next_frequency = Some(frequency.max(1));
        self.events.clear();
    }

    /// Counts time off CPU from now on, or no more, if threads off CPU are
    /// followed at all.
    ///
    /// # Errors
    /// When threads can't be looked at or the kernel half can't be told.
    pub fn count_off_cpu(&mut self, on: bool) -> anyhow::Result<()> {
        let Some(off_cpu) = &self.off_cpu else {
            return Ok(());
        };
        if !self.running || on == self.counts_off_cpu() {
            return Ok(());
        }
        off_cpu.catch_up()?;
        if !on {
            return self.set_epoch(self.epoch & 1);
        }
        // As at the start.
        off_cpu.catch_up()?;
        self.set_epoch(self.epoch | COUNT_OFF_CPU)
    }

    /// Whether time off CPU is being counted.
    pub fn counts_off_cpu(&self) -> bool {
        self.epoch & COUNT_OFF_CPU != 0
    }

    /// CPUs that are sampled.
    pub fn cpus(&self) -> usize {
        self.events.len()
    }

    /// Nanoseconds of CPU time between two samples of a CPU.
    pub fn period(&self) -> u64 {
        // As the kernel computes it (perf_swevent_init_hrtimer).
        1_000_000_000 / u64::from(self.frequency)
    }

    /// A descriptor that becomes readable when the ring is half full: then call
    /// [`Self::drain`].
    pub fn ring_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Reads the stacks that wait in the ring, and asks `resolve` for the
    /// requests that sampled threads served: to be called several times a
    /// second where there are any.
    pub fn drain(&mut self, resolve: &mut Resolve<'_>) {
        let now = Clock::monotonic();
        // Threads often share a stack.
        let mut shared: HashMap<(u64, u64), Arc<RawStack>> = HashMap::new();
        while let Some(record) = self.ring.next() {
            let Some((header, stack)) = parse(&record) else {
                continue;
            };
            self.links.note(header.key.request, now);
            let id = (header.key.hash, header.key.check);
            let stack = shared.entry(id).or_insert_with(|| Arc::new(stack)).clone();
            self.known[(header.epoch & 1) as usize].insert(
                header.key,
                Known {
                    stack,
                    thread: text(&header.thread),
                    process: text(&header.process),
                },
            );
        }
        self.links.ask(now, resolve);
    }

    /// What is known by now of the request with this number.
    pub fn served(&mut self, request: u64, resolve: &mut Resolve<'_>) -> Option<Arc<Served>> {
        self.links.get(request, Clock::monotonic(), resolve)
    }

    /// Takes everything counted since the last call (or [`Self::start`]);
    /// `resource` names a workload's resource, `resolve` requests. Blocks for some milliseconds,
    /// until no CPU can still be counting in the old interval.
    ///
    /// # Errors
    /// When the kernel's maps can't be read.
    pub fn take(
        &mut self,
        mut resource: impl FnMut(u32) -> SharedResource,
        resolve: &mut Resolve<'_>,
    ) -> anyhow::Result<Taken> {
        let old = (self.epoch & 1) as usize;
        let begin = self.since;
        if self.running && self.counts_off_cpu() {
            self.catch_up()?;
        }
        let now = self.until.unwrap_or_else(Clock::monotonic);
        let counting = self.epoch & COUNT_OFF_CPU;
        self.set_epoch((self.epoch & 1 ^ 1) | counting)?;
        self.since = now;
        wait_for_programs();
        self.drain(resolve);
        let mut known = std::mem::take(&mut self.known[old]);
        // The same thread may do several things with one stack: wait for
        // something, and then for a CPU.
        let mut told: HashMap<Seen, Known> = known
            .iter()
            .filter(|(key, _)| key.kind != kind::ON_CPU)
            .map(|(key, known)| (seen(key), known.clone()))
            .collect();
        let header = RawProfile {
            kind: ProfileKind::OnCpu,
            start: Clock::measure().wall(begin),
            duration: now.saturating_sub(begin),
            period: self.period(),
            samples: Vec::new(),
        };
        self.frequency = self.next_frequency.take().unwrap_or(self.frequency);
        let mut on_cpu = header.clone();
        let mut off_cpu = RawProfile {
            kind: ProfileKind::OffCpu,
            period: 1,
            ..header
        };
        batch::take_all(
            self.samples[old].fd().as_fd(),
            |key: SampleKey, value: u64| {
                let wait = wait(&key);
                let known = match wait {
                    None => known.remove(&key),
                    Some(_) => {
                        let seen = seen(&key);
                        let known = told.get(&seen).cloned();
                        let known = known
                            .or_else(|| self.lasting.iter().find_map(|of| of.get(&seen)).cloned());
                        told.extend(known.clone().map(|known| (seen, known)));
                        known
                    }
                };
                // It only told its stack.
                if value == 0 {
                    return;
                }
                // Always known: a key whose stack can't be sent isn't counted.
                let known = known.unwrap_or_else(|| Known {
                    stack: Arc::default(),
                    thread: String::new(),
                    process: String::new(),
                });
                let of = if wait.is_some() {
                    &mut off_cpu
                } else {
                    &mut on_cpu
                };
                of.samples.push(RawSample {
                    stack: known.stack,
                    pid: key.tgid,
                    tid: key.tid,
                    thread: known.thread,
                    process: known.process,
                    resource: resource(key.workload),
                    outcome: Outcome::from_number(key.outcome).unwrap_or_default(),
                    wait,
                    value,
                    request: key.request,
                    served: self.links.get(key.request, now, resolve),
                });
            },
        )
        .context("cannot read the samples")?;
        self.lasting.swap(0, 1);
        self.lasting[0] = told;
        self.links.end_interval();
        if self.running {
            self.follow_cpus()?;
        }
        Ok(Taken { on_cpu, off_cpu })
    }

    /// Counts what threads that are off CPU were so far.
    fn catch_up(&self) -> anyhow::Result<()> {
        self.off_cpu
            .as_ref()
            .map_or(Ok(()), offcpu::Blocked::catch_up)
    }

    /// Tells the kernel half where to count, and whether to count time off CPU.
    fn set_epoch(&mut self, epoch: u32) -> anyhow::Result<()> {
        self.epoch_map
            .set(0, epoch, 0)
            .context("cannot flip the epoch of samples")?;
        self.epoch = epoch;
        Ok(())
    }

    /// Opens clocks on CPUs that came online, closes those of CPUs that went.
    fn follow_cpus(&mut self) -> anyhow::Result<()> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        let online = aya::util::online_cpus()
            .map_err(|(path, error)| anyhow::anyhow!("cannot read {path}: {error}"))?;
        self.events.retain(|cpu, _| online.contains(cpu));
        for cpu in online {
            if self.events.contains_key(&cpu) {
                continue;
            }
            let event = PerfEvent::cpu_clock(cpu, self.frequency.into()).with_context(|| {
                format!(
                    "cannot open a clock of {} Hz on CPU {cpu} (perf_event_open; it takes \
                     CAP_PERFMON, and a rate of at most kernel.perf_event_max_sample_rate)",
                    self.frequency
                )
            })?;
            event
                .set_bpf(program.as_fd())
                .context("cannot attach cpu_sample to its clock")?;
            if self.running {
                event.enable().context("cannot start a clock")?;
            }
            self.events.insert(cpu, event);
        }
        Ok(())
    }
}

/// Entries that the tables of samples need so that none is lost even if every
/// sample of an interval has a stack of its own; within reason.
pub fn entries(frequency: u32, interval: Duration) -> u32 {
    /// About 6 MiB of kernel memory for each table.
    const MOST: u32 = 64 * 1024;
    let cpus = aya::util::online_cpus().map_or(1, |cpus| cpus.len());
    let samples = f64::from(frequency) * cpus as f64 * interval.as_secs_f64();
    (samples.min(f64::from(MOST)) as u32).clamp(1024, MOST)
}

/// Entries that time off CPU needs in addition: a stack of each thread for each
/// place where it waits.
pub const OFF_CPU_ENTRIES: u32 = 32 * 1024;

fn hash_map(map: Map) -> anyhow::Result<MapData> {
    match map {
        Map::HashMap(data) => Ok(data),
        _ => bail!("not a hash map"),
    }
}

/// Returns when every program that ran at the call has ended.
fn wait_for_programs() {
    /// `MEMBARRIER_CMD_GLOBAL`: waits for an RCU grace period, and programs run
    /// inside of RCU read-side critical sections.
    const GLOBAL: libc::c_int = 1;
    // SAFETY: takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result != 0 {
        // Refused with nohz_full CPUs: a program takes microseconds.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A record of the ring, as `observer_common::cpu` lays it out.
fn parse(record: &[u8]) -> Option<(StackHeader, RawStack)> {
    let header: StackHeader = ring::record(record)?;
    let frames = record.get(size_of::<StackHeader>()..)?;
    let mut frames = frames
        .chunks_exact(8)
        .filter_map(|bytes| bytes.try_into().ok().map(u64::from_ne_bytes));
    let kernel: Box<[u64]> = frames
        .by_ref()
        .take(header.key.kernel_frames.into())
        .collect();
    let user: Box<[u64]> = frames.take(header.key.user_frames.into()).collect();
    Some((header, RawStack { kernel, user }))
}

fn seen(key: &SampleKey) -> Seen {
    (key.hash, key.check, key.tid)
}

/// How the thread was off CPU.
fn wait(key: &SampleKey) -> Option<Wait> {
    match key.kind {
        kind::OFF_CPU => Some(Wait::Blocked {
            state: key.state,
            syscall: key.syscall,
        }),
        kind::RUN_QUEUE => Some(Wait::RunQueue),
        _ => None,
    }
}

/// A comm as text.
fn text(comm: &[u8; 16]) -> String {
    let end = comm.iter().position(|&b| b == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}
