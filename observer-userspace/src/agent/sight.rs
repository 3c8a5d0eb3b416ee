//! Looks whether the families see what they observe, and says so.

use std::time::{Duration, Instant};

use observer_common::family::{Family, Part};

use super::Agent;
use crate::blindness::{Blind, Change, Watch};
use crate::kernel::cells::Tallies;
use crate::kernel::{Filters, clock};
use crate::probes::Sight;
use observer_export::self_stats::Seeing;
use observer_export::terminal::local_time;

/// When families are compared for the first time: when a first profile of ten
/// seconds has ended.
const FIRST: Duration = Duration::from_secs(11);

/// How often from then on.
const PERIOD: Duration = Duration::from_secs(60);

/// So much earlier it may be from then on, where figures are read anyway.
const EARLY: Duration = Duration::from_secs(5);

/// What is said of a blindness goes under this name.
const EVENT: &str = "observer.probe.blind";

/// When families are compared, and what came of it.
pub(super) struct SelfCheck {
    watch: Watch,
    /// `None`: never. Where only some processes are traced, nobody counts the same.
    due: Option<Instant>,
    /// How much earlier than that it may be.
    early: Duration,
    /// That something can't be read was said.
    complained: bool,
}

impl SelfCheck {
    /// Nothing compared yet.
    pub(super) fn new(filters: &Filters) -> Self {
        let everyone =
            filters.pids.is_empty() && filters.comms.is_empty() && filters.cgroups.is_empty();
        Self {
            watch: Watch::default(),
            due: everyone.then(|| Instant::now() + FIRST),
            early: Duration::ZERO,
            complained: false,
        }
    }

    /// Whether families should be compared, now that figures are read.
    pub(super) fn is_near(&self) -> bool {
        self.due
            .is_some_and(|due| due <= Instant::now() + self.early)
    }

    /// How it stands, by family.
    pub(super) fn families(&self) -> Vec<Seeing> {
        let families = self.watch.families().into_iter();
        families
            .map(|(family, blind)| Seeing {
                probe: family.as_str().to_owned(),
                blind: blind.then(|| self.texts(family)),
            })
            .collect()
    }

    fn texts(&self, family: Family) -> Vec<String> {
        let blind = self.watch.blind().filter(|blind| blind.family == family);
        blind.map(since).collect()
    }
}

/// Resolves when families are to be compared, which may be never.
pub(super) async fn due(check: &SelfCheck) {
    match check.due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

impl Agent {
    /// Reads all figures in order to compare families; also at the very begin.
    pub(super) fn look(&mut self) {
        self.before_tick();
        let mut tallies = self.cells.read();
        self.compare(&mut tallies);
    }

    /// Compares families by these figures, and by what those counted who are gone.
    pub(super) fn compare(&mut self, tallies: &mut Tallies) {
        if self.self_check.due.is_none() {
            return;
        }
        self.cells.settled().add_ended_to(tallies);
        self.compare_all(tallies);
        tallies.without_ended();
    }

    fn compare_all(&mut self, tallies: &Tallies) {
        if self.self_check.is_near() {
            self.self_check.due = Some(Instant::now() + PERIOD);
            self.self_check.early = EARLY;
        }
        let now = self.clock.wall(clock::monotonic());
        let mut sight = Sight {
            kernel: &mut self.kernel,
            tallies,
            profiled: self.profiler.as_ref().map(|profiler| profiler.profiled()),
        };
        for probe in &mut self.probes {
            let Part::Family(family) = probe.spec().family else {
                continue;
            };
            if !probe.is_seen(sight.kernel) {
                // That was said when it was attached.
                continue;
            }
            match probe.witnesses(&mut sight) {
                Ok(witnesses) => {
                    let changes = self.self_check.watch.compare(family, &witnesses, now);
                    changes.iter().for_each(announce);
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.self_check.complained, true) {
                        tracing::warn!(
                            probe = %family,
                            "nobody would notice if {family} saw nothing: {error:#}"
                        );
                    }
                }
            }
        }
    }
}

fn since(blind: &Blind) -> String {
    format!("{blind}, since {}", local_time(blind.since))
}

/// One line for the begin and one for the end.
fn announce(change: &Change) {
    match change {
        Change::Begins(blind) => tracing::warn!(
            event = EVENT,
            probe = %blind.family,
            seen = blind.seen,
            counted = blind.counted,
            "{}; what it reports of that is too little. `observer check` may say why, else report \
             it with this line and the kernel's version",
            since(blind),
        ),
        Change::Ends(blind) => tracing::info!(
            event = EVENT,
            probe = %blind.family,
            seen = blind.seen,
            counted = blind.counted,
            "{} sees {} again: {} of {}",
            blind.family,
            blind.what,
            blind.seen,
            blind.counted,
        ),
        Change::Gone(blind) => tracing::info!(
            event = EVENT,
            probe = %blind.family,
            "{} can't be compared any more: {}",
            blind.what,
            since(blind),
        ),
    }
}
