//! What came of it, contender by contender.

use std::collections::BTreeMap;

use super::{Contender, Figures, Losses, Outcome, Report, Role};
use crate::stats::{Spread, median};

/// All of a benchmark.
pub struct Results {
    /// What the rates are of.
    pub unit: &'static str,
    /// The contenders in their order.
    pub series: Vec<Series>,
    /// The load average after it.
    pub load: String,
}

impl Results {
    /// A contender's by its name, if it ran at all.
    pub fn of(&self, name: &str) -> Option<&Series> {
        let found = self.series.iter().find(|one| one.name == name);
        found.filter(|one| !one.rounds.is_empty())
    }

    /// The Observers that ran.
    pub fn observers(&self) -> impl Iterator<Item = &Series> {
        let all = self.series.iter();
        all.filter(|one| one.role == Role::Observer && !one.rounds.is_empty())
    }

    /// The floor to which one is compared: empty programs on the same hooks.
    pub fn floor_of(&self, one: &Series) -> Option<&Series> {
        let floors = || {
            let all = self.series.iter();
            all.filter(|one| one.role == Role::Floor && !one.rounds.is_empty())
        };
        let same = floors().find(|floor| floor.narrow == one.narrow);
        same.or_else(|| floors().next())
    }
}

/// One contender's.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// As what it took part.
    pub role: Role,
    /// Whether it is compared to the floor of the workload's own families.
    pub narrow: bool,
    /// Its turns.
    pub rounds: Vec<Round>,
    /// What it used.
    pub account: Option<Account>,
    /// What there was to count while it watched, in all its turns.
    pub facts: Figures,
    /// What it counted in all its turns.
    pub counted: Figures,
    /// What it said it lost in all its turns; `None` if it doesn't say.
    pub lost: Option<Losses>,
    /// What it said besides.
    pub notes: Vec<String>,
    /// The most memory that was resident, in MB.
    pub peak: Option<f64>,
    /// Why it couldn't take part, or not any longer.
    pub failure: Option<String>,
}

/// One turn.
#[derive(Clone, Debug)]
pub struct Round {
    /// The workload's rate.
    pub rate: f64,
    /// Its rate with nothing attached, just before and after.
    pub bare: f64,
    /// What else was measured.
    pub extra: Figures,
}

/// What a tool used while the workload ran, with the kernel measuring.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// How long, in seconds.
    pub seconds: f64,
    /// CPU seconds of its processes, and which of them in which mode.
    pub cpu: f64,
    /// See `cpu`.
    pub user: f64,
    /// See `cpu`.
    pub system: f64,
    /// Seconds that its BPF programs ran, on whomever's behalf.
    pub bpf: f64,
    /// How often they ran.
    pub bpf_runs: u64,
    /// Resident memory at the end, in MB.
    pub resident: f64,
    /// The most that was resident until then, in MB.
    pub peak: f64,
}

impl Account {
    /// Percent of a core.
    pub fn percent(&self, seconds: f64) -> f64 {
        seconds / self.seconds * 100.0
    }
}

impl Series {
    pub(super) fn new(contender: &dyn Contender) -> Self {
        Self {
            name: contender.name(),
            role: contender.role(),
            narrow: contender.narrow(),
            rounds: Vec::new(),
            account: None,
            facts: Figures::new(),
            counted: Figures::new(),
            lost: None,
            notes: Vec::new(),
            peak: None,
            failure: None,
        }
    }

    pub(super) fn push(&mut self, outcome: Outcome, bare: f64) {
        self.rounds.push(Round {
            rate: outcome.rate,
            bare,
            extra: outcome.extra,
        });
    }

    pub(super) fn add_facts(&mut self, outcome: &Outcome) {
        add(&mut self.facts, &outcome.facts);
    }

    pub(super) fn add_report(&mut self, report: Report) {
        add(&mut self.counted, &report.counted);
        if let Some(lost) = report.lost {
            let all = self.lost.get_or_insert_default();
            for (cause, lost) in lost {
                *all.entry(cause).or_default() += lost;
            }
        }
        for note in report.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        if let Some(peak) = report.peak {
            self.peak = Some(self.peak.map_or(peak, |before| before.max(peak)));
        }
    }

    /// The last turn in a few words.
    pub(super) fn progress(&self) -> String {
        match (&self.failure, self.rounds.last()) {
            (Some(failure), _) => format!("{}: {failure}", self.name),
            (None, Some(round)) => {
                format!("{}: {:.3} of the rate", self.name, round.rate / round.bare)
            }
            (None, None) => self.name.clone(),
        }
    }

    /// Its rates, turn by turn.
    pub fn rates(&self) -> Vec<f64> {
        self.rounds.iter().map(|round| round.rate).collect()
    }

    /// Its rates in parts of that with nothing attached, turn by turn.
    pub fn ratios(&self) -> Vec<f64> {
        self.rounds
            .iter()
            .map(|round| round.rate / round.bare)
            .collect()
    }

    /// How many percent fewer operations there are with it (median).
    pub fn fewer(&self) -> f64 {
        (1.0 - median(&self.ratios())) * 100.0
    }

    /// How many percent longer an operation takes with it (median).
    pub fn slower(&self) -> f64 {
        let longer: Vec<f64> = self.ratios().iter().map(|ratio| 1.0 / ratio).collect();
        (median(&longer) - 1.0) * 100.0
    }

    /// Seconds that it adds to an operation, turn by turn.
    pub fn added(&self) -> Vec<f64> {
        let rounds = self.rounds.iter();
        rounds
            .map(|round| 1.0 / round.rate - 1.0 / round.bare)
            .collect()
    }

    /// What it adds in parts of what another adds, turn by turn; `None` where the
    /// other adds nothing that can be measured.
    pub fn added_to(&self, other: &Self) -> Option<Spread> {
        let (own, others) = (self.added(), other.added());
        let pairs = own.iter().zip(&others).filter(|(_, other)| **other > 0.0);
        let ratios: Vec<f64> = pairs.map(|(own, other)| own / other).collect();
        // Of noise there is no ratio.
        (ratios.len() == own.len()).then(|| Spread::of(&ratios))?
    }

    /// How far its figure is from the truth; `None` if it has none.
    pub fn apart(&self, what: &str) -> Option<f64> {
        Some((self.facts.get(what)? - self.counted.get(what)?).abs())
    }

    /// Events that it says it lost of what a family sees, of all if it is empty;
    /// `None` if it doesn't say.
    pub fn lost_of(&self, family: &str) -> Option<u64> {
        let losses = self.lost.as_ref()?.iter();
        let own = losses
            .filter(|(cause, _)| family.is_empty() || cause.split('/').next() == Some(family));
        Some(own.map(|(_, lost)| lost).sum())
    }

    /// The other figures of its turns, by name.
    pub fn extra(&self) -> BTreeMap<&'static str, Vec<f64>> {
        let mut all: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for (what, figure) in self.rounds.iter().flat_map(|round| &round.extra) {
            all.entry(*what).or_default().push(*figure);
        }
        all
    }

    /// The most memory that was resident, in MB, however it is known.
    pub fn most_resident(&self) -> Option<f64> {
        let account = self.account.map(|account| account.peak);
        [self.peak, account].into_iter().flatten().reduce(f64::max)
    }
}

fn add(to: &mut Figures, what: &Figures) {
    for (name, figure) in what {
        *to.entry(name).or_default() += figure;
    }
}
