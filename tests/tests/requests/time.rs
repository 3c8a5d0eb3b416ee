//! Durations, and where the time went.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use observer_testkit::cgroup::Cgroup;
use observer_testkit::in_time;
use observer_testkit::loopdev::LoopDevice;
use observer_testkit::packages::program;
use observer_testkit::requests::{
    Attributed, Daemon, Logged, Scene, Seen, Span, kind, read_log, said,
};
use observer_testkit::stolen::Stolen;

use crate::{nothing_lost, quantile, turn};

/// Fails unless two figures are within 5 % of each other.
fn close(what: &str, found: f64, expected: f64) {
    eprintln!(
        "{what}: {:.1} µs, {:.1} µs expected",
        found * 1e6,
        expected * 1e6
    );
    let off = (found / expected - 1.0).abs();
    in_time!(off < 0.05, "{what}: {found} s, not {expected} s");
}

/// Server spans with the server's own account of the same request: those of one
/// connection in their order.
fn paired<'a>(seen: &'a Seen, port: u16, log: &'a [Logged]) -> Result<Vec<(&'a Span, &'a Logged)>> {
    let mut by_peer = HashMap::<u16, Vec<&Span>>::new();
    for span in seen.of(kind::SERVER, port) {
        let peer = span.int("network.peer.port").context("a peer")?;
        by_peer.entry(peer.try_into()?).or_default().push(span);
    }
    let mut logged = HashMap::<u16, Vec<&Logged>>::new();
    for line in log {
        logged.entry(line.port).or_default().push(line);
    }
    let mut pairs = Vec::new();
    for (peer, mut spans) in by_peer {
        spans.sort_by_key(|span| span.start);
        let lines = logged.get_mut(&peer).context("a connection of the log")?;
        lines.sort_by_key(|line| line.begin);
        ensure!(
            spans.len() == lines.len(),
            "{} spans of {}",
            spans.len(),
            lines.len()
        );
        for (span, line) in spans.into_iter().zip(lines) {
            ensure!(span.path() == line.path, "{span:?} is not {line:?}");
            pairs.push((span, *line));
        }
    }
    Ok(pairs)
}

fn logged_seconds(line: &Logged) -> f64 {
    (line.end - line.begin) as f64 / 1e9
}

/// Checks that the server's spans last as long as the server says itself, at the
/// median and at the 99th percentile within 5 %.
#[test]
fn server_durations() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    before_others(scene.last_pid().context("the server")?)?;
    let daemon = Daemon::start(&scene)?;
    let paths = ["/sleep/5", "/work/5", "/sleep/10", "/work/10"];
    let paths: Vec<&str> = paths.iter().flat_map(|path| ["--path", path]).collect();
    let arguments = ["--connections", "2", "--requests", "400"];
    scene.load(port, &[&arguments[..], &paths].concat())?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let log = read_log(&scene)?;
    let pairs = paired(&seen, port, &log)?;
    assert_eq!(pairs.len(), 400);
    for path in ["/sleep/5", "/work/5", "/sleep/10", "/work/10"] {
        let mine = || pairs.iter().filter(|(span, _)| span.path() == path);
        for share in [0.5, 0.99] {
            let found = quantile(mine().map(|(span, _)| span.seconds()).collect(), share);
            let expected = quantile(
                mine().map(|(_, line)| logged_seconds(line)).collect(),
                share,
            );
            close(&format!("{path} at {share}"), found, expected);
        }
    }
    Ok(())
}

/// Checks that each of the client's spans lasts at least as long as the server slept and
/// at most as long as curl says, without the time that it took to connect, and that at the
/// median it is what curl says.
#[test]
fn client_durations() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    let daemon = Daemon::start(&scene)?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut curl = program("curl", "curl")?;
        curl.args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{time_total} %{time_connect}\\n",
        ]);
        curl.arg(format!("http://127.0.0.1:{port}/sleep/5?[1-20]"));
        for line in said(&scene.run(&mut curl)?).lines() {
            let (total, connect) = line.split_once(' ').context("two times")?;
            times.push(total.parse::<f64>()? - connect.parse::<f64>()?);
        }
    }
    let seen = daemon.finish()?;
    let mut spans = seen.of(kind::CLIENT, port);
    assert_eq!(spans.len(), 100);
    // One after the other, so that they are in curl's order.
    spans.sort_by_key(|span| span.start);
    let seconds: Vec<f64> = spans.iter().map(|span| span.seconds()).collect();
    // curl tells microseconds. What it does before it asks and after it was answered, or
    // loses the CPU for, is in its time and not in ours: at the tail that may be much.
    for (n, (span, curl)) in seconds.iter().zip(&times).enumerate() {
        ensure!(
            (0.005..curl + 2e-6).contains(span),
            "request {n}: {span} s, of {curl} s that curl says"
        );
    }
    close("curl at 0.5", quantile(seconds, 0.5), quantile(times, 0.5));
    Ok(())
}

/// Reads that are held up by the kernel: this many per second of the device.
const READS_PER_SECOND: u32 = 200;

/// Holds up a process's reads from a device; `None` where that can't be done.
fn throttle(device: &LoopDevice, pid: u32) -> Result<Option<Cgroup>> {
    use std::os::unix::fs::MetadataExt;
    let number = std::fs::metadata(device.path())?.rdev();
    let (major, minor) = (libc::major(number), libc::minor(number));
    let mount = std::path::Path::new("/sys/fs/cgroup/blkio");
    if !mount.join("blkio.throttle.read_iops_device").exists() {
        return Ok(None);
    }
    let cgroup = Cgroup::create(mount, format!("observer-disk-{}", std::process::id()))?;
    let file = cgroup.directory().join("blkio.throttle.read_iops_device");
    std::fs::write(file, format!("{major}:{minor} {READS_PER_SECOND}"))?;
    cgroup.add(pid)?;
    Ok(Some(cgroup))
}

