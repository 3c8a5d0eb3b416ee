//! Checks the tcp family against what the kernel and the programs involved
//! counted themselves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_common::tcp::state;
use observer_signals::{Span, SpanKind, SpanStatus};
use observer_testkit::netns::Pair;
use observer_testkit::peer::Peer;
use observer_testkit::tcp::{Metrics, Observed, attribute, number};
use observer_testkit::{cpus, in_time};
use observer_userspace::kernel::Filters;
use observer_userspace::kernel::{LoadOptions, SpanLimit};

const OPENED: &str = "observer.tcp.connections.opened";
const ACCEPTED: &str = "observer.tcp.connections.accepted";
const CLOSED: &str = "observer.tcp.connections.closed";
const FAILED: &str = "observer.tcp.connections.failed";
const IO: &str = "observer.tcp.io";
const DIRECTION: &str = "network.io.direction";

/// Checks that 2,000 short connections are 2,000 opened, accepted and closed
/// ones.
fn short_connections(
    address: &str,
    network: &str,
    names: (&str, &str),
    threads: u32,
) -> Result<()> {
    let mut observed = Observed::attach()?;
    let mut server = Peer::start(names.0, None)?;
    let mut client = Peer::start(names.1, None)?;
    let address = server.ask(&format!("serve {address}"))?;
    let took = client.number(&format!("connect {address} 2000 {threads}"))?;

    let network = [("network.type", network)];
    let closed = |metrics: &Metrics| metrics.sum(CLOSED, &network) >= 2000;
    let metrics = observed.settled(names.1, closed)?;
    let served = observed.settled(names.0, closed)?;
    for (name, expected) in [(OPENED, 2000), (CLOSED, 2000), (ACCEPTED, 0), (FAILED, 0)] {
        let counted = metrics.sum(name, &network);
        ensure!(counted == expected, "client: {name}: {counted}");
    }
    let handshake = metrics.histogram("observer.tcp.connect.duration", &[])?;
    ensure!(handshake.count() == 2000);
    let took = took as f64 / 1e9;
    // How close depends on when the accepting thread gets the CPU; see below.
    ensure!(
        handshake.sum > 0.0 && handshake.sum <= took,
        "connect took {took} s, handshakes {} s",
        handshake.sum
    );
    let lifetimes = metrics.histogram("observer.tcp.connection.duration", &[])?;
    ensure!(lifetimes.count() == 2000);

    // A record either arrives or is counted as lost.
    let spans = observed.all_spans()?.len() as u64;
    let lost = observed.lost("tcp_ring_full")?;
    ensure!(
        spans + lost >= 4000 && spans >= 1000,
        "{spans} spans, {lost} lost"
    );

    for (name, expected) in [(OPENED, 0), (CLOSED, 2000), (ACCEPTED, 2000), (FAILED, 0)] {
        let counted = served.sum(name, &network);
        ensure!(counted == expected, "server: {name}: {counted}");
    }
    Ok(())
}

/// Checks connections that are opened one after the other.
#[test]
fn short_connections_are_exact() -> Result<()> {
    short_connections("127.0.0.1:0", "ipv4", ("obs-tcp-s1", "obs-tcp-c1"), 1)
}

/// Checks connections that are opened at the same time, over IPv6.
#[test]
fn concurrent_connections_are_exact() -> Result<()> {
    short_connections("[::1]:0", "ipv6", ("obs-tcp-s2", "obs-tcp-c2"), 8)
}

/// Checks the handshake's duration against what the connect calls took, where it is longer than the code around it:
/// over a cable on which each packet takes milliseconds.
#[test]
fn handshake_takes_as_long_as_connect() -> Result<()> {
    let pair = Pair::new()?;
    pair.slow()?;
    let mut observed = Observed::attach()?;
    let mut server = Peer::start("obs-tcp-s3", Some(&pair.right))?;
    let mut client = Peer::start("obs-tcp-c3", Some(&pair.left))?;
    let address = server.ask("serve 10.77.0.2:0")?;
    let took = client.number(&format!("connect {address} 50 4"))? as f64 / 1e9;
    let closed = |metrics: &Metrics| metrics.sum(CLOSED, &[]) >= 50;
    let metrics = observed.settled("obs-tcp-c3", closed)?;
    let handshake = metrics.histogram("observer.tcp.connect.duration", &[])?;
    ensure!(handshake.count() == 50);
    let said = format!("connect took {took} s, handshakes {} s", handshake.sum);
    // Who called returns when it has a CPU again, which may be later, but never sooner.
    ensure!(handshake.sum <= took, "{said}");
    in_time!(handshake.sum > took * 0.9, "{said}");
    Ok(())
}

