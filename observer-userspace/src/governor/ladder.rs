//! The steps by which Observer does less, in the order in which they are taken:
//! first sampling rates, then spans, then what is done at each event. Counters
//! have no step.

use std::fmt;
use std::time::Duration;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many stack samples per second and CPU.
    Frequency(u32),
    /// Shorter times off CPU aren't profiled.
    OffCpuThreshold(Duration),
    /// Of so many traces that would be kept one is.
    Spans(u32),
    /// Of 2ⁿ exchanges one is followed.
    Requests(u32),
    /// Time off CPU isn't profiled.
    NoOffCpu,
    /// No request is followed.
    NoRequests,
    /// Syscalls are counted, but not timed.
    NoSyscallTimes,
    /// Run-queue latency isn't measured.
    NoRunQueue,
}

impl Step {
    /// Names of all steps, for metrics.
    pub const NAMES: [&'static str; 6] = [
        "stack_samples",
        "off_cpu",
        "spans",
        "requests",
        "syscall_duration",
        "run_queue",
    ];

    /// What it is about: one of [`Self::NAMES`].
    pub fn name(self) -> &'static str {
        Self::NAMES[match self {
            Self::Frequency(_) => 0,
            Self::OffCpuThreshold(_) | Self::NoOffCpu => 1,
            Self::Spans(_) => 2,
            Self::Requests(_) | Self::NoRequests => 3,
            Self::NoSyscallTimes => 4,
            Self::NoRunQueue => 5,
        }]
    }

    /// Whether it lowers what the daemon does now and then, beside what goes on
    /// all of the time: naming stacks.
    fn lowers_slow(self) -> bool {
        matches!(self, Self::Frequency(_) | Self::OffCpuThreshold(_))
    }
}

/// What there is to be done without.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attached {
    /// Stack samples per second and CPU, if there are any.
    pub frequency: Option<u32>,
    /// From which length on time off CPU is profiled, if it is.
    pub off_cpu: Option<Duration>,
    /// Whether spans leave.
    pub spans: bool,
    /// Whether requests are followed.
    pub requests: bool,
    /// Whether syscalls are timed.
    pub syscalls: bool,
    /// Whether run-queue latency is measured.
    pub run_queue: bool,
}

/// What is done, with some steps taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Stack samples per second and CPU.
    pub frequency: u32,
    /// Shorter times off CPU aren't profiled.
    pub off_cpu_threshold: Duration,
    /// Whether time off CPU is profiled.
    pub off_cpu: bool,
    /// Of so many traces that would be kept one is.
    pub spans: u32,
    /// Of 2ⁿ exchanges one is followed; `None`: none at all.
    pub requests: Option<u32>,
    /// Whether syscalls are timed.
    pub syscall_times: bool,
    /// Whether run-queue latency is measured.
    pub run_queue: bool,
}

impl Settings {
    /// With a step more.
    fn with(mut self, step: Step) -> Self {
        match step {
            Step::Frequency(hertz) => self.frequency = hertz,
            Step::OffCpuThreshold(threshold) => self.off_cpu_threshold = threshold,
            Step::NoOffCpu => self.off_cpu = false,
            Step::Spans(share) => self.spans = share,
            Step::Requests(shift) => self.requests = Some(shift),
            Step::NoRequests => self.requests = None,
            Step::NoSyscallTimes => self.syscall_times = false,
            Step::NoRunQueue => self.run_queue = false,
        }
        self
    }

    /// What is done of what a step is about, for people.
    pub fn describe(&self, step: Step) -> impl fmt::Display {
        match step {
            Step::Frequency(_) => format!("{} Hz", self.frequency),
            Step::OffCpuThreshold(_) | Step::NoOffCpu if !self.off_cpu => "none".to_owned(),
            Step::OffCpuThreshold(_) | Step::NoOffCpu => {
                format!("from {:?}", self.off_cpu_threshold)
            }
            Step::Spans(_) => share(self.spans),
            Step::Requests(_) | Step::NoRequests => match self.requests {
                Some(shift) => share(1 << shift),
                None => "none".to_owned(),
            },
            Step::NoSyscallTimes => on_or_off(self.syscall_times),
            Step::NoRunQueue => on_or_off(self.run_queue),
        }
    }
}

