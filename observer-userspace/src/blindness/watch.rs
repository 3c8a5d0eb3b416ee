//! Judges, window by window, and remembers who is blind.

use std::collections::BTreeMap;

use observer_common::family::Family;

use super::{Unit, Witness};
use observer_signals::UnixNanos;

/// A family that doesn't see something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind {
    /// The family.
    pub family: Family,
    /// See [`Witness::what`].
    pub what: String,
    /// See [`Witness::source`].
    pub source: &'static str,
    /// See [`Witness::unit`].
    pub unit: Unit,
    /// What it saw since then.
    pub seen: u64,
    /// What the source counted since then.
    pub counted: u64,
    /// Begin of the window in which it was noticed.
    pub since: UnixNanos,
}

/// What a comparison found to be different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on it is blind.
    Begins(Blind),
    /// It sees again: with what it saw in the last window.
    Ends(Blind),
    /// There is nothing to compare any more.
    Gone(Blind),
}

/// All that is compared, and how it stands.
#[derive(Debug, Default)]
pub struct Watch {
    compared: BTreeMap<(Family, String), Compared>,
}

#[derive(Debug)]
struct Compared {
    /// Both counts, and the time, when the window began.
    seen: u64,
    counted: u64,
    since: UnixNanos,
    /// There were enough in a window.
    judged: bool,
    blind: Option<Blind>,
}

impl Watch {
    /// Takes all that can be compared of a family at the time `now`. What was
    /// compared before and isn't among it any more (a disk that was taken away, a
    /// program that was detached) is forgotten.
    pub fn compare(
        &mut self,
        family: Family,
        witnesses: &[Witness],
        now: UnixNanos,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for witness in witnesses {
            let key = (family, witness.what.clone().into_owned());
            let compared = self.compared.entry(key).or_insert(Compared {
                seen: witness.seen,
                counted: witness.counted,
                since: now,
                judged: false,
                blind: None,
            });
            changes.extend(compared.judge(family, witness, now));
        }
        let is_compared = |what: &str| witnesses.iter().any(|witness| witness.what == what);
        self.compared.retain(|(of, what), compared| {
            let stays = *of != family || is_compared(what);
            if !stays {
                changes.extend(compared.blind.take().map(Change::Gone));
            }
            stays
        });
        changes
    }

    /// All that was compared at least once, by family: whether it is blind to any
    /// of it.
    pub fn families(&self) -> BTreeMap<Family, bool> {
        let mut families = BTreeMap::new();
        for ((family, _), compared) in &self.compared {
            if compared.judged {
                *families.entry(*family).or_default() |= compared.blind.is_some();
            }
        }
        families
    }

    /// Who is blind, and to what.
    pub fn blind(&self) -> impl Iterator<Item = &Blind> {
        let compared = self.compared.values();
        compared.filter_map(|compared| compared.blind.as_ref())
    }
}

impl Compared {
    fn judge(&mut self, family: Family, witness: &Witness, now: UnixNanos) -> Option<Change> {
        let seen = witness.seen.saturating_sub(self.seen);
        let Some(counted) = witness.counted.checked_sub(self.counted) else {
            // It counts from zero again: another of the same name.
            self.begin(witness, now);
            return None;
        };
        if counted < witness.least.max(1) {
            return None;
        }
        let since = self.since;
        self.begin(witness, now);
        self.judged = true;
        if seen.saturating_mul(2) >= counted {
            let ended = self.blind.take()?;
            return Some(Change::Ends(Blind {
                seen,
                counted,
                since,
                ..ended
            }));
        }
        if let Some(blind) = &mut self.blind {
            blind.seen = blind.seen.saturating_add(seen);
            blind.counted = blind.counted.saturating_add(counted);
            return None;
        }
        let blind = Blind {
            family,
            what: witness.what.clone().into_owned(),
            source: witness.source,
            unit: witness.unit,
            seen,
            counted,
            since,
        };
        self.blind = Some(blind.clone());
        Some(Change::Begins(blind))
    }

