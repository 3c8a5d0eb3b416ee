//! Which traces are kept, as decided at their beginning.

use rustc_hash::FxHashMap;

use crate::RemoteContext;

/// `OTEL_TRACES_SAMPLER` and its argument.
///
/// The decision is made once for a trace's spans on this host: at the first of
/// them, and all others inherit it. (The rule for errors and slow requests may
/// keep it after all, see [`super::tail`].)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Traces are kept whose last 56 bits are this or more.
    threshold: u64,
    /// A caller's decision counts, where there is one.
    by_parent: bool,
}

/// Why a sampler isn't one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SamplerError {
    /// None of OpenTelemetry's that are supported.
    #[error(
        "unknown sampler {0:?}: use always_on, always_off, traceidratio, parentbased_always_on, \
         parentbased_always_off or parentbased_traceidratio"
    )]
    Unknown(String),
    /// A ratio that is none.
    #[error("a sampler's argument must be a ratio from 0 to 1, not {0:?}")]
    Ratio(String),
}

/// Random bits of a trace id (W3C Trace Context level 2, 3.2.2.3).
const RANDOM: u64 = (1 << 56) - 1;

/// The random part of a trace id.
fn random(trace_id: &[u8; 16]) -> u64 {
    let mut last = [0; 8];
    last.copy_from_slice(&trace_id[8..]);
    u64::from_be_bytes(last) & RANDOM
}

impl Default for Sampler {
    /// OpenTelemetry's: `parentbased_always_on`.
    fn default() -> Self {
        Self {
            threshold: 0,
            by_parent: true,
        }
    }
}

impl Sampler {
    /// The sampler with a name of `OTEL_TRACES_SAMPLER` and, for ratios, the
    /// argument of `OTEL_TRACES_SAMPLER_ARG` (1 if it is missing).
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, SamplerError> {
        let (by_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let threshold = match root {
            "always_on" => 0,
            "always_off" => RANDOM + 1,
            "traceidratio" => {
                let text = argument.unwrap_or("1").trim();
                let wrong = || SamplerError::Ratio(text.to_owned());
                let ratio: f64 = text.parse().map_err(|_| wrong())?;
                if !(0.0..=1.0).contains(&ratio) {
                    return Err(wrong());
                }
                ((1.0 - ratio) * (RANDOM + 1) as f64).round() as u64
            }
            _ => return Err(SamplerError::Unknown(name.to_owned())),
        };
        Ok(Self {
            threshold,
            by_parent,
        })
    }

    /// Whether it keeps everything that begins here, so that there is nothing
    /// to decide later.
    fn keeps_all(&self) -> bool {
        self.threshold == 0
    }

    /// Whether it keeps nothing, errors included.
    fn keeps_none(&self) -> bool {
        self.threshold > RANDOM
    }

    fn head(&self, trace_id: &[u8; 16]) -> Decision {
        // OpenTelemetry's "ProbabilitySampler": kept if R >= T.
        if random(trace_id) >= self.threshold {
            Decision::Keep
        } else if self.keeps_none() {
            Decision::Drop
        } else {
            Decision::Wait
        }
    }
}

/// What happens with a trace's spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They are kept.
    Keep,
    /// They aren't, but for errors and slow requests.
    Wait,
    /// As [`Decision::Wait`], since there are too many.
    Limited,
    /// They aren't: the caller said so, or there is no sampling at all.
    Drop,
}

impl Decision {
    /// Whether a later one may be made.
    pub fn waits(self) -> bool {
        matches!(self, Self::Wait | Self::Limited)
    }
}

/// Traces that may begin in a second, by workload.
#[derive(Debug)]
struct Limit {
    rate: f64,
    burst: f64,
    /// Tokens left, and when that was.
    workloads: FxHashMap<u16, (f64, u64)>,
}

