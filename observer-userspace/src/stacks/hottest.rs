//! The hottest functions per workload, for people who look at a terminal.

use std::collections::HashMap;

use crate::signals::Profile;

/// A workload and where its CPU time went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hot {
    /// Index into [`Profile::resources`].
    pub resource: u32,
    /// Sum of its samples.
    pub total: u64,
    /// `(function, self value)`, hottest first: what was on top of the stack,
    /// inlined functions included.
    pub functions: Vec<(String, u64)>,
}

/// The `functions` hottest functions of each workload, busiest workload first.
pub fn hottest(profile: &Profile, functions: usize) -> Vec<Hot> {
    let mut by_resource: HashMap<u32, HashMap<String, u64>> = HashMap::new();
    for sample in &profile.samples {
        let leaf = profile
            .stack_table
            .get(sample.stack as usize)
            .and_then(|s| s.first());
        let name = leaf
            .and_then(|f| profile.calls(*f).next())
            .map_or_else(|| "[no stack]".to_owned(), |c| c.name.into_owned());
        let functions = by_resource.entry(sample.resource).or_default();
        *functions.entry(name).or_default() += sample.value;
    }
    let mut hot: Vec<Hot> = by_resource
        .into_iter()
        .map(|(resource, by_name)| {
            let total = by_name.values().sum();
            let mut by_name: Vec<_> = by_name.into_iter().collect();
            by_name.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            by_name.truncate(functions);
            Hot {
                resource,
                total,
                functions: by_name,
            }
        })
        .collect();
    hot.sort_by(|a, b| b.total.cmp(&a.total).then(a.resource.cmp(&b.resource)));
    hot
}
