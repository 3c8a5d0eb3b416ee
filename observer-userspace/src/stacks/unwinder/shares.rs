//! Whose part of the kernel half's processes and mappings is how large.

use std::collections::HashMap;

use observer_common::unwind::{MAPPINGS, PROCESSES};
use observer_common::workload::has_share;

use crate::foreign::{self, Tenant};

/// What is taken of one table.
#[derive(Debug)]
struct Table {
    name: &'static str,
    limit: u32,
    used: u64,
    of: HashMap<Tenant, u64>,
}

impl Table {
    fn new(name: &'static str, limit: u32) -> Self {
        Self {
            name,
            limit,
            used: 0,
            of: HashMap::new(),
        }
    }

    /// Whether there is room for `count` more of `tenant`; else says so.
    fn admits(&self, tenant: Tenant, count: u32) -> bool {
        let (limit, count) = (u64::from(self.limit), u64::from(count));
        let held = self.of.get(&tenant).copied().unwrap_or(0);
        let free = limit.saturating_sub(self.used);
        // As after all but the last of them.
        let before = count.saturating_sub(1);
        let admits = has_share(held + before, free.saturating_sub(before), limit);
        if !admits && foreign::refused(self.name, tenant) {
            tracing::warn!(
                "no room for more processes of {tenant} in the table {}: {held} of {limit} entries are its own, {} are used; stacks of its other processes are incomplete",
                self.name,
                self.used
            );
        }
        admits
    }

    fn take(&mut self, tenant: Tenant, count: u32) {
        self.used += u64::from(count);
        *self.of.entry(tenant).or_default() += u64::from(count);
    }

    fn give_back(&mut self, tenant: Tenant, count: u32) {
        self.used = self.used.saturating_sub(count.into());
        if let Some(held) = self.of.get_mut(&tenant) {
            *held = held.saturating_sub(count.into());
            if *held == 0 {
                self.of.remove(&tenant);
            }
        }
    }
}

/// Both tables.
#[derive(Debug)]
pub(super) struct Shares {
    mappings: Table,
    processes: Table,
}

impl Shares {
    /// Nothing is taken.
    pub(super) fn new() -> Self {
        Self {
            mappings: Table::new("unwind_mappings", MAPPINGS),
            processes: Table::new("unwind_processes", PROCESSES),
        }
    }

    /// Whether a list of so many mappings finds room.
    pub(super) fn admits_mappings(&self, tenant: Tenant, count: u32) -> bool {
        self.mappings.admits(tenant, count)
    }

    /// Whether one more process does.
    pub(super) fn admits_process(&self, tenant: Tenant) -> bool {
        self.processes.admits(tenant, 1)
    }

    /// A list of so many mappings is there.
    pub(super) fn take_mappings(&mut self, tenant: Tenant, count: u32) {
        self.mappings.take(tenant, count);
    }

    /// It is gone.
    pub(super) fn give_mappings_back(&mut self, tenant: Tenant, count: u32) {
        self.mappings.give_back(tenant, count);
    }

    /// A process is there.
    pub(super) fn take_process(&mut self, tenant: Tenant) {
        self.processes.take(tenant, 1);
    }

    /// It is gone.
    pub(super) fn give_process_back(&mut self, tenant: Tenant) {
        self.processes.give_back(tenant, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a flood of mappings and one of processes leave room for a victim that
    /// starts then, and that all is free when they are gone.
    #[test]
    fn floods_leave_room() {
        let (flood, victim) = (Tenant::User(60_001), Tenant::User(60_002));
        let mut shares = Shares::new();
        let mut lists = 0;
        while shares.admits_mappings(flood, 64) {
            shares.take_mappings(flood, 64);
            lists += 1;
        }
        assert!(lists * 64 >= MAPPINGS / 8 * 7 - 64, "{lists}");
        for _ in 0..20 {
            assert!(shares.admits_mappings(victim, 64));
            shares.take_mappings(victim, 64);
        }
        let mut processes = 0;
        while shares.admits_process(flood) {
            shares.take_process(flood);
            processes += 1;
        }
        assert!((PROCESSES / 8 * 7..PROCESSES).contains(&processes));
        assert!(shares.admits_process(victim));
        let told = foreign::refusals();
        for table in ["unwind_mappings", "unwind_processes"] {
            let is_it = |one: &observer_export::self_stats::Refused| {
                (one.table, &*one.tenant) == (table, "user 60001")
            };
            assert!(told.iter().any(is_it), "{table}: {told:?}");
        }
        for _ in 0..lists {
            shares.give_mappings_back(flood, 64);
        }
        for _ in 0..processes {
            shares.give_process_back(flood);
        }
        assert!(shares.admits_mappings(flood, 64) && shares.admits_process(flood));
    }
}