impl Limit {
    fn takes(&mut self, workload: u16, at: u64) -> bool {
        let (tokens, then) = self.workloads.entry(workload).or_insert((self.burst, at));
        let passed = at.saturating_sub(*then) as f64 / 1e9;
        *tokens = (*tokens + passed * self.rate).min(self.burst);
        *then = at.max(*then);
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

/// Decides.
#[derive(Debug)]
pub struct Sampling {
    sampler: Sampler,
    /// Of so many traces that are to be kept one is.
    share: u32,
    limit: Option<Limit>,
    /// The same for traces that are kept though they weren't to be.
    late: Option<Limit>,
}

impl Sampling {
    /// With `limit`: traces per second and workload, and how many at once.
    pub fn new(sampler: Sampler, limit: Option<(f64, f64)>) -> Self {
        let make = || {
            limit.map(|(rate, burst)| Limit {
                rate: rate.max(0.0),
                burst: burst.max(1.0),
                workloads: FxHashMap::default(),
            })
        };
        let (limit, late) = (make(), make());
        Self {
            sampler,
            share: 1,
            limit,
            late,
        }
    }

    /// Of so many traces that begin from now on and are to be kept one is; and
    /// errors and slow requests, as far as the limit lets them.
    pub fn keep_one_of(&mut self, traces: u32) {
        self.share = traces.max(1);
    }

    /// Whether spans may have to wait for a later decision.
    pub fn waits(&self) -> bool {
        let all_or_none = self.sampler.keeps_all() || self.sampler.keeps_none();
        self.limit.is_some() || self.share > 1 || !all_or_none
    }

    /// For a trace that begins on this host, or comes from a caller that leaves
    /// the decision open.
    pub fn root(&mut self, trace_id: &[u8; 16], workload: u16, at: u64) -> Decision {
        let decision = self.sampler.head(trace_id);
        let decision = self.shared(decision, self.sampler.threshold, trace_id);
        self.limited(decision, workload, at)
    }

    /// For a trace that a caller began.
    pub fn remote(&mut self, context: &RemoteContext, workload: u16, at: u64) -> Decision {
        let decision = match (context.sampled, self.sampler.by_parent) {
            (Some(true), true) => Decision::Keep,
            (Some(false), true) => Decision::Drop,
            (sampled, _) => match self.sampler.head(&context.trace_id) {
                // A caller that keeps nothing has no use for our part of it.
                Decision::Wait if sampled == Some(false) => Decision::Drop,
                decision => decision,
            },
        };
        let by_caller = self.sampler.by_parent && context.sampled.is_some();
        let threshold = if by_caller { 0 } else { self.sampler.threshold };
        let decision = self.shared(decision, threshold, &context.trace_id);
        self.limited(decision, workload, at)
    }

    /// What remains of a decision where only a share of the traces is kept that
    /// were to be, which are those from `threshold` on.
    fn shared(&self, decision: Decision, threshold: u64, trace_id: &[u8; 16]) -> Decision {
        let kept = (RANDOM + 1).saturating_sub(threshold) / u64::from(self.share);
        if decision == Decision::Keep && random(trace_id) < RANDOM + 1 - kept {
            Decision::Limited
        } else {
            decision
        }
    }

    /// Whether a trace that wasn't to be kept may be kept after all.
    pub fn late(&mut self, workload: u16, at: u64) -> bool {
        match &mut self.late {
            Some(late) => late.takes(workload, at),
            None => true,
        }
    }

    fn limited(&mut self, decision: Decision, workload: u16, at: u64) -> Decision {
        if let Some(limit) = &mut self.limit
            && decision == Decision::Keep
            && !limit.takes(workload, at)
        {
            return Decision::Limited;
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(sampling: &mut Sampling, traces: u32) -> u32 {
        let mut random = fastrand::Rng::with_seed(7);
        let ids = (0..traces).map(|_| random.u128(..).to_be_bytes());
        ids.filter(|id| sampling.root(id, 1, 0) == Decision::Keep)
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
        assert_eq!(sampling.root(&id, 1, 0), Decision::Keep);
        id[9] = 0xbf;
        id[8] = 0xff;
        assert_eq!(sampling.root(&id, 1, 0), Decision::Wait);
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
            sampling.keep_one_of(10);
            assert!(sampling.waits());
            let tenth = kept(&mut sampling, 100_000);
            assert!((tenth * 10).abs_diff(all) < all / 10, "{all} {tenth}");
            sampling.keep_one_of(1);
            assert_eq!(kept(&mut sampling, 100_000), all);
        }
        let mut sampling = Sampling::new(Sampler::default(), None);
        sampling.keep_one_of(100);
        let mut random = fastrand::Rng::with_seed(3);
        let mut decide = || {
            let context = RemoteContext {
                trace_id: random.u128(..).to_be_bytes(),
                span_id: [1; 8],
                sampled: Some(true),
            };
            sampling.remote(&context, 1, 0)
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
            let mut decide = |sampled| sampling.remote(&context(sampled), 1, 0);
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
        let mut count = |workload: u16, at: u64, n: u32| {
            let keep = |_: &u32| sampling.root(&[1; 16], workload, at) == Decision::Keep;
            (0..n).filter(keep).count()
        };
        assert_eq!(count(1, 1_000, 50), 10);
        assert_eq!(count(2, 1_000, 50), 10);
        assert_eq!(count(1, 50_001_000, 50), 5);
        assert_eq!(count(1, 60_000_000_000, 50), 10);
        // Time that goes back gives nothing.
        assert_eq!(count(1, 0, 50), 0);
    }
}
