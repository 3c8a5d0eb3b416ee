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

/// The `functions` hottest functions of each workload, busiest workload first.
/// `workload` says whose an index into [`Profile::resources`] is; samples of
/// nobody's are left out.
pub fn hottest<W: Ord>(
    profile: &Profile,
    functions: usize,
    workload: impl Fn(u32) -> Option<W>,
) -> Vec<Hot<W>> {
    let mut by_workload: BTreeMap<W, BTreeMap<String, u64>> = BTreeMap::new();
    for sample in &profile.samples {
        let Some(whose) = workload(sample.resource) else {
            continue;
        };
        let name = profile.leaf(sample.stack);
        *by_workload
            .entry(whose)
            .or_default()
            .entry(name)
            .or_default() += sample.value;
    }
    let mut hot: Vec<Hot<W>> = by_workload
        .into_iter()
        .map(|(workload, by_name)| {
            let total = by_name.values().sum();
            let mut by_name: Vec<_> = by_name.into_iter().collect();
            by_name.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            by_name.truncate(functions);
            Hot {
                workload,
                total,
                functions: by_name,
            }
        })
        .collect();
    // Stable: equals stay in the workloads' own order.
    hot.sort_by_key(|hot| std::cmp::Reverse(hot.total));
    hot
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
