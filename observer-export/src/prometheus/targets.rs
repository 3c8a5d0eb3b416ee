//! `job` and `instance`: whose a series is.
//!
//! OpenTelemetry ("Prometheus and OpenMetrics Compatibility", "Resource Attributes") takes
//! `job` from `service.namespace` and `service.name`, and `instance` from
//! `service.instance.id`. Few processes declare the latter. One endpoint tells of all
//! services of a host, so where it is missing an instance is made of what is known: the
//! host, and the container, pod, unit or program. Where two resources would have the same
//! all the same, the later one has a number made of its attributes behind it; so two series
//! are never one, and a series keeps its name for as long as it is there.

use std::collections::HashMap;

use observer_signals::Resource;
use observer_signals::attribute::SharedResource;

use super::Snapshot;

/// Whose a series is. Both are missing of the host's own: there Prometheus says which
/// endpoint it asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// The service.
    pub job: Option<String>,
    /// Which of its instances.
    pub instance: Option<String>,
}

impl Target {
    /// What a resource alone says.
    fn of(resource: &Resource) -> Self {
        let get = |key| get(resource, key);
        let Some(name) = get("service.name") else {
            return Self::default();
        };
        let job = match get("service.namespace") {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        };
        let declared = get("service.instance.id").map(str::to_owned);
        Self {
            job: Some(job),
            instance: declared.or_else(|| made(resource)),
        }
    }
}

fn get<'a>(resource: &'a Resource, key: &str) -> Option<&'a str> {
    resource.get_str(key).filter(|value| !value.is_empty())
}

/// An instance of what else is known; of a pod as OpenTelemetry's conventions compute it.
fn made(resource: &Resource) -> Option<String> {
    let get = |key| get(resource, key);
    let pod = get("k8s.pod.name").map(|pod| {
        let parts = [
            get("k8s.namespace.name"),
            Some(pod),
            get("k8s.container.name"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(".")
    });
    let place = pod.or_else(|| {
        let keys = [
            "container.id",
            "systemd.unit.name",
            "process.executable.name",
        ];
        keys.into_iter().find_map(get).map(str::to_owned)
    });
    let parts: Vec<String> = get("host.name")
        .map(str::to_owned)
        .into_iter()
        .chain(place)
        .collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// A number that resources of the same attributes have in common, and few others, in
/// whatever order those are.
fn key(resource: &Resource) -> u64 {
    let mut attributes = resource.attributes.clone();
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    Resource { attributes }.digest()
}

/// Who is called what, for as long as they are there.
#[derive(Debug, Default)]
pub struct Targets {
    /// By the resource's [`key`].
    known: HashMap<u64, Target>,
}

impl Targets {
    /// Each resource's target, in the order of the snapshot.
    pub(super) fn of(&mut self, snapshot: &Snapshot) -> Vec<Target> {
        let resources: Vec<(u64, &SharedResource)> = snapshot
            .resources()
            .map(|group| (key(&group.resource), &group.resource))
            .collect();
        let now: std::collections::HashSet<u64> = resources.iter().map(|(id, _)| *id).collect();
        self.known.retain(|id, _| now.contains(id));
        let mut taken: std::collections::HashSet<Target> = self.known.values().cloned().collect();
        let named = resources.into_iter().map(|(id, resource)| {
            let target = self.known.entry(id).or_insert_with(|| {
                let mut target = Target::of(resource);
                if taken.contains(&target) {
                    let instance = target.instance.take().unwrap_or_default();
                    target.instance = Some(format!("{instance}:{id:016x}"));
                }
                taken.insert(target.clone());
                target
            });
            target.clone()
        });
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use observer_signals::Attribute;
    use observer_signals::metric::{MetricBatch, ResourceMetrics};

    use super::*;

    fn resource(attributes: &[(&'static str, &'static str)]) -> Resource {
        let attributes = attributes.iter().map(|(k, v)| Attribute::new(*k, *v));
        Resource {
            attributes: attributes.collect(),
        }
    }

    fn snapshot(resources: &[Resource]) -> Snapshot {
        let groups = resources.iter().map(|resource| ResourceMetrics {
            resource: Arc::new(resource.clone()),
            metrics: Vec::new(),
        });
        Snapshot {
            batch: Arc::new(MetricBatch {
                time: 0,
                resources: groups.collect(),
            }),
            own: Vec::new(),
        }
    }

    /// Checks which attributes make job and instance.
    #[test]
    fn targets_are_named() {
        let name = |attributes: &[(&'static str, &'static str)]| {
            let Target { job, instance } = Target::of(&resource(attributes));
            format!(
                "{} {}",
                job.unwrap_or_default(),
                instance.unwrap_or_default()
            )
        };
        let (service, host) = (("service.name", "a"), ("host.name", "h"));
        let namespace = ("service.namespace", "n");
        assert_eq!(name(&[host]), " ");
        assert_eq!(name(&[service, namespace, host]), "n/a h");
        assert_eq!(name(&[service, ("service.instance.id", "7"), host]), "a 7");
        let unit = ("systemd.unit.name", "a.service");
        assert_eq!(name(&[service, unit, host]), "a h/a.service");
        let container = ("container.id", "c1");
        assert_eq!(name(&[service, unit, container, host]), "a h/c1");
        let pod = [
            service,
            container,
            ("k8s.pod.name", "p"),
            ("k8s.namespace.name", "s"),
        ];
        assert_eq!(name(&pod), "a s.p");
    }

    /// Checks that resources of the same attributes are one, in whatever order.
    #[test]
    fn order_tells_nobody_apart() {
        let (a, b) = (("service.name", "a"), ("service.version", "2"));
        let both = Targets::default().of(&snapshot(&[resource(&[a, b]), resource(&[b, a])]));
        assert_eq!(both.first(), both.get(1));
    }

    /// Checks that two resources never have one target, and that whoever was there first
    /// keeps its own, whatever the order.
    #[test]
    fn targets_are_told_apart() {
        let (a, b) = (("service.name", "a"), ("service.version", "2"));
        let (first, second) = (resource(&[a]), resource(&[a, b]));
        let mut targets = Targets::default();
        let before = targets.of(&snapshot(std::slice::from_ref(&first)));
        let both = targets.of(&snapshot(&[second.clone(), first.clone()]));
        assert_eq!(before.first(), both.get(1));
        assert_ne!(both.first(), both.get(1));
        let later = targets.of(&snapshot(&[first, second.clone()]));
        assert_eq!((both.first(), both.get(1)), (later.get(1), later.first()));
        // When the first is gone for good, the name is free for others, not for those.
        let alone = targets.of(&snapshot(&[second]));
        assert_eq!(alone.first(), both.first());
    }
}
