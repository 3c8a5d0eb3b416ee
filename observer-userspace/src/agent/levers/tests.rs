//! Checks the ladder that the real levers make.

use std::time::Duration;

use super::{Attached, all};
use crate::governor::{Ladder, Lever};

fn levers(attached: Attached) -> Vec<Lever> {
    all(attached).iter().map(|lever| lever.lever()).collect()
}

fn everything() -> Attached {
    Attached {
        frequency: Some(49),
        off_cpu: Some(Duration::from_millis(1)),
        spans: true,
        requests: Some(0),
        syscalls: vec!["enter"],
        run_queue: true,
        datagrams: vec!["sent"],
    }
}

/// All steps: the lever's name, and what is done from then on.
fn steps(ladder: &Ladder) -> Vec<(&'static str, String)> {
    let changes = ladder.between(0, ladder.step_count());
    let steps = changes.iter().map(|change| {
        let lever = ladder.lever(change.lever).expect("a lever");
        (lever.name, lever.levels[change.after].clone())
    });
    steps.collect()
}

fn owned(steps: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let steps = steps
        .iter()
        .map(|(name, level)| (*name, (*level).to_owned()));
    steps.collect()
}

/// Checks the order: sampling rates, spans, single events.
#[test]
fn steps_are_in_order() {
    let ladder = Ladder::new(levers(everything()));
    let expected = [
        ("stack_samples", "19 Hz"),
        ("stack_samples", "7 Hz"),
        ("off_cpu", "from 10ms"),
        ("off_cpu", "from 100ms"),
        ("spans", "1 of 10"),
        ("spans", "1 of 100"),
        ("requests", "1 of 8"),
        ("requests", "1 of 64"),
        ("off_cpu", "none"),
        ("requests", "none"),
        ("run_queue", "off"),
        ("datagrams", "off"),
    ];
    assert_eq!(steps(&ladder), owned(&expected));
    assert_eq!(ladder.slow_steps(), 4);
}

/// Checks that syscalls lose their beginning and threads their waking only when
/// nobody needs them, whatever is attached.
#[test]
fn what_others_need_goes_last() {
    for bits in 0..64_u32 {
        let has = |bit: u32| bits & 1 << bit != 0;
        let ladder = Ladder::new(levers(Attached {
            frequency: has(0).then_some(99),
            off_cpu: has(1).then_some(Duration::ZERO),
            spans: has(2),
            requests: has(3).then_some(0),
            syscalls: has(4).then_some("enter").into_iter().collect(),
            run_queue: has(5),
            ..Attached::default()
        }));
        for taken in 0..=ladder.step_count() {
            // Whether there is such a lever and something is done of it.
            let on = |name: &str| {
                let mut levers = (0..).map_while(|n| Some((n, ladder.lever(n)?)));
                let found = levers.find(|(_, lever)| lever.name == name);
                found.is_some_and(|(n, lever)| {
                    let level = &lever.levels[ladder.level(n, taken)];
                    level != "off" && level != "none"
                })
            };
            let syscalls_off = has(4) && !has(3) && !on("syscall_duration");
            if syscalls_off || (has(5) && !on("run_queue")) {
                assert!(!on("off_cpu") && !on("requests"), "{bits} {taken}");
            }
            assert!(!has(3) || !on("syscall_duration"), "{bits} {taken}");
        }
    }
}

/// Checks that only what there is becomes less, and rates never more.
#[test]
fn only_what_there_is() {
    assert_eq!(Ladder::new(levers(Attached::default())).step_count(), 0);
    let rates = |frequency| {
        steps(&Ladder::new(levers(Attached {
            frequency: Some(frequency),
            off_cpu: Some(Duration::from_millis(50)),
            ..Attached::default()
        })))
    };
    let rest = [("off_cpu", "from 100ms"), ("off_cpu", "none")];
    assert_eq!(rates(1), owned(&rest));
    let one = [("stack_samples", "1 Hz")];
    assert_eq!(rates(3), owned(&[&one[..], &rest].concat()));
    let two = [("stack_samples", "399 Hz"), ("stack_samples", "142 Hz")];
    assert_eq!(rates(999), owned(&[&two[..], &rest].concat()));
}

/// Checks that the way back is the way there, turned around, and what people
/// are told of it.
#[test]
fn the_way_back_is_the_same() {
    let ladder = Ladder::new(levers(everything()));
    let there = ladder.between(2, 8);
    let mut back = ladder.between(8, 2);
    back.reverse();
    assert_eq!(there.len(), 6);
    for (there, back) in there.iter().zip(&back) {
        let turned = (back.lever, back.after, back.before);
        assert_eq!((there.lever, there.before, there.after), turned);
    }
    assert!(ladder.between(3, 3).is_empty());
    let first = ladder.between(0, 1)[0];
    let lever = ladder.lever(first.lever).expect("a lever");
    let (before, after) = (&lever.levels[first.before], &lever.levels[first.after]);
    let told = format!("{}: {before} -> {after}", lever.subject);
    assert_eq!(told, "stack samples per CPU: 49 Hz -> 19 Hz");
    assert_eq!(ladder.summary(0), "");
    assert_eq!(
        ladder.summary(7),
        "stack samples per CPU: 7 Hz, profiled times off CPU: from 100ms, traces: 1 of 100, \
         followed requests: 1 of 8"
    );
}
