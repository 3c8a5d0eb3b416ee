//! The resources of workloads, each in memory once.

use std::collections::HashMap;
use std::sync::Arc;

use observer_signals::Resource;
use observer_signals::attribute::SharedResource;

/// Resources and how many workloads are of each.
#[derive(Debug, Default)]
pub(super) struct Resources(HashMap<u64, Vec<(SharedResource, usize)>>);

impl Resources {
    /// An equal resource that is there already, or this one, for one more workload.
    pub(super) fn take(&mut self, resource: Resource) -> SharedResource {
        let alike = self.0.entry(resource.digest()).or_default();
        if let Some((known, users)) = alike.iter_mut().find(|(known, _)| **known == resource) {
            *users += 1;
            return Arc::clone(known);
        }
        let resource = Arc::new(resource);
        alike.push((Arc::clone(&resource), 1));
        resource
    }

    /// One of its workloads is no more.
    pub(super) fn let_go(&mut self, resource: &SharedResource) {
        let digest = resource.digest();
        let Some(alike) = self.0.get_mut(&digest) else {
            return;
        };
        for (known, users) in alike.iter_mut() {
            *users -= usize::from(Arc::ptr_eq(known, resource));
        }
        alike.retain(|(_, users)| *users > 0);
        if alike.is_empty() {
            self.0.remove(&digest);
        }
    }

    /// How many workloads are of this very resource.
    pub(super) fn users(&self, resource: &SharedResource) -> usize {
        let alike = self.0.get(&resource.digest());
        let is_it = |(known, _): &&(SharedResource, usize)| Arc::ptr_eq(known, resource);
        let found = alike.into_iter().flatten().find(is_it);
        found.map_or(0, |(_, users)| *users)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_signals::Attribute;

    /// Checks that equal resources are one as long as somebody is of it, and that nothing
    /// is left afterwards.
    #[test]
    fn each_is_there_once() {
        let mut resources = Resources::default();
        let named = |name: &'static str| Resource {
            attributes: vec![Attribute::new("service.name", name)],
        };
        let (a, b) = (resources.take(named("a")), resources.take(named("b")));
        let again = resources.take(named("a"));
        assert!(Arc::ptr_eq(&a, &again) && !Arc::ptr_eq(&a, &b));
        assert_eq!((resources.users(&a), resources.users(&b)), (2, 1));
        // An equal one of somebody else.
        assert_eq!(resources.users(&Arc::new(named("a"))), 0);
        resources.let_go(&a);
        resources.let_go(&b);
        assert_eq!((resources.users(&a), resources.users(&b)), (1, 0));
        resources.let_go(&a);
        resources.let_go(&a);
        assert!(resources.0.is_empty());
    }
}
