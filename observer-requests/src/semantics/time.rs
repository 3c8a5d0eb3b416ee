//! Where a request's time went.

use observer_common::requests::{Component, ThreadClock};

use super::attributes::Attributes;
use crate::finished::Finished;
use crate::redact::Redacted;

/// The parts that are told, with what each is made of. Sleep is told by itself,
/// and within `other`, so that these six are all there is.
pub const PARTS: [(&str, &[Component]); 6] = [
    ("cpu", &[Component::Cpu]),
    ("run_queue", &[Component::RunQueue]),
    ("disk", &[Component::Disk]),
    ("lock", &[Component::Lock]),
    ("network", &[Component::Network]),
    ("other", &[Component::Sleep, Component::Other]),
];

/// Keys of the parts on spans, in the order of [`PARTS`].
const KEYS: [&str; 6] = [
    "observer.time.cpu",
    "observer.time.run_queue",
    "observer.time.disk",
    "observer.time.lock",
    "observer.time.network",
    "observer.time.other",
];

/// What of a clock went into `component`, in nanoseconds.
pub(crate) fn component_of(clock: &ThreadClock, component: Component) -> u64 {
    let [cpu, run_queue, disk, lock, network, sleep, other] = clock.time;
    match component {
        Component::Cpu => cpu,
        Component::RunQueue => run_queue,
        Component::Disk => disk,
        Component::Lock => lock,
        Component::Network => network,
        Component::Sleep => sleep,
        Component::Other => other,
    }
}

/// One part of a clock in nanoseconds.
pub fn part(clock: &ThreadClock, components: &[Component]) -> u64 {
    components.iter().fold(0, |sum: u64, component| {
        sum.saturating_add(component_of(clock, *component))
    })
}

/// Adds the times, in seconds, and the counts.
pub(super) fn describe(finished: &Finished, out: &mut Attributes) {
    let seconds = |ns: u64| ns as f64 / 1e9;
    if let Some(clock) = &finished.clock {
        for (key, (_, components)) in KEYS.into_iter().zip(PARTS) {
            out.put(key, seconds(part(clock, components)));
        }
        let sleep = part(clock, &[Component::Sleep]);
        out.put("observer.wait.sleep", seconds(sleep));
        out.put("observer.syscalls", clock.syscalls);
        out.put("observer.context_switches", clock.switches);
        out.put("observer.major_faults", clock.major_faults);
    }
    if finished.clock.is_some() || finished.retransmits > 0 {
        out.put("observer.retransmits", finished.retransmits);
    }
    if !finished.waited_for.is_empty() {
        let calls = &finished.waited_for;
        let names = calls.iter().map(|(whom, _)| Redacted::server(whom));
        let times = calls.iter().map(|(_, ns)| seconds(*ns));
        out.put("observer.downstream.names", names.collect::<Vec<_>>());
        out.put("observer.downstream.times", times.collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the parts are all of a clock, and named alike.
    #[test]
    fn parts_are_the_whole() {
        let clock = ThreadClock {
            time: [1, 2, 4, 8, 16, 32, 64],
            ..ThreadClock::default()
        };
        let sum: u64 = PARTS.iter().map(|(_, of)| part(&clock, of)).sum();
        assert_eq!(sum, clock.total());
        for (key, (name, _)) in KEYS.iter().zip(PARTS) {
            assert_eq!(*key, format!("observer.time.{name}"));
        }
    }
}
