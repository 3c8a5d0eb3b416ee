//! Finds circles of modules.
//!
//! A folder's modules are looked at by themselves, each with all that is below
//! it: so `a/x` that uses `b/y` while `b/z` uses `a/w` is a circle of `a` and `b`,
//! though no file of theirs is in one. A folder and what is in it may use each
//! other.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Arrow, Place};

/// Modules of one folder that use each other in a circle.
#[derive(Debug, PartialEq, Eq)]
pub struct Circle {
    /// The folder; empty = the crate.
    pub folder: Place,
    /// Which of its modules, sorted.
    pub modules: Vec<String>,
    /// The arrows between them.
    pub arrows: Vec<String>,
}

/// The arrows between the modules of a folder, each with what is below it.
pub fn between(
    arrows: &BTreeSet<Arrow>,
    folder: &[String],
) -> BTreeMap<(String, String), Vec<String>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for arrow in arrows {
        let within = |place: &Place| {
            let rest = place.strip_prefix(folder)?;
            rest.first().cloned()
        };
        if let (Some(from), Some(to)) = (within(&arrow.from), within(&arrow.to))
            && from != to
        {
            let told = format!(
                "{} uses {} ({})",
                arrow.from.join("::"),
                arrow.to.join("::"),
                arrow.at
            );
            found.entry((from, to)).or_default().push(told);
        }
    }
    found
}

/// All circles of a crate.
pub fn circles(arrows: &BTreeSet<Arrow>) -> Vec<Circle> {
    let mut folders: BTreeSet<Place> = BTreeSet::new();
    for arrow in arrows {
        for place in [&arrow.from, &arrow.to] {
            folders.extend((0..place.len()).map(|length| place[..length].to_vec()));
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        let arrows = between(arrows, &folder);
        let mut left: BTreeSet<&String> = arrows.keys().map(|(from, _)| from).collect();
        while let Some(first) = left.pop_first() {
            let there = reached(&arrows, first, |(from, to)| (from, to));
            let back = reached(&arrows, first, |(from, to)| (to, from));
            let circle: BTreeSet<_> = there.intersection(&back).copied().collect();
            if circle.is_empty() {
                continue;
            }
            left.retain(|name| !circle.contains(name));
            let mut told: Vec<_> = arrows
                .iter()
                .filter(|((from, to), _)| circle.contains(from) && circle.contains(to))
                .flat_map(|(_, told)| told.iter().cloned())
                .collect();
            told.sort();
            found.push(Circle {
                folder: folder.clone(),
                modules: circle.into_iter().cloned().collect(),
                arrows: told,
            });
        }
    }
    found
}

type Pair = (String, String);

/// Whom one comes to by at least one step; `ends` says which end of an arrow is its
/// beginning.
fn reached<'a>(
    arrows: &'a BTreeMap<Pair, Vec<String>>,
    from: &'a String,
    ends: impl Fn(&'a Pair) -> (&'a String, &'a String),
) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        for pair in arrows.keys() {
            let (begin, end) = ends(pair);
            if begin == name && reached.insert(end) {
                next.push(end);
            }
        }
    }
    reached
}
