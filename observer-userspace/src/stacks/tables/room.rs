//! Which tables make room for another. Pure.
//!
//! Those that nobody used lately go first, whoever's they are. Where all are in use, who
//! has most makes room for who has less: so what one tenant maps costs that tenant only.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::foreign::Tenant;

/// A table that was used in this time only makes room for somebody who has less: whoever
/// needs more tables at once than there is room for is better off with some than with a
/// change of all.
pub(super) const IN_USE: Duration = Duration::from_secs(10);

/// A table that may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// For whom it was built first.
    pub(super) tenant: Tenant,
    /// What it takes.
    pub(super) size: u64,
    /// How long it wasn't used.
    pub(super) idle: Duration,
}

/// The places in `held` of those that must go for `wanted` to be free where `free` is, for
/// one more of `tenant`; `None` if there is no room for it.
pub(super) fn find(held: &[Held], free: u64, tenant: Tenant, wanted: u64) -> Option<Vec<usize>> {
    let mut has: BTreeMap<Tenant, u64> = BTreeMap::new();
    for one in held {
        *has.entry(one.tenant).or_default() += one.size;
    }
    let mut left: Vec<(usize, &Held)> = held.iter().enumerate().collect();
    // The last are those that weren't used for longest.
    left.sort_by_key(|(_, one)| (one.idle, one.size));
    let (mut free, mut gone) = (free, Vec::new());
    while free < wanted {
        let is_idle = |(_, one): &(usize, &Held)| one.idle >= IN_USE;
        let last = match left.last().is_some_and(is_idle) {
            true => left.pop(),
            false => {
                let most = has.iter().max_by_key(|(_, size)| **size);
                let (greediest, most) = most?;
                let own = has.get(&tenant).copied().unwrap_or(0);
                if *greediest == tenant || *most <= own.saturating_add(wanted) {
                    return None;
                }
                let theirs = |(_, one): &(usize, &Held)| one.tenant == *greediest;
                let place = left.iter().rposition(theirs)?;
                Some(left.remove(place))
            }
        };
        let (place, one) = last?;
        free += one.size;
        if let Some(size) = has.get_mut(&one.tenant) {
            *size = size.saturating_sub(one.size);
        }
        gone.push(place);
    }
    Some(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOD: Tenant = Tenant::User(1000);
    const VICTIM: Tenant = Tenant::User(1001);
    const LIMIT: u64 = 100;

    fn held(tenant: Tenant, size: u64, idle: u64) -> Held {
        let idle = Duration::from_secs(idle);
        Held { tenant, size, idle }
    }

    /// Has tenants ask for tables in turn, each as long as it may; returns how much each
    /// has in the end.
    fn after(asking: &[(Tenant, u64)]) -> Vec<u64> {
        let mut tables: Vec<Held> = Vec::new();
        for _ in 0..200 {
            for (tenant, size) in asking {
                let used: u64 = tables.iter().map(|one| one.size).sum();
                let Some(mut gone) = find(&tables, LIMIT - used, *tenant, *size) else {
                    continue;
                };
                gone.sort_unstable();
                for place in gone.into_iter().rev() {
                    tables.remove(place);
                }
                tables.push(held(*tenant, *size, 0));
                let used: u64 = tables.iter().map(|one| one.size).sum();
                assert!(used <= LIMIT);
            }
        }
        let of = |tenant| tables.iter().filter(move |one| one.tenant == tenant);
        let sum = |(tenant, _): &(Tenant, u64)| of(*tenant).map(|one| one.size).sum();
        asking.iter().map(sum).collect()
    }

    /// Checks that who floods the room alone has it all, that a victim that starts then has
    /// what it needs, and that two who want everything have half each.
    #[test]
    fn floods_make_room() {
        assert_eq!(after(&[(FLOOD, 1)]), [LIMIT]);
        let full: Vec<Held> = (0..LIMIT).map(|_| held(FLOOD, 1, 0)).collect();
        let gone = find(&full, 0, VICTIM, 40).expect("room");
        assert_eq!(gone.len(), 40);
        assert_eq!(find(&full, 0, FLOOD, 1), None);
        assert_eq!(
            find(&full, 0, VICTIM, 60),
            None,
            "more than the flood has then"
        );
        let halves = after(&[(FLOOD, 1), (VICTIM, 1)]);
        assert!(
            halves.iter().all(|has| (49..=51).contains(has)),
            "{halves:?}"
        );
        let many = after(&[(FLOOD, 1), (Tenant::User(1), 3), (Tenant::Host, 7)]);
        assert!(many.iter().all(|has| (24..=45).contains(has)), "{many:?}");
    }

    /// Checks that what isn't used goes first, the longest unused first, whoever's it is,
    /// also for somebody who has more.
    #[test]
    fn unused_go_first() {
        let tables = [
            held(VICTIM, 10, 60),
            held(FLOOD, 80, 0),
            held(VICTIM, 10, 90),
        ];
        assert_eq!(find(&tables, 0, FLOOD, 10), Some(vec![2]));
        assert_eq!(find(&tables, 0, FLOOD, 20), Some(vec![2, 0]));
        assert_eq!(find(&tables, 0, FLOOD, 21), None);
        assert_eq!(find(&tables, 5, FLOOD, 5), Some(vec![]));
    }
}
