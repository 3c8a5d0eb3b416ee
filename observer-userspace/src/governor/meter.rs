//! What Observer costs: from clocks and the kernel half's run times to shares of
//! the host's CPU.

use std::collections::VecDeque;

use super::law::{Cost, SLOW_PERIODS};

/// What is done in so many first periods isn't counted as done now and then:
/// looking at what there is, once.
const START: u64 = 10;

/// The kernel half's run times are those of a moment: a period counts as much as
/// all before it together.
const LATEST: f64 = 0.5;

/// CPU time used so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    /// By all of the daemon's threads.
    pub process: f64,
    /// By the agent's thread.
    pub agent: f64,
}

impl Clocks {
    /// As they stand now; to be called on the agent's thread.
    pub fn read() -> Self {
        Self {
            process: cpu_time(libc::CLOCK_PROCESS_CPUTIME_ID),
            agent: cpu_time(libc::CLOCK_THREAD_CPUTIME_ID),
        }
    }
}

fn cpu_time(clock: libc::clockid_t) -> f64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::from_raw(clock));
    time.map_or(0.0, |time| {
        time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
    })
}

/// Adds up.
#[derive(Debug)]
pub struct Meter {
    last: Clocks,
    /// Seconds of the agent's thread in this period that were for what it does
    /// now and then.
    occasional: f64,
    /// Seconds for such things by period, the latest last.
    slow: VecDeque<f64>,
    /// CPUs that the kernel half takes, smoothed; `None`: nothing is known.
    bpf: Option<f64>,
    periods: u64,
}

impl Meter {
    /// Nothing is measured yet.
    pub fn new(now: Clocks) -> Self {
        Self {
            last: now,
            occasional: 0.0,
            slow: VecDeque::new(),
            bpf: None,
            periods: 0,
        }
    }

    /// `seconds` of the agent's time on CPU were for what it does now and then,
    /// not for what goes on all of the time.
    pub fn add_occasional(&mut self, seconds: f64) {
        self.occasional += seconds;
    }

    /// What the kernel half took so far says nothing of what it will take.
    pub fn forget_bpf(&mut self) {
        self.bpf = None;
    }

    /// A period of `length` seconds is over, on a host with so many CPUs. `bpf`
    /// is how many CPUs the kernel half took.
    pub fn end_period(&mut self, now: Clocks, length: f64, bpf: f64, cpus: usize) -> Cost {
        self.periods += 1;
        let length = length.max(1e-3);
        let all = (now.process - self.last.process).max(0.0);
        let agent = (now.agent - self.last.agent).max(0.0).min(all);
        self.last = now;
        let occasional = std::mem::take(&mut self.occasional).min(agent);
        let others = all - agent;
        // What the daemon's other threads do is never urgent.
        let slow = if self.periods <= START {
            0.0
        } else {
            (others + occasional) / length
        };
        if self.slow.len() == SLOW_PERIODS as usize {
            self.slow.pop_front();
        }
        self.slow.push_back(slow);
        let before = self.bpf.unwrap_or(bpf);
        let bpf = before + (bpf - before) * LATEST;
        self.bpf = Some(bpf);
        let cpus = cpus.max(1) as f64;
        let sum: f64 = self.slow.iter().sum();
        Cost {
            fast: (bpf + (agent - occasional) / length) / cpus,
            kernel: bpf / cpus,
            slow: sum / f64::from(SLOW_PERIODS) / cpus,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    /// Checks that all of the cost is there, as a share of the host: what goes
    /// on at once, the rest spread over time, and nothing twice.
    #[test]
    fn adds_up() {
        let mut meter = Meter::new(Clocks::default());
        let mut now = Clocks::default();
        let mut measured = Cost::default();
        for _ in 0..100 {
            now.process += 0.05;
            now.agent += 0.03;
            meter.add_occasional(0.01);
            measured = meter.end_period(now, 1.0, 0.2, 4);
        }
        // 0.2 + 0.02 at once, 0.03 now and then.
        assert!(close(measured.fast, 0.22 / 4.0));
        assert!(close(measured.slow, 0.03 / 4.0));
        assert!(close(measured.kernel, 0.05));
        assert!(close(measured.daemon(), 0.05 / 4.0));
    }

    /// Checks that a burst of what is done now and then is spread, that it is
    /// forgotten, and that the start isn't counted.
    #[test]
    fn spreads_bursts() {
        let mut meter = Meter::new(Clocks::default());
        let mut now = Clocks::default();
        let mut period = |meter: &mut Meter, others: f64| {
            now.process += others;
            meter.end_period(now, 1.0, 0.0, 1)
        };
        assert!(close(period(&mut meter, 2.0).total(), 0.0));
        for _ in 0..START {
            assert!(close(period(&mut meter, 0.0).total(), 0.0));
        }
        let cost = period(&mut meter, 0.3);
        assert!(close(cost.fast, 0.0) && close(cost.slow, 0.01));
        for _ in 1..SLOW_PERIODS {
            assert!(close(period(&mut meter, 0.0).slow, 0.01));
        }
        assert!(close(period(&mut meter, 0.0).slow, 0.0));
    }

    /// Checks that the kernel half's part is smoothed, and that it isn't when
    /// what it does changes.
    #[test]
    fn smooths_run_times() {
        let mut meter = Meter::new(Clocks::default());
        let bpf = |meter: &mut Meter, now: f64| {
            let measured = meter.end_period(Clocks::default(), 1.0, now, 1);
            assert!(close(measured.fast, measured.kernel));
            measured.kernel
        };
        assert!(close(bpf(&mut meter, 0.4), 0.4));
        assert!(close(bpf(&mut meter, 0.2), 0.3));
        assert!(close(bpf(&mut meter, 0.1), 0.2));
        meter.forget_bpf();
        assert!(close(bpf(&mut meter, 0.1), 0.1));
    }

    /// Checks that the clocks go on when this thread works.
    #[test]
    fn clocks_go() {
        let begin = Clocks::read();
        let mut spin = 0_u64;
        let end = loop {
            spin = std::hint::black_box(spin + 1);
            let now = Clocks::read();
            if now.agent > begin.agent + 0.01 {
                break now;
            }
        };
        assert!(end.process >= begin.process + 0.01);
    }
}