/// Checks a refused connect: it has failed, by ECONNREFUSED, with a reset.
#[test]
fn refused() -> Result<()> {
    let mut observed = Observed::attach()?;
    let mut client = Peer::start("obs-tcp-c7", None)?;
    for _ in 0..5 {
        // Port 1 of loopback: nobody is there.
        let errno = client.number("fail 127.0.0.1:1 60000")?;
        ensure!(errno == libc::ECONNREFUSED as u64, "{errno}");
    }
    let metrics = observed.metrics("obs-tcp-c7")?;
    let refused = [("error.type", "ECONNREFUSED")];
    ensure!(metrics.sum(FAILED, &refused) == 5);
    ensure!(metrics.sum(OPENED, &[]) == 0);
    ensure!(metrics.sum("observer.tcp.resets", &[(DIRECTION, "receive")]) == 5);
    // The other end is no socket: those resets are the host's.
    let host = observed.host_metrics()?;
    let sent = host.sum("observer.tcp.resets", &[(DIRECTION, "transmit")]);
    ensure!(sent >= 5, "{sent} resets sent by nobody");
    let spans = observed.spans("obs-tcp-c7")?;
    ensure!(spans.len() == 5, "{} spans", spans.len());
    for span in &spans {
        ensure!(span.status == SpanStatus::Error("ECONNREFUSED".into()));
        ensure!(span.events.len() == 1 && span.events[0].name == "tcp.reset");
        ensure!(number(&span.attributes, "network.peer.port") == Some(1));
    }
    Ok(())
}

/// Checks a connection that one side ends with a reset: each side counts its
/// own, and both spans tell of it.
#[test]
fn resets() -> Result<()> {
    let mut observed = Observed::attach()?;
    let mut server = Peer::start("obs-tcp-s8", None)?;
    let mut client = Peer::start("obs-tcp-c8", None)?;
    let address = server.ask("listen 127.0.0.1:0")?;
    client.ask(&format!("hold {address} 1"))?;
    client.ask("write 1000")?;
    server.ask("read 1000")?;
    client.ask("reset")?;
    let closed = |metrics: &Metrics| metrics.sum(CLOSED, &[]) >= 1;
    for (name, direction, error) in [
        ("obs-tcp-c8", "transmit", None),
        ("obs-tcp-s8", "receive", Some("ECONNRESET")),
    ] {
        let metrics = observed.settled(name, closed)?;
        let counted = metrics.sum("observer.tcp.resets", &[(DIRECTION, direction)]);
        ensure!(counted == 1, "{name}: {counted} resets");
        ensure!(metrics.sum("observer.tcp.resets", &[]) == 1);
        ensure!(metrics.sum(CLOSED, &[]) == 1);
        if let Some(error) = error {
            ensure!(metrics.sum(CLOSED, &[("error.type", error)]) == 1);
        }
    }
    // One ring: both spans come at once.
    let spans = observed.all_spans()?;
    for (name, direction) in [("obs-tcp-c8", "transmit"), ("obs-tcp-s8", "receive")] {
        let span = spans
            .iter()
            .find(|span| span.resource.get_str("comm") == Some(name))
            .with_context(|| format!("no span of {name}"))?;
        let event = span.events.first().context("no event")?;
        ensure!(event.name == "tcp.reset");
        ensure!(attribute(&event.attributes, DIRECTION) == Some(direction));
    }
    Ok(())
}

/// Checks connections that are older than the daemon: they are counted by
/// state, as in /proc/net/tcp of their namespace, and their bytes from then on.
#[test]
fn older_than_the_daemon() -> Result<()> {
    let pair = Pair::new()?;
    // A namespace of its own, and both ends in it: /proc/net/tcp shows no more.
    let mut peer = Peer::start("obs-tcp-o9", Some(&pair.left))?;
    let address = peer.ask("listen 127.0.0.1:0")?;
    peer.ask("listen [::1]:0")?;
    peer.ask(&format!("hold {address} 3"))?;
    peer.ask("write 5000")?;
    peer.ask("accept 5000")?;
    let mut observed = Observed::attach()?;
    peer.ask("write 7000")?;
    let metrics = observed.metrics("obs-tcp-o9")?;
    agree(&metrics, &peer.ask("states")?)?;
    // Two connections are in the listener's queue; none was opened since.
    ensure!(metrics.sum(OPENED, &[]) == 0 && metrics.sum(ACCEPTED, &[]) == 0);
    metrics.check_bytes("ipv4", 7000, 7000)?;

    // And later ones, in other states.
    peer.ask(&format!("hold {address} 2"))?;
    peer.ask("half")?;
    let both = |metrics: &Metrics| metrics.sum(OPENED, &[]) + metrics.sum(ACCEPTED, &[]) >= 4;
    let metrics = observed.settled("obs-tcp-o9", both)?;
    agree(&metrics, &peer.ask("states")?)?;
    ensure!(metrics.sum(OPENED, &[]) == 2 && metrics.sum(ACCEPTED, &[]) == 2);
    Ok(())
}

