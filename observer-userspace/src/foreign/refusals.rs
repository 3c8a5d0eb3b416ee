//! Who found no room in what all share: for metrics and the log.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use observer_export::self_stats::Refused;
use observer_signals::outside::{LONGEST_NAME, one_line};

/// Tenants that are told apart in each table. What comes after them is `other`'s.
const TENANTS: usize = 64;
const OTHER: &str = "other";

/// At most one line in this time about one tenant in one table.
const QUIET: Duration = Duration::from_secs(60);

/// How often one was refused, and when that was said last.
#[derive(Debug)]
struct Count {
    refused: u64,
    said: Instant,
}

/// By table, by tenant.
#[derive(Debug)]
struct Refusals(BTreeMap<&'static str, BTreeMap<String, Count>>);

static ALL: Mutex<Refusals> = Mutex::new(Refusals(BTreeMap::new()));

impl Refusals {
    /// Counts so many; returns whether it should be said.
    fn add(&mut self, table: &'static str, tenant: String, times: u64, now: Instant) -> bool {
        let tenants = self.0.entry(table).or_default();
        let is_known = tenants.contains_key(&tenant);
        let tenant = match is_known || tenants.len() < TENANTS {
            true => tenant,
            false => OTHER.to_owned(),
        };
        let mut is_new = false;
        let count = tenants.entry(tenant).or_insert_with(|| {
            is_new = true;
            Count {
                refused: 0,
                said: now,
            }
        });
        count.refused += times;
        let is_time = is_new || now.duration_since(count.said) >= QUIET;
        if is_time {
            count.said = now;
        }
        is_time
    }

    fn told(&self) -> Vec<Refused> {
        let of = |(table, tenants): (&&'static str, &BTreeMap<String, Count>)| {
            let table = *table;
            let told = tenants.iter().map(move |(tenant, count)| Refused {
                table,
                tenant: tenant.clone(),
                count: count.refused,
            });
            told.collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }
}

/// Counts that `tenant` found no room in a table; returns whether that should be said in
/// the log: at first, and then once a minute.
pub(crate) fn refused(table: &'static str, tenant: impl Display) -> bool {
    refused_times(table, tenant, 1)
}

/// The same of several times.
pub(crate) fn refused_times(table: &'static str, tenant: impl Display, times: u64) -> bool {
    let tenant = one_line(tenant, LONGEST_NAME);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.add(table, tenant, times, Instant::now())
}

/// Who was refused how often, since the start.
pub(crate) fn refusals() -> Vec<Refused> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner).told()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each tenant's refusals are told apart in each table, that who makes up
    /// tenants takes no more memory, and that one is said once a minute.
    #[test]
    fn refusals_are_told_by_tenant() {
        let mut all = Refusals(BTreeMap::new());
        let now = Instant::now();
        assert!(all.add("a", "user 7".into(), 1, now));
        assert!(!all.add("a", "user 7".into(), 1, now));
        assert!(all.add("b", "user 7".into(), 1, now));
        assert!(all.add("a", "user 7".into(), 1, now + QUIET));
        for user in 0..1000 {
            all.add("a", format!("user 1{user}"), 1, now);
        }
        let told = all.told();
        let of = |table, tenant: &str| {
            let is_it = |one: &&Refused| one.table == table && one.tenant == tenant;
            told.iter().find(is_it).map(|one| one.count)
        };
        assert_eq!(of("a", "user 7"), Some(3));
        assert_eq!(of("b", "user 7"), Some(1));
        assert_eq!(told.len(), TENANTS + 2);
        assert_eq!(of("a", OTHER), Some(1001 - TENANTS as u64));
    }
}
