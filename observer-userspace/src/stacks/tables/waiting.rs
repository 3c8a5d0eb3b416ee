//! Files whose tables are still to be built: tenants take turns, so that who has many
//! waits longer, and nobody else.

use std::collections::{BinaryHeap, VecDeque};

use super::message::Order;
use crate::foreign::Tenant;

/// Each tenant's own, smallest file first; whose turn it is comes first.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<(Tenant, BinaryHeap<Order>)>);

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, order: Order) {
        let mut lanes = self.0.iter_mut();
        match lanes.find(|(tenant, _)| *tenant == order.tenant) {
            Some((_, lane)) => lane.push(order),
            None => self.0.push_back((order.tenant, BinaryHeap::from([order]))),
        }
    }

    /// The next to be built.
    pub(super) fn pop(&mut self) -> Option<Order> {
        let (tenant, mut lane) = self.0.pop_front()?;
        let order = lane.pop();
        if !lane.is_empty() {
            self.0.push_back((tenant, lane));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::FileId;

    fn order(tenant: Tenant, length: u64) -> Order {
        Order {
            id: FileId {
                device: 1,
                mount: 0,
                inode: length,
                modified: (0, 0),
                changed: (0, 0),
                length,
            },
            likeness: None,
            file: tempfile::tempfile().expect("a file"),
            tenant,
        }
    }

    /// Checks that a victim's files come in their turn behind a flood of smaller ones, and
    /// each tenant's smallest first.
    #[test]
    fn tenants_take_turns() {
        let (flood, victim) = (Tenant::User(1), Tenant::User(2));
        let mut waiting = Waiting::default();
        for length in 1..=100 {
            waiting.push(order(flood, length));
        }
        waiting.push(order(victim, 2000));
        waiting.push(order(victim, 1000));
        let turns: Vec<_> = std::iter::from_fn(|| waiting.pop())
            .map(|order| (order.tenant, order.id.length))
            .collect();
        assert_eq!(turns.len(), 102);
        assert_eq!(
            turns[..4],
            [(flood, 1), (victim, 1000), (flood, 2), (victim, 2000)]
        );
        assert!(waiting.is_empty());
    }
}
