//! Whose a request is: how much of it each resource has.

use std::collections::BTreeMap;

use crate::delta::Delta;
use observer_signals::{Profile, Resource};

/// A resource that has more encoded bytes than this has requests of its own, so that it can
/// lose what it has without others' losing theirs.
pub const OWN_BYTES: usize = 64 << 10;

/// What a sample of a profile takes at least, with what it is made of.
const SAMPLE_BYTES: usize = 64;

/// Resources of a profile that have requests of their own.
pub fn large(profile: &Profile) -> Vec<u32> {
    let mut samples = BTreeMap::<u32, usize>::new();
    for sample in &profile.samples {
        *samples.entry(sample.resource).or_default() += 1;
    }
    samples.retain(|_, count| *count * SAMPLE_BYTES > OWN_BYTES);
    samples.into_keys().collect()
}

/// A resource, by a digest of its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Whose(u64);

impl Whose {
    /// The daemon itself, as far as somebody else encoded its metrics.
    pub const OWN: Self = Self(0);

    /// Of a resource.
    pub fn of(resource: &Resource) -> Self {
        Self(Delta::resource_key(resource) as u64)
    }
}

/// How many bytes of a request are whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares(Vec<(Whose, u64)>);

impl Shares {
    /// All is one resource's.
    pub fn one(whose: Whose) -> Self {
        Self(vec![(whose, 1)])
    }

    /// Adds bytes of a resource. (Of one that comes twice in a request, the last or not, both
    /// count.)
    pub fn add(&mut self, whose: Whose, bytes: usize) {
        self.0.push((whose, bytes as u64));
    }

    /// The same proportions of so many bytes, as many as the request takes in the end.
    pub fn scaled(mut self, bytes: usize) -> Self {
        let all: u64 = self.0.iter().map(|(_, bytes)| bytes).sum();
        for (_, part) in &mut self.0 {
            let scaled = u128::from(*part) * bytes as u128 / u128::from(all.max(1));
            *part = u64::try_from(scaled).unwrap_or(u64::MAX);
        }
        self
    }

    /// Each with its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Whose, u64)> {
        self.0.iter().copied()
    }

    /// The bytes of one.
    pub fn of(&self, whose: Whose) -> u64 {
        let its = self.iter().filter(|(other, _)| *other == whose);
        its.map(|(_, bytes)| bytes).sum()
    }

    /// Nobody has anything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