/// Compares states with those of /proc/net/tcp, as `observer-peer` tells them.
fn agree(metrics: &Metrics, states: &str) -> Result<()> {
    let mut expected = BTreeMap::new();
    for (number, count) in states.split(' ').filter_map(|s| s.split_once('=')) {
        let number = u8::from_str_radix(number, 16)?;
        expected.insert(number, count.parse::<u64>()?);
    }
    ensure!(!expected.is_empty(), "{states}");
    for number in state::ESTABLISHED..=state::CLOSING {
        let name = [("network.connection.state", state::name(number))];
        let counted = metrics.sum("observer.tcp.connections", &name);
        let expected = expected.get(&number).copied().unwrap_or(0);
        ensure!(counted == expected, "{name:?}: {counted} of {expected}");
    }
    Ok(())
}

/// Checks that a connection's bytes are counted while it lives, and the owner
/// of an accepted one when another process than the listener's has it.
#[test]
fn bytes_are_counted_while_it_lives() -> Result<()> {
    let mut observed = Observed::attach()?;
    let mut server = Peer::start("obs-tcp-sa", None)?;
    let mut client = Peer::start("obs-tcp-ca", None)?;
    let address = server.ask("listen 127.0.0.1:0")?;
    client.ask(&format!("hold {address} 1"))?;
    for round in 1..4 {
        client.ask("write 100000")?;
        server.ask("read 100000")?;
        let metrics = observed.metrics("obs-tcp-ca")?;
        metrics.check_bytes("ipv4", round * 100_000, 0)?;
        let metrics = observed.metrics("obs-tcp-sa")?;
        metrics.check_bytes("ipv4", 0, round * 100_000)?;
    }
    let metrics = observed.metrics("obs-tcp-ca")?;
    let rtt = metrics.histogram("observer.tcp.rtt", &[])?.count();
    ensure!(rtt >= 3, "{rtt} samples in three ticks");
    client.ask("release")?;
    server.ask("release")?;
    let closed = |metrics: &Metrics| metrics.sum(CLOSED, &[]) >= 1;
    let metrics = observed.settled("obs-tcp-ca", closed)?;
    // FIN and SYN are no bytes.
    metrics.check_bytes("ipv4", 300_000, 0)?;
    Ok(())
}