/// Has a process, and threads that it will make, get a CPU before all others,
/// where that may be done: on a busy machine, too, waiting for one is short.
fn before_others(pid: u32) -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads the parameters.
    let result = unsafe {
        libc::sched_setscheduler(pid.try_into()?, libc::SCHED_FIFO, &raw const parameters)
    };
    if result != 0 {
        eprintln!("without priority: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

/// Checks that the time of each route goes to its component: at least 90 %, and
/// all of them together are the span's duration within 2 %.
#[test]
fn components() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let device = LoopDevice::new(64 << 20, true)?;
    let mut scene = Scene::new()?;
    let port = scene.observer_server(Some(&device.path()))?;
    let pid = scene.last_pid().context("the server")?;
    // Without, the disk is as slow as it is.
    let _throttled = throttle(&device, pid)?;
    before_others(pid)?;
    let daemon = Daemon::start(&scene)?;
    let routes = [
        ("/cpu", "cpu"),
        ("/sleep", "other"),
        ("/lock", "lock"),
        ("/semaphore", "lock"),
        ("/disk", "disk"),
        ("/downstream", "network"),
    ];
    let paths: Vec<&str> = routes
        .iter()
        .flat_map(|(path, _)| ["--path", path])
        .collect();
    let arguments = [
        "--connections",
        "1",
        "--requests",
        "210",
        "--path",
        "/mixed",
    ];
    let stolen = Stolen::begin();
    scene.load(port, &[&arguments[..], &paths].concat())?;
    let stolen = stolen.seconds();
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let log = read_log(&scene)?;
    let pairs = paired(&seen, port, &log)?;
    let (mut wrong, mut less, mut more) = (0, 0, 0.0);
    for (span, line) in &pairs {
        let times = span.times();
        let sum: f64 = times.values().sum();
        let off = (sum / span.seconds() - 1.0).abs();
        ensure!(off < 0.02, "{} s of {} s: {times:?}", sum, span.seconds());
        // The thread's own CPU clock; it begins and ends a little later.
        let cpu = times.get("cpu").copied().unwrap_or(0.0);
        let own = line.cpu as f64 / 1e9;
        // To the kernel it begins when a thread is woken, to us when it runs.
        let wakes = span.real("observer.context_switches").unwrap_or(0.0) * 30e-6;
        let tolerance = own * 0.05 + 200e-6 + wakes;
        if (cpu - own).abs() > tolerance {
            eprintln!("{cpu} s of CPU, not {own}: {span:?}");
            wrong += 1;
            less += usize::from(cpu < own);
            more += (cpu - own - tolerance).max(0.0);
        }
    }
    // What interrupts and the host have of a thread's time on its CPU isn't in the
    // thread's clock, but it is that much and no more, but for a tick of each CPU.
    // Some kernels don't tell of every switch.
    in_time!(
        wrong * 10 < pairs.len() || (less * 10 < pairs.len() && more <= stolen + 0.02),
        "{wrong} of {} have another CPU time, {less} less; {more} s more, {stolen} s stolen",
        pairs.len()
    );
    for (path, component) in routes {
        let mut mine: Vec<_> = pairs
            .iter()
            .filter(|(span, _)| span.path() == path)
            .collect();
        // Others may have had the CPU: only the quicker half is like it should be.
        mine.sort_by_key(|(_, line)| line.end - line.begin);
        mine.truncate(mine.len() / 2);
        ensure!(mine.len() >= 15, "{} × {path}", mine.len());
        let sum = |of: &dyn Fn(&Span) -> f64| mine.iter().map(|(span, _)| of(span)).sum::<f64>();
        let all = sum(&Span::seconds);
        let part = sum(&|span| span.times().get(component).copied().unwrap_or(0.0));
        eprintln!(
            "{path}: {:.1} % {component}, e.g. {:?}",
            part / all * 100.0,
            mine[0].0.times()
        );
        if path == "/sleep" {
            let asleep = sum(&|span| span.real("observer.wait.sleep").unwrap_or(0.0));
            in_time!(asleep >= all * 0.9, "{asleep} s of {all} s asleep");
        }
        in_time!(
            part >= all * 0.9,
            "{path}: {part} s of {all} s are {component}: {:?}",
            mine[0].0
        );
    }
    // Who loses the CPU before it waits for the lock waits for less of it.
    let mixed = || pairs.iter().filter(|(span, _)| span.path() == "/mixed");
    for component in ["cpu", "other", "lock", "network"] {
        let time = |span: &Span| span.times().get(component).copied().unwrap_or(0.0);
        let times = mixed().map(|(span, _)| time(span)).collect();
        let median = quantile(times, 0.5);
        ensure!(
            median > 0.0045,
            "{component}: {median} s of {:?}",
            mixed().next()
        );
    }
    // The same as a histogram per route and component.
    for (path, component) in routes {
        let with = [("http.route", path), ("observer.time.component", component)];
        let count = seen.sum("observer.request.time", "observer-server", &with);
        let requests = pairs.iter().filter(|(span, _)| span.path() == path).count();
        // Those of the downstream port have the same route.
        ensure!(
            count >= requests as u64,
            "{count} × {path} {component}, not {requests}"
        );
    }
    Ok(())
}