    /// A window begins.
    fn begin(&mut self, witness: &Witness, now: UnixNanos) {
        self.seen = witness.seen;
        self.counted = witness.counted;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(what: &'static str, seen: u64, counted: u64) -> Witness {
        Witness {
            what: what.into(),
            source: "/proc/diskstats",
            unit: Unit::Events,
            seen,
            counted,
            least: 20,
        }
    }

    /// Compares one thing at a time; what came of it.
    fn one(watch: &mut Watch, seen: u64, counted: u64, now: UnixNanos) -> Vec<Change> {
        watch.compare(Family::Block, &[of("operations", seen, counted)], now)
    }

    /// Checks begin and end of a blindness, with the window in which each was
    /// noticed; counts that began at different times; and that going on says
    /// nothing.
    #[test]
    fn begins_and_ends() {
        let mut watch = Watch::default();
        assert_eq!(one(&mut watch, 1_000, 7, 1), []);
        assert_eq!(one(&mut watch, 1_100, 107, 2), []);
        assert_eq!(watch.families(), [(Family::Block, false)].into());
        let begun = one(&mut watch, 1_100, 207, 3);
        let [Change::Begins(blind)] = &*begun else {
            panic!("{begun:?}");
        };
        assert_eq!((blind.seen, blind.counted, blind.since), (0, 100, 2));
        assert_eq!(one(&mut watch, 1_140, 307, 4), []);
        let still: Vec<_> = watch.blind().map(|b| (b.seen, b.counted)).collect();
        assert_eq!(still, [(40, 200)]);
        assert_eq!(watch.families(), [(Family::Block, true)].into());
        let ended = one(&mut watch, 1_190, 407, 5);
        let [Change::Ends(seen)] = &*ended else {
            panic!("{ended:?}");
        };
        assert_eq!((seen.seen, seen.counted, seen.since), (50, 100, 4));
        assert_eq!(watch.blind().count(), 0);
    }

    /// Checks where half is: 10 of 20 are enough, 9 aren't; and that more than was
    /// counted is fine.
    #[test]
    fn half_is_enough() {
        for (seen, blind) in [(0, true), (9, true), (10, false), (20, false), (999, false)] {
            let mut watch = Watch::default();
            one(&mut watch, 0, 0, 0);
            let changes = one(&mut watch, seen, 20, 1);
            assert_eq!(!changes.is_empty(), blind, "{seen}");
        }
    }

    /// Checks that too few to judge add up until they are enough, that nothing is
    /// said of them before, and that one event is too few even for who wants none.
    #[test]
    fn few_add_up() {
        let mut watch = Watch::default();
        one(&mut watch, 0, 0, 1);
        for minute in 0..3 {
            assert_eq!(one(&mut watch, 0, 6 * minute, minute), []);
        }
        assert_eq!(watch.families(), BTreeMap::new());
        let begun = one(&mut watch, 0, 24, 9);
        let [Change::Begins(blind)] = &*begun else {
            panic!("{begun:?}");
        };
        assert_eq!((blind.counted, blind.since), (24, 1));
        let none = Witness {
            least: 0,
            ..of("operations", 0, 24)
        };
        assert_eq!(watch.compare(Family::Block, &[none], 10), []);
    }

    /// Checks that things are told apart, that one that is gone ends its
    /// blindness, and that other families don't mind.
    #[test]
    fn things_come_and_go() {
        let mut watch = Watch::default();
        let both = |n| [of("vda", n, n), of("vdb", 0, n)];
        watch.compare(Family::Block, &both(0), 0);
        watch.compare(Family::Tcp, &[of("segments", 0, 0)], 0);
        let changes = watch.compare(Family::Block, &both(50), 1);
        assert!(matches!(&*changes, [Change::Begins(b)] if b.what == "vdb"));
        assert_eq!(watch.compare(Family::Tcp, &[of("segments", 30, 30)], 1), []);
        assert_eq!(
            watch.families(),
            [(Family::Block, true), (Family::Tcp, false)].into()
        );
        let changes = watch.compare(Family::Block, &both(90)[..1], 2);
        assert!(matches!(&*changes, [Change::Gone(b)] if b.what == "vdb"));
        let expected = [(Family::Block, false), (Family::Tcp, false)];
        assert_eq!(watch.families(), expected.into());
    }

    /// Checks that a count that begins anew (a disk that was replaced, a CPU that
    /// was taken away) is no blindness, on either side.
    #[test]
    fn counts_that_fall() {
        let mut watch = Watch::default();
        one(&mut watch, 500, 500, 0);
        assert_eq!(one(&mut watch, 600, 3, 1), []);
        assert_eq!(one(&mut watch, 650, 53, 2), []);
        assert_eq!(watch.families(), [(Family::Block, false)].into());
    }
}
