//! How full and how awaited CPU, memory and disks are, and what is about to run out: what
//! the kernel itself counts of the host (`/proc`) and of each workload's cgroup. No program
//! is attached for it.
//!
//! - [`host`]: the host's figures
//! - [`filesystems`]: space and inodes
//! - [`places`]: the cgroups of workloads, read in turn; [`owner`]: whose their figures are
//! - [`directories`]: where a cgroup's files are; [`cgroup`]: what they say
//! - [`descriptors`]: of processes, against their limit
//! - [`figures`], [`metrics`], [`told`]: what is exported
//! - [`limits`]: how much time is left
//! - [`text`]: what the files look like

mod cgroup;
mod descriptors;
mod directories;
mod figures;
mod filesystems;
mod host;
mod limits;
pub mod metrics;
mod owner;
mod places;
mod text;
mod told;

use std::fs;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use observer_common::family::{Family, Part};
use observer_signals::attribute::SharedAttributes;
use observer_signals::{Instrument, MetricDef, PointValue};

use super::{MetricBuilder, Probe, Sight, Tick};
use crate::blindness::{Unit, Witness};
use crate::foreign::{A_WHILE, SHORTLY, Subject, ask};
use crate::kernel::workload_ids::Listed;
use crate::kernel::{Kernel, ProbeSpec, clock};
use figures::{COUNTERS, Counters, Figure, LEVELS, Scale};
use filesystems::FileSystems;
use limits::Trends;
use metrics as m;
use places::{Place, Places};
use told::Told;

/// What the family needs: to know which workloads there are.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::Pressure),
    observes: "how full and how awaited CPU, memory and disks are, and limits",
    programs: &[],
    requires: &[&super::sched::SPEC],
    covered_by: None,
    prepare: None,
    seen_by: &[observer_common::names::programs::SCHED_SWITCH],
};

/// So much of a CPU cgroups may be read for, as a part of the time since they were read.
const CGROUPS_PART: u32 = 2000;

/// The same for a round after a long time.
const LONGEST_ROUND: Duration = Duration::from_millis(50);

/// File systems are asked so often at most.
const FILE_SYSTEMS_PERIOD: Duration = Duration::from_secs(5);

/// From then on cgroups are said to be read late.
const LATE: Duration = Duration::from_secs(60);

/// Fewer rounds aren't compared.
const LEAST_ROUNDS: u64 = 1;

/// The host's figures as of the last reading.
#[derive(Debug, Default)]
struct HostBook {
    trends: Trends,
    told: Vec<Told>,
    /// Readings.
    rounds: u64,
}

/// The family.
#[derive(Default)]
pub struct Pressure {
    host: Arc<Mutex<HostBook>>,
    places: places::Shared,
    file_systems: FileSystems,
    of_file_systems: Vec<Told>,
    file_systems_due: Option<Instant>,
    /// When cgroups were read for the last time.
    read: Option<Instant>,
    /// Readings that were asked for.
    asked: u64,
    /// It was said that cgroups are read late.
    is_late: bool,
}

/// Why the kernel tells nothing of pressure, if so.
pub(crate) fn no_pressure() -> Option<&'static str> {
    match fs::read("/proc/pressure/cpu") {
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some("boot a kernel that is built with CONFIG_PSI")
        }
        Err(_) => Some("boot the kernel with psi=1 on its command line"),
    }
}

