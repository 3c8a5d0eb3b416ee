//! The hottest functions per workload, for people who look at a terminal.

use std::collections::BTreeMap;

use crate::Profile;

/// A workload and where its CPU time went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hot<W> {
    /// The workload, as the caller tells them apart.
    pub workload: W,
    /// Sum of its samples.
    pub total: u64,
    /// `(function, self value)`, hottest first: what was on top of the stack,
    /// inlined functions included.
    pub functions: Vec<(String, u64)>,
}

/// Self values by workload and function, of one profile or several.
#[derive(Clone, Debug)]
pub struct SelfTimes<W>(BTreeMap<W, BTreeMap<String, u64>>);

impl<W> Default for SelfTimes<W> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<W: Clone + Ord> SelfTimes<W> {
    /// Adds a profile. `workload` says whose an index into
    /// [`Profile::resources`] is; samples of nobody's are left out.
    pub fn add(&mut self, profile: &Profile, workload: impl Fn(u32) -> Option<W>) {
        for sample in &profile.samples {
            let Some(whose) = workload(sample.resource) else {
                continue;
            };
            let name = profile.leaf(sample.stack);
            let functions = self.0.entry(whose).or_default();
            *functions.entry(name).or_default() += sample.value;
        }
    }

    /// The `functions` hottest functions of each workload, busiest workload
    /// first.
    pub fn hottest(&self, functions: usize) -> Vec<Hot<W>> {
        let mut hot: Vec<Hot<W>> = self
            .0
            .iter()
            .map(|(workload, by_name)| {
                let mut by_name: Vec<_> = by_name.iter().collect();
                by_name.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
                let best = by_name.iter().take(functions);
                Hot {
                    workload: workload.clone(),
                    total: by_name.iter().map(|(_, value)| **value).sum(),
                    functions: best.map(|(name, n)| ((*name).clone(), **n)).collect(),
                }
            })
            .collect();
        // Stable: equals stay in the workloads' own order.
        hot.sort_by_key(|hot| std::cmp::Reverse(hot.total));
        hot
    }
}

/// The `functions` hottest functions of each workload of a profile, see
/// [`SelfTimes`].
pub fn hottest<W: Clone + Ord>(
    profile: &Profile,
    functions: usize,
    workload: impl Fn(u32) -> Option<W>,
) -> Vec<Hot<W>> {
    let mut times = SelfTimes::default();
    times.add(profile, workload);
    times.hottest(functions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::SharedResource;
    use crate::interner::Interner;
    use crate::profile::{Frame, Function, Line, Mapping, Sample};

    /// Checks that only the leaf is charged, per workload, and that addresses
    /// of a file without symbols count together.
    #[test]
    fn self_time_by_workload() {
        let mut i = Interner::new(Profile::default());
        let path = i.string("/usr/bin/gzip");
        let mapping = i.mapping(Mapping {
            path,
            ..Mapping::default()
        });
        let name = i.string("main");
        let function = i.function(Function {
            name,
            ..Function::default()
        });
        let main = i.frame(Frame {
            lines: vec![Line { function, line: 1 }],
            ..Frame::default()
        });
        let mut bare = |address| {
            i.frame(Frame {
                mapping,
                address,
                ..Frame::default()
            })
        };
        let stacks = [vec![bare(1), main], vec![bare(2), main], vec![main]];
        let resource = i.resource(&SharedResource::default());
        for (n, frames) in stacks.into_iter().enumerate() {
            let stack = i.stack(frames);
            i.sample(Sample {
                stack,
                pid: 1,
                tid: 1,
                thread: 0,
                process: 0,
                resource,
                wait: None,
                value: n as u64 + 1,
                link: None,
                route: 0,
            });
        }
        let hot = hottest(&i.finish(), 5, Some);
        let expected = [("gzip (no symbols)".to_owned(), 3), ("main".to_owned(), 3)];
        assert_eq!(hot.len(), 1);
        assert_eq!(
            (hot[0].total, hot[0].functions.as_slice()),
            (6, &expected[..])
        );
    }
}