fn share(of: u32) -> String {
    match of {
        1 => "all".to_owned(),
        _ => format!("1 of {of}"),
    }
}

fn on_or_off(is_on: bool) -> String {
    if is_on { "on" } else { "off" }.to_owned()
}

/// What a step is about, for people.
pub fn subject(step: Step) -> &'static str {
    match step {
        Step::Frequency(_) => "stack samples per CPU",
        Step::OffCpuThreshold(_) | Step::NoOffCpu => "profiled times off CPU",
        Step::Spans(_) => "traces",
        Step::Requests(_) | Step::NoRequests => "followed requests",
        Step::NoSyscallTimes => "durations of syscalls",
        Step::NoRunQueue => "run-queue latency",
    }
}

/// All steps that there are, in order.
#[derive(Clone, Debug)]
pub struct Ladder {
    all: Settings,
    steps: Vec<Step>,
}

impl Ladder {
    /// The steps for what is attached.
    pub fn new(attached: Attached) -> Self {
        let all = Settings {
            frequency: attached.frequency.unwrap_or(0),
            off_cpu_threshold: attached.off_cpu.unwrap_or_default(),
            off_cpu: attached.off_cpu.is_some(),
            spans: 1,
            requests: attached.requests.then_some(0),
            syscall_times: attached.syscalls,
            run_queue: attached.run_queue,
        };
        let mut steps = Vec::new();
        // 49 Hz, 19 Hz, 7 Hz.
        if let Some(frequency) = attached.frequency {
            let mut lower = vec![frequency * 2 / 5, frequency / 7];
            lower.retain(|hertz| *hertz > 0);
            lower.dedup();
            steps.extend(lower.into_iter().map(Step::Frequency));
        }
        if let Some(threshold) = attached.off_cpu {
            let higher = [10, 100].map(Duration::from_millis);
            let higher = higher.into_iter().filter(|higher| *higher > threshold);
            steps.extend(higher.map(Step::OffCpuThreshold));
        }
        if attached.spans {
            steps.extend([Step::Spans(10), Step::Spans(100)]);
        }
        if attached.requests {
            steps.extend([Step::Requests(3), Step::Requests(6)]);
        }
        if attached.off_cpu.is_some() {
            steps.push(Step::NoOffCpu);
        }
        if attached.requests {
            steps.push(Step::NoRequests);
        }
        // Only now: time off CPU needs to know when a syscall begins, and when a
        // thread was woken. So do requests, even to be counted: a connection is
        // recognised by the bytes that a call took.
        if attached.syscalls && !attached.requests {
            steps.push(Step::NoSyscallTimes);
        }
        if attached.run_queue {
            steps.push(Step::NoRunQueue);
        }
        Self { all, steps }
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// So many of the first steps lower what is done now and then.
    pub fn slow_steps(&self) -> usize {
        let lowers = |step: &&Step| step.lowers_slow();
        self.steps.iter().take_while(lowers).count()
    }

    /// What is done with so many steps taken.
    pub fn settings(&self, level: usize) -> Settings {
        let taken = self.steps.iter().take(level);
        taken.fold(self.all, |settings, step| settings.with(*step))
    }

    /// The changes from one level to another, in their order: steps with what is
    /// done before and after.
    pub fn between(&self, from: usize, to: usize) -> Vec<(Step, Settings, Settings)> {
        let change = |level: usize, before: usize, after: usize| {
            let step = self.steps.get(level)?;
            Some((*step, self.settings(before), self.settings(after)))
        };
        if from < to {
            let up = (from..to).filter_map(|level| change(level, level, level + 1));
            up.collect()
        } else {
            let down = (to..from).rev();
            down.filter_map(|level| change(level, level + 1, level))
                .collect()
        }
    }

    /// What is done less with so many steps taken, for people: empty without
    /// any.
    pub fn summary(&self, level: usize) -> String {
        let settings = self.settings(level);
        let mut parts: Vec<(&str, String)> = Vec::new();
        for step in self.steps.iter().take(level) {
            let subject = subject(*step);
            parts.retain(|(other, _)| *other != subject);
            parts.push((subject, format!("{subject}: {}", settings.describe(*step))));
        }
        let parts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Ladder {
        Ladder::new(Attached {
            frequency: Some(49),
            off_cpu: Some(Duration::from_millis(1)),
            spans: true,
            requests: true,
            syscalls: true,
            run_queue: true,
        })
    }

    /// Checks the order: sampling rates, spans, single events.
    #[test]
    fn steps_are_in_order() {
        let ladder = everything();
        let ms = Duration::from_millis;
        assert_eq!(
            ladder.steps(),
            [
                Step::Frequency(19),
                Step::Frequency(7),
                Step::OffCpuThreshold(ms(10)),
                Step::OffCpuThreshold(ms(100)),
                Step::Spans(10),
                Step::Spans(100),
                Step::Requests(3),
                Step::Requests(6),
                Step::NoOffCpu,
                Step::NoRequests,
                Step::NoRunQueue,
            ]
        );
        assert_eq!(ladder.slow_steps(), 4);
    }

    /// Checks that syscalls lose their beginning and threads their waking only
    /// when nobody needs them, whatever is attached.
    #[test]
    fn what_others_need_goes_last() {
        for bits in 0..64_u32 {
            let has = |bit: u32| bits & 1 << bit != 0;
            let ladder = Ladder::new(Attached {
                frequency: has(0).then_some(99),
                off_cpu: has(1).then_some(Duration::ZERO),
                spans: has(2),
                requests: has(3),
                syscalls: has(4),
                run_queue: has(5),
            });
            for level in 0..=ladder.steps().len() {
                let settings = ladder.settings(level);
                if settings.syscall_times != has(4) || settings.run_queue != has(5) {
                    assert!(!settings.off_cpu && settings.requests.is_none());
                }
                assert!(settings.syscall_times == has(4) || !has(3));
            }
        }
    }

    /// Checks that only what there is becomes less, and rates never more.
    #[test]
    fn only_what_there_is() {
        assert!(Ladder::new(Attached::default()).steps().is_empty());
        let rates = |frequency| {
            let attached = Attached {
                frequency: Some(frequency),
                off_cpu: Some(Duration::from_millis(50)),
                ..Attached::default()
            };
            Ladder::new(attached).steps().to_vec()
        };
        let rest = [
            Step::OffCpuThreshold(Duration::from_millis(100)),
            Step::NoOffCpu,
        ];
        assert_eq!(rates(1), rest);
        assert_eq!(rates(3), [&[Step::Frequency(1)], &rest[..]].concat());
        let two = [Step::Frequency(399), Step::Frequency(142)];
        assert_eq!(rates(999), [&two, &rest[..]].concat());
    }

    /// Checks that the way back is the way there, turned around, and what people
    /// are told of it.
    #[test]
    fn the_way_back_is_the_same() {
        let ladder = everything();
        let there = ladder.between(2, 8);
        let mut back = ladder.between(8, 2);
        back.reverse();
        assert_eq!(there.len(), 6);
        for (there, back) in there.iter().zip(&back) {
            assert_eq!((there.0, there.1, there.2), (back.0, back.2, back.1));
        }
        assert!(ladder.between(3, 3).is_empty());
        let (step, before, after) = ladder.between(0, 1)[0];
        let told = format!(
            "{}: {} -> {}",
            subject(step),
            before.describe(step),
            after.describe(step)
        );
        assert_eq!(told, "stack samples per CPU: 49 Hz -> 19 Hz");
        assert_eq!(ladder.summary(0), "");
        assert_eq!(
            ladder.summary(7),
            "stack samples per CPU: 7 Hz, profiled times off CPU: from 100ms, traces: 1 of 100, \
             followed requests: 1 of 8"
        );
    }
}