/// What nobody else holds; `None` while a reader that doesn't come back does.
fn free<T>(shared: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match shared.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Pressure {
    fn read_host(&mut self) {
        self.asked += 1;
        let host = Arc::clone(&self.host);
        // What doesn't answer is said there.
        let _ = ask(Subject::Figures, SHORTLY, move |foreign| {
            if let Some(mut book) = free(&host) {
                let now = clock::monotonic() as f64 / 1e9;
                book.told = host::read(foreign, &mut book.trends, now);
                book.rounds += 1;
            }
        });
        if self
            .file_systems_due
            .is_none_or(|due| due <= Instant::now())
        {
            self.file_systems_due = Some(Instant::now() + FILE_SYSTEMS_PERIOD);
            let now = clock::monotonic() as f64 / 1e9;
            self.of_file_systems = self.file_systems.look(now);
        }
    }

    fn read_places(&mut self, listed: Vec<Listed>, limit: Duration, patience: Duration) {
        let places = Arc::clone(&self.places);
        let _ = ask(Subject::Cgroups, patience, move |foreign| {
            if let Some(mut places) = free(&places) {
                let places = places.get_or_insert_with(Places::new);
                places.round(foreign, &listed, limit);
            }
        });
        self.read = Some(Instant::now());
    }

    /// Says once that figures of cgroups are old, and once that they aren't any more.
    fn say_late(&mut self, age: Duration) {
        let is_late = age > LATE;
        if is_late && !self.is_late {
            tracing::info!(
                probe = "pressure",
                "there are so many cgroups that each is read every {} s only (observer.cgroup.reading.age)",
                age.as_secs()
            );
        }
        self.is_late = is_late;
    }
}

impl Probe for Pressure {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        m::ALL
    }

    fn start(&mut self, _kernel: &mut Kernel) -> anyhow::Result<()> {
        if let Some(remedy) = no_pressure() {
            tracing::warn!(
                probe = "pressure",
                "this kernel tells nothing of pressure (PSI): for how long threads wait for CPU, memory and I/O is not known: {remedy}"
            );
        }
        Ok(())
    }

    fn begin(&mut self, kernel: &mut Kernel) -> anyhow::Result<()> {
        self.read_host();
        // All of them, so that all begin at the same time.
        self.read_places(kernel.workloads()?, A_WHILE / 2, A_WHILE);
        Ok(())
    }

    fn before_tick(&mut self, kernel: &mut Kernel) -> anyhow::Result<()> {
        self.read_host();
        let since = self.read.map_or(Duration::ZERO, |read| read.elapsed());
        let limit = (since / CGROUPS_PART).min(LONGEST_ROUND);
        self.read_places(kernel.workloads()?, limit, SHORTLY);
        Ok(())
    }

    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder) {
        let boot = tick.clock.wall(0);
        let host = free(&self.host);
        let of_host = host.iter().flat_map(|book| &book.told);
        for told in of_host.chain(&self.of_file_systems) {
            let start = match told.def.instrument {
                Instrument::Counter => boot,
                _ => 0,
            };
            out.host(told.def, told.attributes.clone(), start, told.value.clone());
        }
        drop(host);
        let shared = Arc::clone(&self.places);
        let Some(mut places) = free(&shared) else {
            return;
        };
        let Some(places) = places.as_mut() else {
            return;
        };
        if let Some(age) = places.age() {
            self.say_late(age);
            let age = PointValue::Double(age.as_secs_f64());
            out.host(&m::READING_AGE, [], 0, age);
        }
        for place in places.all() {
            tell_place(place, tick, out);
        }
    }

    fn witnesses(&mut self, _sight: &mut Sight<'_>) -> anyhow::Result<Vec<Witness>> {
        Ok(vec![Witness {
            what: "readings of the host's figures".into(),
            source: "its own ticks",
            unit: Unit::Events,
            seen: free(&self.host).map_or(0, |book| book.rounds),
            counted: self.asked,
            least: LEAST_ROUNDS,
        }])
    }
}

fn tell_place(place: &mut Place, tick: &Tick<'_>, out: &mut MetricBuilder) {
    let Some(reading) = &place.reading else {
        return;
    };
    let settled = place
        .owner
        .settle(&place.workloads, tick.resource, &mut place.base);
    let Some(owner) = settled else { return };
    let path = &place.path;
    let mut tell = |def: &'static MetricDef, attributes: SharedAttributes, start, value| match owner
    {
        Some(workload) => out.workload(workload, def, attributes, start, value),
        None => out.host(def, attributes, start, value),
    };
    let of = |figure: &Figure| -> SharedAttributes {
        let attributes = figure.attributes.iter();
        let attributes =
            attributes.map(|(key, value)| observer_signals::Attribute::new(*key, *value));
        attributes.chain([path.clone()]).collect()
    };
    let start = tick.clock.wall(place.owner.since);
    for (figure, value) in COUNTERS.iter().zip(since(&reading.counters, &place.base)) {
        if let Some(value) = value {
            tell(figure.def, of(figure), start, scaled(value, figure.scale));
        }
    }
    for (figure, value) in LEVELS.iter().zip(reading.levels.all()) {
        if let Some(value) = value {
            tell(figure.def, of(figure), 0, scaled(value, figure.scale));
        }
    }
    for told in &place.limits {
        tell(told.def, told.attributes.clone(), 0, told.value.clone());
    }
    place.owner.tell(&reading.counters, clock::monotonic());
}

/// What was counted since `base`.
fn since<'a>(counters: &'a Counters, base: &'a Counters) -> impl Iterator<Item = Option<u64>> + 'a {
    let pairs = counters.all().zip(base.all());
    pairs.map(|(now, before)| Some(now?.saturating_sub(before.unwrap_or(0))))
}

fn scaled(value: u64, scale: Scale) -> PointValue {
    match scale {
        Scale::One => PointValue::Int(i64::try_from(value).unwrap_or(i64::MAX)),
        Scale::Of(part) => PointValue::Double(value as f64 * part),
    }
}
