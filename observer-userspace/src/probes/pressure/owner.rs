//! Whose a cgroup's figures are: the service's that is alone in it, else the host's.

use std::sync::Arc;

use observer_common::workload::WorkloadId;
use observer_signals::attribute::SharedResource;

use super::figures::Counters;

/// Whose they are, and since when.
#[derive(Debug)]
pub(super) struct Owner {
    resource: Option<SharedResource>,
    /// Anybody had them.
    is_known: bool,
    /// From when on they are counted (kernel time, ns).
    pub since: u64,
    /// What was said last, and when.
    told: Option<(Counters, u64)>,
}

impl Owner {
    /// Nobody's yet, and counted since then.
    pub(super) fn new(since: u64) -> Self {
        Self {
            resource: None,
            is_known: false,
            since,
            told: None,
        }
    }

    /// Whose they are now: that of the one resource which all `workloads` are of that are
    /// known, by one of them; `Some(None)`: of several, so the host's. `None`: nobody is
    /// known. Whoever has them from now on has what comes from now on: `base` is then set
    /// to what was said last.
    pub(super) fn settle(
        &mut self,
        workloads: &[WorkloadId],
        resource: &dyn Fn(WorkloadId) -> Option<SharedResource>,
        base: &mut Counters,
    ) -> Option<Option<WorkloadId>> {
        let known = workloads
            .iter()
            .filter_map(|id| Some((*id, resource(*id)?)));
        let mut known = known;
        let (first, its) = known.next()?;
        let alone = known.all(|(_, other)| Arc::ptr_eq(&its, &other));
        let now = alone.then_some(its);
        let same = match (&self.resource, &now) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if self.is_known
            && !same
            && let Some((counters, time)) = self.told.take()
        {
            (*base, self.since) = (counters, time);
        }
        self.is_known = true;
        self.resource = now;
        Some(self.resource.is_some().then_some(first))
    }

    /// These counts were said at `time`.
    pub(super) fn tell(&mut self, counters: &Counters, time: u64) {
        self.told = Some((counters.clone(), time));
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Counter;
    use super::*;
    use observer_signals::{Attribute, Resource};

    fn counters(kills: u64) -> Counters {
        let mut counters = Counters::default();
        counters.set(Counter::OomKill, Some(kills));
        counters
    }

    /// Checks that figures are a service's as long as it is alone, the host's else, that
    /// unknown workloads change nothing, and that nothing is said twice when they change
    /// hands.
    #[test]
    fn figures_change_hands() {
        let named = |name: &'static str| {
            SharedResource::new(Resource {
                attributes: vec![Attribute::new("service.name", name)],
            })
        };
        let (a, b) = (named("a"), named("b"));
        let resource = |id: WorkloadId| match id.0 {
            1 | 2 => Some(Arc::clone(&a)),
            3 => Some(Arc::clone(&b)),
            _ => None,
        };
        let ids = |ids: &[u32]| ids.iter().map(|id| WorkloadId(*id)).collect::<Vec<_>>();
        let (mut owner, mut base) = (Owner::new(5), counters(0));
        assert_eq!(owner.settle(&ids(&[4]), &resource, &mut base), None);
        let settled = owner.settle(&ids(&[4, 1, 2]), &resource, &mut base);
        assert_eq!(settled, Some(Some(WorkloadId(1))));
        owner.tell(&counters(3), 10);
        assert_eq!((owner.since, &base), (5, &counters(0)));
        let settled = owner.settle(&ids(&[1, 3]), &resource, &mut base);
        assert_eq!(settled, Some(None));
        assert_eq!((owner.since, &base), (10, &counters(3)));
        owner.tell(&counters(4), 20);
        owner.settle(&ids(&[3, 2]), &resource, &mut base);
        assert_eq!((owner.since, &base), (10, &counters(3)));
        let settled = owner.settle(&ids(&[3]), &resource, &mut base);
        assert_eq!(settled, Some(Some(WorkloadId(3))));
        assert_eq!((owner.since, &base), (20, &counters(4)));
    }
}
