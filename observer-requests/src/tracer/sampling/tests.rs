use super::*;
use observer_common::workload::WorkloadId;

fn kept(sampling: &mut Sampling, traces: u32) -> u32 {
    let mut random = fastrand::Rng::with_seed(7);
    let ids = (0..traces).map(|_| random.u128(..).to_be_bytes());
    ids.filter(|id| sampling.root(id, WorkloadId(1), 0) == Decision::Keep)
        .count() as u32
}

/// Checks names and arguments of samplers, and what is refused.
#[test]
fn parses() {
    for (name, argument, expected) in [
        ("always_on", None, 1000),
        ("always_off", None, 0),
        ("parentbased_always_on", Some("0.1"), 1000),
        ("parentbased_always_off", None, 0),
        ("traceidratio", Some("0"), 0),
        ("traceidratio", None, 1000),
        ("parentbased_traceidratio", Some("1.0"), 1000),
    ] {
        let sampler = Sampler::parse(name, argument).unwrap();
        let mut sampling = Sampling::new(sampler, None);
        assert_eq!(kept(&mut sampling, 1000), expected, "{name}");
        assert!(!sampling.waits());
    }
    assert_eq!(
        Sampler::parse("parentbased_always_on", None),
        Ok(Sampler::default())
    );
    for ratio in ["-0.1", "1.1", "NaN", "x", ""] {
        let error = Sampler::parse("traceidratio", Some(ratio));
        assert_eq!(error, Err(SamplerError::Ratio(ratio.to_owned())));
    }
    for name in ["", "xray", "parentbased_", "parentbased_jaeger_remote"] {
        let error = Sampler::parse(name, None);
        assert_eq!(error, Err(SamplerError::Unknown(name.to_owned())));
    }
}

/// Checks that a ratio keeps that share of traces, the same ones every
/// time, those of a smaller ratio among them, by the last 56 bits.
#[test]
fn keeps_a_ratio() {
    for ratio in [0.01_f64, 0.1, 0.5] {
        let text = ratio.to_string();
        let sampler = Sampler::parse("traceidratio", Some(&text)).unwrap();
        let mut sampling = Sampling::new(sampler, None);
        let n = 100_000.0;
        let (found, expected) = (f64::from(kept(&mut sampling, n as u32)), n * ratio);
        let deviation = (n * ratio * (1.0 - ratio)).sqrt();
        assert!(
            (found - expected).abs() < 5.0 * deviation,
            "{ratio}: {found}"
        );
    }
    let sampler = Sampler::parse("traceidratio", Some("0.25")).unwrap();
    let mut sampling = Sampling::new(sampler, None);
    let mut id = [0; 16];
    id[9] = 0xc0;
    assert_eq!(sampling.root(&id, WorkloadId(1), 0), Decision::Keep);
    id[9] = 0xbf;
    id[8] = 0xff;
    assert_eq!(sampling.root(&id, WorkloadId(1), 0), Decision::Wait);
}

/// Checks that of what is to be kept, by whomever, a share can be kept, and
/// that the rest may still be kept for errors and slowness.
#[test]
fn keeps_a_share() {
    for (name, ratio) in [("always_on", 1.0), ("traceidratio", 0.5)] {
        let text = ratio.to_string();
        let sampler = Sampler::parse(name, Some(&text)).unwrap();
        let mut sampling = Sampling::new(sampler, None);
        let all = kept(&mut sampling, 100_000);
        sampling.keep_one_in(10);
        assert!(sampling.waits());
        let tenth = kept(&mut sampling, 100_000);
        assert!((tenth * 10).abs_diff(all) < all / 10, "{all} {tenth}");
        sampling.keep_one_in(1);
        assert_eq!(kept(&mut sampling, 100_000), all);
    }
    let mut sampling = Sampling::new(Sampler::default(), None);
    sampling.keep_one_in(100);
    let mut random = fastrand::Rng::with_seed(3);
    let mut decide = || {
        let context = RemoteContext {
            trace_id: random.u128(..).to_be_bytes(),
            span_id: [1; 8],
            sampled: Some(true),
        };
        sampling.remote(&context, WorkloadId(1), 0)
    };
    let decisions: Vec<_> = (0..10_000).map(|_| decide()).collect();
    let keep = decisions.iter().filter(|d| **d == Decision::Keep).count();
    assert!((60..140).contains(&keep), "{keep}");
    let rest = decisions.iter().filter(|d| **d != Decision::Keep);
    assert!(rest.into_iter().all(|d| *d == Decision::Limited));
}

/// Checks that a caller's decision is obeyed where it should be.
#[test]
fn obeys_parents() {
    let context = |sampled| RemoteContext {
        trace_id: [1; 16],
        span_id: [1; 8],
        sampled,
    };
    for (name, argument, yes, no, open) in [
        (
            "always_on",
            None,
            Decision::Keep,
            Decision::Keep,
            Decision::Keep,
        ),
        (
            "always_off",
            None,
            Decision::Drop,
            Decision::Drop,
            Decision::Drop,
        ),
        (
            "traceidratio",
            Some("0.01"),
            Decision::Wait,
            Decision::Drop,
            Decision::Wait,
        ),
        (
            "parentbased_always_on",
            None,
            Decision::Keep,
            Decision::Drop,
            Decision::Keep,
        ),
        (
            "parentbased_always_off",
            None,
            Decision::Keep,
            Decision::Drop,
            Decision::Drop,
        ),
        (
            "parentbased_traceidratio",
            Some("0.01"),
            Decision::Keep,
            Decision::Drop,
            Decision::Wait,
        ),
    ] {
        let mut sampling = Sampling::new(Sampler::parse(name, argument).unwrap(), None);
        let mut decide = |sampled| sampling.remote(&context(sampled), WorkloadId(1), 0);
        assert_eq!(decide(Some(true)), yes, "{name}");
        assert_eq!(decide(Some(false)), no, "{name}");
        assert_eq!(decide(None), open, "{name}");
    }
}

/// Checks that a workload's traces are limited to its rate and burst, and
/// that another's aren't touched by it.
#[test]
fn limits() {
    let mut sampling = Sampling::new(Sampler::default(), Some((100.0, 10.0)));
    assert!(sampling.waits());
    let mut count = |workload: WorkloadId, at: u64, n: u32| {
        let keep = |_: &u32| sampling.root(&[1; 16], workload, at) == Decision::Keep;
        (0..n).filter(keep).count()
    };
    assert_eq!(count(WorkloadId(1), 1_000, 50), 10);
    assert_eq!(count(WorkloadId(2), 1_000, 50), 10);
    assert_eq!(count(WorkloadId(1), 50_001_000, 50), 5);
    assert_eq!(count(WorkloadId(1), 60_000_000_000, 50), 10);
    // Time that goes back gives nothing.
    assert_eq!(count(WorkloadId(1), 0, 50), 0);
}