/// Waits until a child process of a peer has ended, for a minute at most.
fn wait_for_end(pid: u64) -> Result<()> {
    let begin = Instant::now();
    // Its parent doesn't wait for it (proc(5): Z).
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    while lives() {
        let waited = begin.elapsed();
        ensure!(waited < Duration::from_secs(60), "{pid} doesn't end");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Waits until a child process has its own name: whoever looks before sees its parent's.
fn wait_for_name(pid: u64, name: &str) -> Result<()> {
    let begin = Instant::now();
    let comm = || std::fs::read_to_string(format!("/proc/{pid}/comm"));
    while !comm().is_ok_and(|comm| comm.trim() == name) {
        let waited = begin.elapsed();
        ensure!(
            waited < Duration::from_secs(60),
            "{pid} isn't called {name}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Checks that an accepted connection belongs to the process that was given it,
/// whether it lives for a tick or not.
#[test]
fn accepted_for_another_process() -> Result<()> {
    let mut observed = Observed::attach()?;
    let mut server = Peer::start("obs-tcp-sb", None)?;
    let mut client = Peer::start("obs-tcp-cb", None)?;
    let address = server.ask("listen 127.0.0.1:0")?;
    let mut expected = 0;
    for (length, ticks) in [(1000, true), (700, false)] {
        client.ask(&format!("hold {address} 1"))?;
        let child = server.number("delegate obs-tcp-wb")?;
        wait_for_name(child, "obs-tcp-wb")?;
        client.ask(&format!("write {length}"))?;
        expected += length;
        if ticks {
            let all = [(DIRECTION, "receive")];
            let read = |metrics: &Metrics| metrics.sum(IO, &all) >= expected;
            let metrics = observed.settled("obs-tcp-wb", read)?;
            metrics.check_bytes("ipv4", 0, expected)?;
            let state = [("network.connection.state", "established")];
            ensure!(metrics.sum("observer.tcp.connections", &state) == 1);
        }
        client.ask("release")?;
        wait_for_end(child)?;
    }
    let closed = |metrics: &Metrics| metrics.sum(CLOSED, &[]) >= 2;
    let metrics = observed.settled("obs-tcp-wb", closed)?;
    metrics.check_bytes("ipv4", 0, expected)?;
    ensure!(metrics.sum(CLOSED, &[]) == 2);
    // The listener is still whose it was.
    let metrics = observed.metrics("obs-tcp-sb")?;
    ensure!(metrics.sum(ACCEPTED, &[]) == 2 && metrics.sum(IO, &[]) == 0);
    Ok(())
}

/// Checks that IPv4 through an IPv6 listener is IPv4.
#[test]
fn mapped_addresses_are_ipv4() -> Result<()> {
    let mut observed = Observed::attach()?;
    let mut server = Peer::start("obs-tcp-sc", None)?;
    let mut client = Peer::start("obs-tcp-cc", None)?;
    let address = server.ask("serve [::]:0")?;
    let (_, port) = address.rsplit_once(':').context("a port")?;
    client.ask(&format!("exchange 127.0.0.1:{port} 1000"))?;
    let closed = |metrics: &Metrics| metrics.sum(CLOSED, &[]) >= 1;
    let metrics = observed.settled("obs-tcp-sc", closed)?;
    metrics.check_bytes("ipv4", 500, 1000)?;
    ensure!(metrics.sum(ACCEPTED, &[("network.type", "ipv4")]) == 1);
    let spans = observed.spans("obs-tcp-sc")?;
    let [span] = spans.as_slice() else {
        anyhow::bail!("{} spans", spans.len())
    };
    ensure!(span.kind == SpanKind::Server);
    for (key, expected) in [
        ("network.type", "ipv4"),
        ("network.local.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
    ] {
        let found = attribute(&span.attributes, key);
        ensure!(found == Some(expected), "{key}: {found:?}");
    }
    Ok(())
}

/// Checks that spans over a workload's limit are dropped and counted where they
/// begin, each workload by itself, and that connections are counted all the same.
#[test]
fn limited_spans() -> Result<()> {
    let options = LoadOptions {
        span_limit: Some(SpanLimit { rate: 0, burst: 50 }),
        ..LoadOptions::default()
    };
    let mut observed = Observed::attach_with(&options)?;
    let mut server = Peer::start("obs-tcp-se", None)?;
    let mut client = Peer::start("obs-tcp-ce", None)?;
    let address = server.ask("serve 127.0.0.1:0")?;
    client.ask(&format!("connect {address} 1000 1"))?;
    let closed = |metrics: &Metrics| metrics.sum(CLOSED, &[]) >= 1000;
    observed.settled("obs-tcp-ce", closed)?;
    observed.settled("obs-tcp-se", closed)?;
    let spans = observed.all_spans()?;
    let of = |name| {
        let mine = |span: &&Span| span.resource.get_str("comm") == Some(name);
        spans.iter().filter(mine).count()
    };
    // Each CPU keeps to the limit.
    let most = 50 * cpus::online()?;
    for name in ["obs-tcp-ce", "obs-tcp-se"] {
        ensure!(
            (50..=most).contains(&of(name)),
            "{name}: {} spans",
            of(name)
        );
    }
    let ended = of("obs-tcp-ce") + of("obs-tcp-se");
    ensure!(observed.lost("span_rate_limited")? >= 2000 - ended as u64);
    ensure!(observed.metrics("obs-tcp-ce")?.sum(OPENED, &[]) == 1000);
    Ok(())
}

/// Checks that a filter acts in the kernel: only the named process is counted.
#[test]
fn filtered() -> Result<()> {
    let options = LoadOptions {
        filters: Filters {
            comms: vec!["obs-tcp-cd".into()],
            ..Filters::default()
        },
        ..LoadOptions::default()
    };
    let mut observed = Observed::attach_with(&options)?;
    let mut server = Peer::start("obs-tcp-sd", None)?;
    let mut client = Peer::start("obs-tcp-cd", None)?;
    let address = server.ask("serve 127.0.0.1:0")?;
    client.ask(&format!("exchange {address} 1000"))?;
    let closed = |metrics: &Metrics| metrics.sum(CLOSED, &[]) >= 1;
    let metrics = observed.settled("obs-tcp-cd", closed)?;
    metrics.check_bytes("ipv4", 1000, 500)?;
    ensure!(metrics.sum(OPENED, &[]) == 1);
    let metrics = observed.metrics("obs-tcp-sd")?;
    ensure!(metrics.is_empty());
    let spans = observed.all_spans()?;
    ensure!(spans.len() == 1, "{spans:?}");
    Ok(())
}
