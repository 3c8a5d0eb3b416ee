//! Checks what the net family says of datagrams and dropped packets, against the kernel's
//! own counters of the namespaces involved and what programs know that they sent.

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_common::workload::WorkloadId;
use observer_signals::attribute::SharedResource;
use observer_signals::{Attribute, PointValue, Resource};
use observer_testkit::btf::Types;
use observer_testkit::datagrams::SEGMENTS;
use observer_testkit::kernel::{Fixture, comm};
use observer_testkit::netns::Pair;
use observer_testkit::packages;
use observer_testkit::peer::Peer;
use observer_userspace::kernel::{LoadOptions, clock};
use observer_userspace::probes::net::{self, Net, metrics};
use observer_userspace::probes::{MetricBuilder, Probe, Tick};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Each sees the packets of all: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The family, attached.
struct Probed {
    fixture: Fixture,
    probe: Net,
    _alone: MutexGuard<'static, ()>,
}

/// Whose a point is (`None`: the host's), its metric, its attributes, its value.
type Point = (Option<String>, &'static str, Vec<Attribute>, u64);

struct Points(Vec<Point>);

impl Points {
    /// Sum of the points of a metric with these attributes: of the processes of a name, or
    /// the host's.
    fn sum(&self, comm: Option<&str>, metric: &str, with: &[(&str, &str)]) -> u64 {
        let mine = self.0.iter().filter(|(whose, name, attributes, _)| {
            let has = |(key, value): &(&str, &str)| {
                let mut attributes = attributes.iter();
                attributes.any(|a| a.key == *key && a.value == (*value).to_owned().into())
            };
            whose.as_deref() == comm && *name == metric && with.iter().all(has)
        });
        mine.map(|(.., value)| value).sum()
    }

    fn drops(&self, comm: Option<&str>, reason: &str) -> u64 {
        self.sum(comm, metrics::DROPS.name, &[(metrics::REASON, reason)])
    }
}

impl Probed {
    fn begin() -> Result<Self> {
        let probed = Self::begin_with(&LoadOptions::default())?;
        ensure!(
            !probed.fixture.kernel.drop_reasons().is_empty(),
            "this kernel has no enum skb_drop_reason (Linux 5.17 and newer have it): it can't be \
             checked for which reasons packets are dropped"
        );
        Ok(probed)
    }

    fn begin_with(options: &LoadOptions) -> Result<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fixture = Fixture::with_options(options, &[&net::SPEC])?;
        let mut probe = Net::default();
        probe.start(&mut fixture.kernel)?;
        probe.begin(&mut fixture.kernel)?;
        Ok(Self {
            fixture,
            probe,
            _alone: alone,
        })
    }

    fn tick(&mut self) -> Result<Points> {
        self.probe.before_tick(&mut self.fixture.kernel)?;
        let mut resources: HashMap<WorkloadId, SharedResource> = HashMap::new();
        for listed in self.fixture.kernel.workloads()? {
            let attributes = vec![Attribute::new("comm", comm(&listed.key).to_owned())];
            resources.insert(listed.id, Arc::new(Resource { attributes }));
        }
        let tallies = self.fixture.cells.read();
        let mut builder = MetricBuilder::default();
        let known = |id| resources.get(&id).cloned();
        let tick = Tick {
            tallies: &tallies,
            clock: clock::measure(),
            resource: &known,
        };
        self.probe.collect(&tick, &mut builder);
        for (cause, count) in self.fixture.kernel.losses()? {
            ensure!(
                count == 0 || cause.name() == "switch_unseen",
                "{count} × {}",
                cause.name()
            );
        }
        let mut points = Vec::new();
        for group in builder.finish(Arc::default(), |id| {
            resources.get(&id).cloned().unwrap_or_default()
        }) {
            let comm = group.resource.get_str("comm").map(str::to_owned);
            for metric in group.metrics {
                for point in metric.points {
                    let PointValue::Int(value) = point.value else {
                        continue;
                    };
                    let attributes = point.attributes.to_vec();
                    points.push((comm.clone(), metric.def.name, attributes, value as u64));
                }
            }
        }
        Ok(Points(points))
    }

    /// Ticks until it is as wanted, for a while at most; the last tick's points.
    fn settled(&mut self, wanted: impl Fn(&Points) -> bool) -> Result<Points> {
        let begin = Instant::now();
        loop {
            let points = self.tick()?;
            if wanted(&points) || begin.elapsed() > PATIENCE {
                return Ok(points);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The kernel's reason where a receive buffer was full.
const FULL: &str = "SOCKET_RCVBUFF";

/// Checks that datagrams for which a socket has no room are dropped packets of its owner,
/// as many as the kernel's `RcvbufErrors`, also if the owner never received any: of a
/// socket that is older than the daemon all, of a newer one those behind the first look.
#[test]
fn full_buffer_is_its_owners() -> Result<()> {
    const N: u64 = 400;
    let pair = Pair::new()?;
    pair.acquaint()?;
    let mut older = Peer::start("obs-net-o1", Some(&pair.right))?;
    let to_older = older.ask("udp 10.77.0.2:0 4096")?;
    let mut newer = Peer::start("obs-net-n1", Some(&pair.right))?;
    let mut sender = Peer::start("obs-net-s1", Some(&pair.left))?;
    let mut probed = Probed::begin()?;
    let of_host = probed.tick()?.drops(None, FULL);

    let before = older.number("mib Udp RcvbufErrors")?;
    sender.ask(&format!("udp-send {to_older} {N} 1000"))?;
    let expected = older.number("mib Udp RcvbufErrors")? - before;
    ensure!(expected > N / 2 && expected < N, "{expected} found no room");
    let points = probed.settled(|points| points.drops(Some("obs-net-o1"), FULL) >= expected)?;
    let counted = points.drops(Some("obs-net-o1"), FULL);
    ensure!(counted == expected, "{counted} instead of {expected}");
    ensure!(points.drops(None, FULL) == of_host);

    let to_newer = newer.ask("udp 10.77.0.2:0 4096")?;
    let before = newer.number("mib Udp RcvbufErrors")?;
    sender.ask(&format!("udp-send {to_newer} {N} 1000"))?;
    let first = newer.number("mib Udp RcvbufErrors")? - before;
    let points = probed.settled(|points| points.drops(None, FULL) >= of_host + first)?;
    let counted = points.drops(None, FULL) - of_host;
    ensure!(counted == first, "{counted} of the host instead of {first}");
    probed.tick()?;
    sender.ask(&format!("udp-send {to_newer} {N} 1000"))?;
    let then = newer.number("mib Udp RcvbufErrors")? - before - first;
    ensure!(then == N, "{then} found no room");
    let points = probed.settled(|points| points.drops(Some("obs-net-n1"), FULL) >= then)?;
    let counted = points.drops(Some("obs-net-n1"), FULL);
    ensure!(counted == then, "{counted} instead of {then}");
    Ok(())
}

/// Checks that datagrams to a port at which nobody listens are the host's drops, as many as
/// the kernel's `NoPorts`, and those of our own namespace are told with their interface.
#[test]
fn closed_port_is_the_hosts() -> Result<()> {
    const N: u64 = 100;
    let pair = Pair::new()?;
    pair.acquaint()?;
    let mut receiver = Peer::start("obs-net-r2", Some(&pair.right))?;
    let mut sender = Peer::start("obs-net-s2", Some(&pair.left))?;
    let mut here = Peer::start("obs-net-h2", None)?;
    let mut probed = Probed::begin()?;
    let of = |points: &Points, with: &[(&str, &str)]| {
        let reason = [
            (metrics::REASON, "NO_SOCKET"),
            (metrics::DIRECTION, "receive"),
        ];
        points.sum(None, metrics::DROPS.name, &[&reason[..], with].concat())
    };
    let begin = probed.tick()?;
    let before = receiver.number("mib Udp NoPorts")?;
    let of_ours = here.number("mib Udp NoPorts")?;
    sender.ask(&format!("udp-send 10.77.0.2:9 {N} 10"))?;
    let ask =
        |peer: &mut Peer, before| Ok::<_, anyhow::Error>(peer.number("mib Udp NoPorts")? - before);
    let expected = ask(&mut receiver, before)?;
    ensure!(expected == N, "{expected} found no port");
    let points = probed.settled(|points| of(points, &[]) >= of(&begin, &[]) + expected)?;
    let counted = of(&points, &[]) - of(&begin, &[]);
    // Others of our own namespace may send to nobody, too.
    let others = ask(&mut here, of_ours)?;
    ensure!(
        (expected..=expected + others).contains(&counted),
        "{counted} instead of {expected} and at most {others}"
    );

    let loopback = [(metrics::INTERFACE, "lo")];
    let begin = probed.tick()?;
    let of_ours = here.number("mib Udp NoPorts")?;
    // The port of a socket that is closed again.
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    here.ask(&format!("udp-send 127.0.0.1:{port} {N} 10"))?;
    let points = probed.settled(|points| of(points, &loopback) >= of(&begin, &loopback) + N)?;
    let counted = of(&points, &loopback) - of(&begin, &loopback);
    let expected = ask(&mut here, of_ours)?;
    ensure!(
        (N..=expected).contains(&counted),
        "{counted} instead of {N}"
    );
    let error = [(metrics::ERROR, "no_port"), (metrics::NETWORK, "ipv4")];
    let figure = probed
        .settled(|points| points.sum(None, metrics::DATAGRAM_ERRORS.name, &error) >= of_ours + N)?;
    ensure!(figure.sum(None, metrics::DATAGRAM_ERRORS.name, &error) >= of_ours + N);
    Ok(())
}

/// Checks that what a packet filter drops and what is broken has the kernel's own reasons:
/// as many as were sent.
#[test]
fn filter_and_checksum_have_their_reasons() -> Result<()> {
    const FILTERED: u64 = 70;
    const BROKEN: u64 = 30;
    let pair = Pair::new()?;
    pair.acquaint()?;
    let mut receiver = Peer::start("obs-net-r3", Some(&pair.right))?;
    let mut sender = Peer::start("obs-net-s3", Some(&pair.left))?;
    let address = receiver.ask("udp 10.77.0.2:0 0")?;
    let mut probed = Probed::begin()?;
    let begin = probed.tick()?;
    let port = address.rsplit(':').next().unwrap_or_default();
    sender.ask(&format!("udp-broken {port} {BROKEN}"))?;
    // The kernel looks at a checksum at the latest when the datagram is received.
    sender.ask(&format!("udp-send {address} 1 10"))?;
    receiver.ask("udp-receive 1")?;
    let wrong = receiver.number("mib Udp InCsumErrors")?;
    ensure!(wrong == BROKEN, "{wrong} wrong checksums");
    pair.refuse(port.parse()?)?;
    sender.ask(&format!("udp-send {address} {FILTERED} 10"))?;
    for (reason, expected) in [("NETFILTER_DROP", FILTERED), ("UDP_CSUM", BROKEN)] {
        let of = |points: &Points| {
            let mine = points.drops(Some("obs-net-r3"), reason);
            mine + points.drops(None, reason)
        };
        let points = probed.settled(|points| of(points) >= of(&begin) + expected)?;
        let counted = of(&points) - of(&begin);
        ensure!(counted == expected, "{reason}: {counted}, not {expected}");
    }
    Ok(())
}

/// Checks datagrams and their bytes by workload, direction and address family against what
/// the programs know that they sent and received, and against `InDatagrams`.
#[test]
fn datagrams_are_counted() -> Result<()> {
    const N: u64 = 200;
    const BYTES: u64 = 333;
    let pair = Pair::new()?;
    pair.acquaint()?;
    let mut probed = Probed::begin()?;
    for (number, address, family) in [(4, "10.77.0.2:0", "ipv4"), (5, "[fd77::2]:0", "ipv6")] {
        let names = (format!("obs-net-r{number}"), format!("obs-net-s{number}"));
        let mut receiver = Peer::start(&names.0, Some(&pair.right))?;
        let mut sender = Peer::start(&names.1, Some(&pair.left))?;
        let address = receiver.ask(&format!("udp {address} 1000000"))?;
        sender.ask(&format!("udp-send {address} {N} {BYTES}"))?;
        let bytes = receiver.number(&format!("udp-receive {N}"))?;
        ensure!(bytes == N * BYTES, "{bytes} bytes came");
        if family == "ipv4" {
            ensure!(receiver.number("mib Udp InDatagrams")? == N);
        }
        let points = probed.tick()?;
        for (name, way, other) in [
            (&names.0, "receive", "transmit"),
            (&names.1, "transmit", "receive"),
        ] {
            let of = |metric, way| {
                let with = [
                    (metrics::DIRECTION, way),
                    ("network.transport", "udp"),
                    (metrics::NETWORK, family),
                ];
                points.sum(Some(name), metric, &with)
            };
            let counted = of(metrics::DATAGRAMS.name, way);
            ensure!(counted == N, "{name}: {counted} datagrams");
            let counted = of(metrics::DATAGRAM_IO.name, way);
            ensure!(counted == N * BYTES, "{name}: {counted} bytes");
            ensure!(of(metrics::DATAGRAMS.name, other) == 0);
        }
    }
    Ok(())
}

/// Checks that on a kernel without reasons the drops are counted all the same, and that
/// their reason is said to be untold.
#[test]
fn without_reasons_there_are_totals() -> Result<()> {
    const N: u64 = 300;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("types");
    let mut types = Types::of_this_kernel()?;
    types.hide("SKB_DROP_REASON_NOT_SPECIFIED")?;
    types.write(&path)?;
    let pair = Pair::new()?;
    pair.acquaint()?;
    let mut receiver = Peer::start("obs-net-r6", Some(&pair.right))?;
    let mut sender = Peer::start("obs-net-s6", Some(&pair.left))?;
    let address = receiver.ask("udp 10.77.0.2:0 4096")?;
    let mut probed = Probed::begin_with(&LoadOptions {
        btf: Some(path),
        ..LoadOptions::default()
    })?;
    sender.ask(&format!("udp-send {address} {N} 1000"))?;
    let expected = receiver.number("mib Udp RcvbufErrors")?;
    ensure!(expected > N / 2, "{expected} found no room");
    let of = |points: &Points| points.drops(Some("obs-net-r6"), "untold");
    let points = probed.settled(|points| of(points) >= expected)?;
    ensure!(of(&points) == expected, "{} of {expected}", of(&points));
    ensure!(points.drops(Some("obs-net-r6"), FULL) == 0);
    Ok(())
}

/// Checks that what goes as one through the host and is cut by segmentation offload counts
/// as one datagram of the program that sent it, and as each of its packets where it is
/// dropped, wherever it was cut.
#[test]
fn dropped_segments_are_packets() -> Result<()> {
    const N: u64 = 40;
    const BYTES: u64 = 100;
    let packets = N * SEGMENTS as u64;
    let pair = Pair::new()?;
    pair.acquaint()?;
    let mut receiver = Peer::start("obs-net-r7", Some(&pair.right))?;
    let mut sender = Peer::start("obs-net-s7", Some(&pair.left))?;
    let address = receiver.ask("udp 10.77.0.2:0 0")?;
    let port = address.rsplit(':').next().unwrap_or_default();
    pair.refuse(port.parse()?)?;
    let mut probed = Probed::begin()?;
    let of = |points: &Points| points.drops(None, "NETFILTER_DROP");
    let begin = probed.tick()?;
    sender.ask(&format!("udp-segments {address} {N} {BYTES}"))?;
    let points = probed.settled(|points| of(points) >= of(&begin) + packets)?;
    let counted = of(&points) - of(&begin);
    ensure!(counted == packets, "{counted} packets, not {packets}");
    let sent = |metric| {
        points.sum(
            Some("obs-net-s7"),
            metric,
            &[(metrics::DIRECTION, "transmit")],
        )
    };
    let calls = sent(metrics::DATAGRAMS.name);
    ensure!(calls == N, "{calls} datagrams, not {N}");
    let bytes = sent(metrics::DATAGRAM_IO.name);
    ensure!(bytes == packets * BYTES, "{bytes} bytes");
    Ok(())
}

/// A figure of the loopback in `/proc/net/dev`, by its column behind the colon.
fn loopback(column: usize) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/dev")?;
    let mut lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("lo:"));
    let numbers = lines.next().context("there is no lo")?;
    let number = numbers.split_whitespace().nth(column);
    Ok(number.context("no such column")?.parse()?)
}

/// What `nstat` says of a counter, since the namespace began.
fn nstat(name: &str) -> Result<u64> {
    let output = packages::program("nstat", "iproute2")?
        .args(["-asz", name])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    Ok(value.context(text.clone())?.parse()?)
}

/// Checks what is told of interfaces and of full queues against `/proc/net/dev` and
/// `nstat` before and after, with traffic over the loopback and a listener that accepts
/// nobody.
#[test]
fn interfaces_and_queues_are_the_kernels() -> Result<()> {
    let mut probed = Probed::begin()?;
    let overflows = nstat("TcpExtListenOverflows")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1)?)?;
    let to = listener.local_addr()?;
    let connect = |_| TcpStream::connect_timeout(&to, Duration::from_millis(300));
    let held: Vec<_> = (0..5).map(connect).collect();
    ensure!(
        held.iter().any(Result::is_err),
        "the queue has room for all"
    );
    let overflows_now = nstat("TcpExtListenOverflows")?;
    ensure!(overflows_now > overflows);

    let names = [
        (metrics::INTERFACE_IO.name, 0),
        (metrics::INTERFACE_PACKETS.name, 1),
    ];
    let accept = [(metrics::QUEUE, "accept")];
    for (way, first) in [("receive", 0), ("transmit", 8)] {
        for (metric, column) in names {
            let with = [(metrics::INTERFACE, "lo"), (metrics::DIRECTION, way)];
            let of = |points: &Points| points.sum(None, metric, &with);
            let before = loopback(first + column)?;
            let points = probed.settled(|points| of(points) >= before)?;
            let after = loopback(first + column)?;
            let told = of(&points);
            ensure!(
                before > 0 && (before..=after).contains(&told),
                "{metric} {way}: {told}"
            );
        }
    }
    let of = |points: &Points| points.sum(None, metrics::OVERFLOWS.name, &accept);
    let points = probed.settled(|points| of(points) >= overflows_now)?;
    let after = nstat("TcpExtListenOverflows")?;
    let told = of(&points);
    ensure!((overflows_now..=after).contains(&told), "{told} overflows");
    Ok(())
}
