//! Doing it: everybody by turns, again and again.

use std::time::{Duration, Instant};

use anyhow::Result;
use observer_userspace::kernel::stats;

use super::{Account, Contender, Outcome, Results, Role, Running, Series, Work};
use crate::{Options, machine};
use observer_testkit::{daemon, interrupt};

/// What a benchmark of this kind is and how long it takes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The word by which it is chosen.
    pub name: &'static str,
    /// A title for people.
    pub title: String,
    /// What the workload does and what is counted, in some sentences; what all
    /// such benchmarks do is added.
    pub method: String,
    /// Fewer rounds and shorter runs.
    pub quick: bool,
    /// How often each takes its turn.
    pub rounds: usize,
    /// From a tool's start to the workload's.
    pub settle: Duration,
    /// How long Observer's own cost is measured, at least: in a further run, for
    /// the kernel's measuring costs, too.
    pub account: Duration,
    /// The same for those that do everything as it comes, not in intervals.
    pub account_others: Duration,
}

impl Plan {
    /// With the usual number of rounds and times.
    pub fn new(
        options: &Options,
        name: &'static str,
        title: impl Into<String>,
        method: impl Into<String>,
    ) -> Self {
        let quick = options.quick;
        Self {
            name,
            title: title.into(),
            method: method.into(),
            quick,
            rounds: if quick { 2 } else { 4 },
            settle: Duration::from_millis(300),
            // More than an interval, unless it has to be quick.
            account: Duration::from_secs(if quick { 1 } else { 11 }),
            account_others: Duration::from_secs(if quick { 1 } else { 3 }),
        }
    }

    /// Has each take its turn as often as there are rounds. The workload also
    /// runs with nothing attached before and after each.
    ///
    /// # Errors
    /// When the workload fails, or when we are interrupted. What a tool can't
    /// goes into its results.
    pub fn measure(
        &self,
        work: &mut dyn Work,
        contenders: &[Box<dyn Contender>],
    ) -> Result<Results> {
        let mut series: Vec<Series> = contenders
            .iter()
            .map(|contender| Series::new(&**contender))
            .collect();
        for (contender, one) in contenders.iter().zip(&mut series) {
            one.failure = contender.prepare().err().map(|e| format!("{e:#}"));
            interrupt::check()?;
        }
        let mut bare = Vec::new();
        work.run(self.quick)?;
        for round in 1..=self.rounds {
            let mut before = work.run(self.quick)?;
            for (contender, one) in contenders.iter().zip(&mut series) {
                if one.role == Role::Nothing || one.failure.is_some() {
                    continue;
                }
                let turn = self.turn(&**contender, one, work, round == self.rounds)?;
                let after = work.run(self.quick)?;
                if let Some(outcome) = turn {
                    let bare = (before.rate + after.rate) / 2.0;
                    one.push(outcome, bare);
                }
                eprintln!(
                    "{}: round {round} of {}: {}",
                    self.name,
                    self.rounds,
                    one.progress()
                );
                bare.push(std::mem::replace(&mut before, after));
            }
            bare.push(before);
        }
        if let Some(nothing) = series.iter_mut().find(|one| one.role == Role::Nothing) {
            for outcome in bare {
                let rate = outcome.rate;
                nothing.push(outcome, rate);
            }
        }
        Ok(Results {
            unit: work.unit(),
            series,
            load: machine::load(),
        })
    }

    /// One contender's turn; `None` if it failed, which is noted.
    fn turn(
        &self,
        contender: &dyn Contender,
        one: &mut Series,
        work: &mut dyn Work,
        account: bool,
    ) -> Result<Option<Outcome>> {
        interrupt::check()?;
        let running = match contender.start(work) {
            Ok(running) => running,
            Err(error) => {
                interrupt::check()?;
                one.failure = Some(format!("{error:#}"));
                return Ok(None);
            }
        };
        std::thread::sleep(self.settle);
        let outcome = work.run(self.quick)?;
        one.add_facts(&outcome);
        if account {
            one.account = Some(self.account(&*running, one, work)?);
        }
        interrupt::check()?;
        match running.finish() {
            Ok(report) => {
                one.add_report(report);
                Ok(Some(outcome))
            }
            Err(error) => {
                one.failure = Some(format!("{error:#}"));
                Ok(None)
            }
        }
    }

    /// What the tool uses while the workload runs again, with the kernel
    /// measuring.
    fn account(
        &self,
        running: &dyn Running,
        one: &mut Series,
        work: &mut dyn Work,
    ) -> Result<Account> {
        let pids = running.pids();
        let time = match one.role {
            Role::Observer => self.account,
            _ => self.account_others,
        };
        let measured = stats::enable()?;
        let begin = Instant::now();
        let before = Use::of(&pids);
        while begin.elapsed() < time {
            let outcome = work.run(self.quick)?;
            one.add_facts(&outcome);
            interrupt::check()?;
        }
        let after = Use::of(&pids);
        let seconds = begin.elapsed().as_secs_f64();
        drop(measured);
        Ok(after.since(&before, seconds))
    }
}

/// What processes have used so far.
struct Use {
    cpu: f64,
    ticks: (f64, f64),
    bpf: (f64, u64),
    resident: (f64, f64),
}

impl Use {
    /// A process that is gone counts nothing: its end is noticed elsewhere.
    fn of(pids: &[u32]) -> Self {
        let mut this = Self {
            cpu: 0.0,
            ticks: (0.0, 0.0),
            bpf: (0.0, 0),
            resident: (0.0, 0.0),
        };
        for pid in pids.iter().copied() {
            this.cpu += daemon::cpu_seconds(pid).unwrap_or(0.0);
            let (user, system) = daemon::user_and_system(pid).unwrap_or_default();
            this.ticks = (this.ticks.0 + user, this.ticks.1 + system);
            let (seconds, runs) = daemon::bpf(pid);
            this.bpf = (this.bpf.0 + seconds, this.bpf.1 + runs);
            let (now, peak) = daemon::resident(pid).unwrap_or_default();
            this.resident = (this.resident.0 + now, this.resident.1 + peak);
        }
        this
    }

    fn since(&self, before: &Self, seconds: f64) -> Account {
        let cpu = self.cpu - before.cpu;
        // The clock is exact, the ticks tell in which mode.
        let user = self.ticks.0 - before.ticks.0;
        let system = self.ticks.1 - before.ticks.1;
        let share = |ticks: f64| ticks / (user + system).max(1e-9) * cpu;
        Account {
            seconds,
            cpu,
            user: share(user),
            system: share(system),
            bpf: self.bpf.0 - before.bpf.0,
            bpf_runs: self.bpf.1.saturating_sub(before.bpf.1),
            resident: self.resident.0,
            peak: self.resident.1,
        }
    }
}
