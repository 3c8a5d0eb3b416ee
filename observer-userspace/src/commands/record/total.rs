//! Adding up what a recording took from the kernel, piece by piece.

use std::collections::HashMap;
use std::sync::Arc;

use observer_common::unwind::Outcome;

use crate::stacks::{RawProfile, RawSample, RawStack, Wait};
use observer_signals::RequestLink;

/// What makes two samples of one recording one.
type Key = (
    u32,
    u32,
    String,
    String,
    Arc<RawStack>,
    Outcome,
    Option<Wait>,
    Option<Arc<RequestLink>>,
);

/// Profiles of one kind, added up.
#[derive(Default)]
pub(super) struct Total {
    /// The sum.
    pub(super) raw: RawProfile,
    /// Where a sample is in it.
    index: HashMap<Key, usize>,
}

impl Total {
    /// Adds a piece.
    pub(super) fn add(&mut self, raw: RawProfile) {
        if self.raw.period == 0 {
            self.raw = RawProfile {
                samples: Vec::new(),
                duration: 0,
                ..raw
            };
        }
        self.raw.duration += raw.duration;
        for sample in raw.samples {
            self.add_sample(sample);
        }
    }

    fn add_sample(&mut self, sample: RawSample) {
        let key = (
            sample.pid,
            sample.tid,
            sample.thread.clone(),
            sample.process.clone(),
            sample.stack.clone(),
            sample.outcome,
            sample.wait,
            sample.request_link.clone(),
        );
        let known = self.index.get(&key);
        match known.and_then(|at| self.raw.samples.get_mut(*at)) {
            Some(known) => known.value += sample.value,
            None => {
                self.index.insert(key, self.raw.samples.len());
                self.raw.samples.push(sample);
            }
        }
    }
}
