use super::*;
use crate::terminal::testing::{definition, point, service, words};
use observer_signals::attribute::SharedResource;
use observer_signals::metric::ResourceMetrics;
use observer_signals::{Attribute, MetricDef, PointValue};

static CPU: MetricDef = definition("system.cpu.time");
static RAN: MetricDef = definition("observer.cpu.time");
static LIMIT: MetricDef = definition("system.memory.limit");
static USAGE: MetricDef = definition("system.memory.usage");
static PRESSURES: MetricDef = definition(PRESSURE);
static BUSY: MetricDef = definition("system.disk.io_time");
static QUEUE: MetricDef = definition("observer.disk.queue.time");
static KILLS: MetricDef = definition("observer.memory.oom_kills");
static EVENTS: MetricDef = definition("observer.cgroup.memory.events");
static THROTTLED: MetricDef = definition("observer.cgroup.cpu.throttled.time");
static USED: MetricDef = definition("observer.limit.utilization");
static LEFT: MetricDef = definition("observer.limit.time_left");

type Metrics = Vec<(&'static MetricDef, Vec<MetricPoint>)>;

fn double(attributes: &[(&'static str, &'static str)], value: f64) -> MetricPoint {
    point(attributes, PointValue::Double(value))
}

fn waited(resource: &'static str, path: Option<&'static str>, value: f64) -> MetricPoint {
    let attributes = [
        ("observer.pressure.resource", resource),
        ("observer.pressure.share", "some"),
    ];
    let path = path.map(|path| (CGROUP, path));
    let attributes: Vec<_> = attributes.into_iter().chain(path).collect();
    double(&attributes, value)
}

/// A service of its own cgroup.
fn alone(name: &'static str, metrics: Metrics) -> ResourceMetrics {
    let mut group = service(name, metrics);
    let mut attributes = group.resource.attributes.clone();
    attributes.push(Attribute::new("observer.service.name.source", "unit"));
    group.resource = SharedResource::new(Resource { attributes });
    group
}

fn host() -> ResourceMetrics {
    let mode = |mode, value| double(&[("cpu.mode", mode)], value);
    let disk = [("system.device", "vda")];
    let limit = |name| [("observer.limit.name", name)];
    let space = [
        ("observer.limit.name", "disk_space"),
        ("system.filesystem.mountpoint", "/var"),
    ];
    let shared = waited("cpu", Some("/user.slice/session-3.scope"), 1.0);
    service(
        "observer",
        [
            (&CPU, vec![mode("user", 15.0), mode("idle", 5.0)]),
            (&LIMIT, vec![double(&[], 1000.0)]),
            (
                &USAGE,
                vec![double(&[("system.memory.state", "used")], 250.0)],
            ),
            (
                &PRESSURES,
                vec![waited("cpu", None, 4.0), waited("io", None, 2.0), shared],
            ),
            (&BUSY, vec![double(&disk, 6.0)]),
            (&QUEUE, vec![double(&disk, 32.0)]),
            (&KILLS, vec![point(&[], PointValue::Int(2))]),
            (
                &USED,
                vec![
                    double(&limit("conntrack"), 0.95),
                    double(&limit("threads"), 0.2),
                    double(&space, 0.8),
                ],
            ),
            (
                &LEFT,
                vec![double(&space, 190.0), double(&limit("threads"), 60.0)],
            ),
        ],
    )
}

/// Checks that each resource has its use, what waits and fails, and that those are named
/// for whom it is saturated; that what runs out is, with its time; and that what nobody
/// observes is said not to be known; on terminals of all widths.
#[test]
fn what_is_saturated_and_by_whom() {
    let path = "/system.slice/db.service";
    let kill = [
        ("observer.cgroup.memory.event.type", "oom_kill"),
        (CGROUP, path),
    ];
    let db: Metrics = vec![
        (&RAN, vec![double(&[], 12.0)]),
        (&PRESSURES, vec![waited("cpu", Some(path), 3.0)]),
        (&EVENTS, vec![point(&kill, PointValue::Int(2))]),
        (&THROTTLED, vec![double(&[(CGROUP, path)], 2.5)]),
    ];
    let metrics = [host(), alone("db", db)];
    for width in [80, 100, 120, 200] {
        let words = words(section, &metrics, width);
        for expected in [
            "RESOURCES used waited errors",
            "cpu 75 % 40 % –",
            "cpu by core time: db 120 %; waiting: db 30 %, session-3.scope 10 %; throttled: db 25 %",
            "memory 25 % 0.0 % 2 killed",
            "memory by kills: db 2",
            "disks 60 % 20 % not known",
            "vda 60 % queue 3.2 not known",
            "network not known not known not known",
            "disk space of /var: 80 % used, full in 3 min at this rate conntrack of the host: 95 % used",
        ] {
            assert!(words.contains(expected), "{width}: {expected}: {words}");
        }
        assert!(!words.contains("threads"), "{words}");
    }
}

/// Checks the network's row with what the family `net` says, on terminals of all widths.
#[test]
fn the_network_has_its_row() {
    static IO: MetricDef = definition("system.network.io");
    static SPEED: MetricDef = definition("observer.net.interface.speed");
    static DROPS: MetricDef = definition("observer.net.drops");
    let eth0 = [("network.interface.name", "eth0")];
    let full = [("observer.net.drop.reason", "SOCKET_RCVBUFF")];
    let mut host = host();
    let of_net = service(
        "observer",
        [
            (&IO, vec![double(&eth0, 1e9)]),
            (&SPEED, vec![double(&eth0, 1e9)]),
        ],
    );
    host.metrics.extend(of_net.metrics);
    let metrics = [
        host,
        alone("dns", vec![(&DROPS, vec![double(&full, 70.0)])]),
    ];
    for width in [80, 100, 120, 200] {
        let words = words(section, &metrics, width);
        for expected in [
            "network 80 % full queues 0/s 70 dropped",
            "network by dropped: dns SOCKET_RCVBUFF 7/s",
        ] {
            assert!(words.contains(expected), "{width}: {expected}: {words}");
        }
    }
}

/// Checks that without the family there is no section, and that without pressure it is said
/// not to be known.
#[test]
fn nothing_is_made_up() {
    let interval = Interval {
        seconds: 10.0,
        width: 80,
        ..Interval::default()
    };
    assert!(section(&View::new(&[]), &interval).is_none());
    let idle = double(&[("cpu.mode", "idle")], 20.0);
    let metrics = [service("observer", [(&CPU, vec![idle])])];
    let words = words(section, &metrics, 80);
    assert!(words.contains("cpu 0.0 % not known"), "{words}");
    assert!(words.contains("memory not known not known"), "{words}");
}
