//! Which traces are kept, as decided at their beginning.

use observer_common::workload::WorkloadId;
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
    ///
    /// # Errors
    /// No sampler has that name, or the ratio is no number from 0 to 1.
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
    workloads: FxHashMap<WorkloadId, (f64, u64)>,
}

impl Limit {
    fn takes(&mut self, workload: WorkloadId, at: u64) -> bool {
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
    pub fn keep_one_in(&mut self, traces: u32) {
        self.share = traces.max(1);
    }

    /// Whether spans may have to wait for a later decision.
    pub fn waits(&self) -> bool {
        let all_or_none = self.sampler.keeps_all() || self.sampler.keeps_none();
        self.limit.is_some() || self.share > 1 || !all_or_none
    }

    /// For a trace that begins on this host, or comes from a caller that leaves
    /// the decision open.
    pub fn root(&mut self, trace_id: &[u8; 16], workload: WorkloadId, at: u64) -> Decision {
        let decision = self.sampler.head(trace_id);
        let decision = self.shared(decision, self.sampler.threshold, trace_id);
        self.limited(decision, workload, at)
    }

    /// For a trace that a caller began.
    pub fn remote(&mut self, context: &RemoteContext, workload: WorkloadId, at: u64) -> Decision {
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
    pub fn late(&mut self, workload: WorkloadId, at: u64) -> bool {
        match &mut self.late {
            Some(late) => late.takes(workload, at),
            None => true,
        }
    }

    /// Forgets a workload: it begins no more traces.
    pub fn retire(&mut self, gone: WorkloadId) {
        for limit in self.limit.iter_mut().chain(&mut self.late) {
            limit.workloads.remove(&gone);
        }
    }

    fn limited(&mut self, decision: Decision, workload: WorkloadId, at: u64) -> Decision {
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
mod tests;
