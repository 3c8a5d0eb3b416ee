//! Checks the figures of pressure, throttling, memory and limits against the kernel's own
//! files, read by the test, while something makes them change. Needs root.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_common::workload::WorkloadId;
use observer_signals::attribute::SharedResource;
use observer_signals::{Attribute, MetricBuilder, PointValue, Resource, WallClock};
use observer_testkit::cgroup::Cgroup;
use observer_testkit::collector::{Collector, text};
use observer_testkit::daemon;
use observer_testkit::kernel::{Fixture, comm};
use observer_testkit::loopdev::LoopDevice;
use observer_testkit::workload::{self, Running};
use observer_userspace::kernel::clock;
use observer_userspace::probes::pressure::{self, Pressure};
use observer_userspace::probes::{Probe, Tick};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kernel tells whole ones, which aren't exact in seconds.
const MICROSECOND: f64 = 1e-6;

/// Of a name and place of its own.
fn unique(what: &str) -> String {
    format!("obs-{what}-{}", std::process::id())
}

/// A cgroup in each hierarchy that the family reads, and its files.
struct Group {
    groups: HashMap<&'static str, (Cgroup, bool)>,
    path: String,
}

/// Where a controller's hierarchy is mounted, and whether it is v2's.
fn hierarchy(controller: &str) -> Result<(PathBuf, bool)> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found = |wanted: &dyn Fn(&[&str]) -> bool| {
        let mut lines = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        lines
            .find(|line| wanted(line))
            .map(|line| PathBuf::from(line[1]))
    };
    let v1 = found(&|line| line[2] == "cgroup" && line[3].split(',').any(|it| it == controller));
    let v2 = || found(&|line| line[2] == "cgroup2");
    let v2 = || v2().context("no cgroup hierarchy is mounted");
    v1.map_or_else(|| Ok((v2()?, true)), |point| Ok((point, false)))
}

impl Group {
    /// After the family began: what it finds then is new, and counted from its begin on.
    fn create(name: &str) -> Result<Self> {
        let mut groups = HashMap::new();
        for controller in ["cpu", "memory", "pids", "unified"] {
            let (mount, is_v2) = hierarchy(controller)?;
            if is_v2 && controller != "unified" {
                fs::write(
                    mount.join("cgroup.subtree_control"),
                    format!("+{controller}"),
                )?;
            }
            groups.insert(controller, (Cgroup::create(&mount, name)?, is_v2));
        }
        Ok(Self {
            groups,
            path: format!("/{name}"),
        })
    }

    fn add(&self, pid: u32) -> Result<()> {
        self.groups
            .values()
            .try_for_each(|(group, _)| group.add(pid))
    }

    fn file(&self, controller: &str, v1: &str, v2: &str) -> PathBuf {
        let (group, is_v2) = &self.groups[controller];
        group.directory().join(if *is_v2 { v2 } else { v1 })
    }

    fn is_v2(&self, controller: &str) -> bool {
        self.groups[controller].1
    }

    /// A line's number.
    fn line(&self, controller: &str, v1: (&str, &str), v2: (&str, &str)) -> Result<f64> {
        let path = self.file(controller, v1.0, v2.0);
        let name = if self.is_v2(controller) { v2.1 } else { v1.1 };
        number_of(&path, name)
    }
}

/// The number behind a name at the begin of a line.
fn number_of(path: &Path, name: &str) -> Result<f64> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut words = text
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let found = words.find(|words| {
        words
            .first()
            .is_some_and(|it| it.trim_end_matches(':') == name)
    });
    let found = found.with_context(|| format!("no {name} in {}", path.display()))?;
    Ok(found.get(1).context("no number")?.parse()?)
}

/// Seconds of pressure.
fn pressure_of(path: &Path, share: &str) -> Result<f64> {
    let text = fs::read_to_string(path)?;
    let line = text
        .lines()
        .find(|line| line.starts_with(share))
        .context("no such line")?;
    let total = line.split_once("total=").context("no total")?.1;
    Ok(total.parse::<f64>()? / 1e6)
}

/// The family, with what it said last.
struct Probed {
    fixture: Fixture,
    probe: Pressure,
    clock: WallClock,
    points: Vec<Point>,
    /// By comm; each is one, as the daemon's are.
    resources: HashMap<String, SharedResource>,
}

#[derive(Debug)]
struct Point {
    /// The comm of the workload; `None`: the host's.
    comm: Option<String>,
    metric: &'static str,
    attributes: Vec<Attribute>,
    value: f64,
}

impl Point {
    fn has(&self, key: &str, value: &str) -> bool {
        let mut attributes = self.attributes.iter();
        attributes.any(|it| it.key == key && it.value == value.to_owned().into())
    }
}

impl Probed {
    fn begin() -> Result<Self> {
        let mut fixture = Fixture::attach(&[&pressure::SPEC])?;
        let mut probe = Pressure::default();
        probe.start(&mut fixture.kernel)?;
        probe.begin(&mut fixture.kernel)?;
        Ok(Self {
            fixture,
            probe,
            clock: clock::measure(),
            points: Vec::new(),
            resources: HashMap::new(),
        })
    }

    /// Reads all, and keeps what is said.
    fn tick(&mut self) -> Result<()> {
        self.probe.before_tick(&mut self.fixture.kernel)?;
        let mut resources: HashMap<WorkloadId, SharedResource> = HashMap::new();
        for listed in self.fixture.kernel.workloads()? {
            let comm = comm(&listed.key).to_owned();
            let resource = self.resources.entry(comm.clone()).or_insert_with(|| {
                Arc::new(Resource {
                    attributes: vec![Attribute::new("comm", comm)],
                })
            });
            resources.insert(listed.id, Arc::clone(resource));
        }
        let tallies = self.fixture.cells.read();
        let mut builder = MetricBuilder::default();
        let known = |id| resources.get(&id).cloned();
        let tick = Tick {
            tallies: &tallies,
            clock: self.clock,
            resource: &known,
        };
        self.probe.collect(&tick, &mut builder);
        let groups = builder.finish(Arc::default(), |id| resources[&id].clone());
        self.points.clear();
        for group in groups {
            let comm = group.resource.get_str("comm").map(str::to_owned);
            for metric in group.metrics {
                let points = metric.points.into_iter();
                self.points.extend(points.map(|point| Point {
                    comm: comm.clone(),
                    metric: metric.def.name,
                    attributes: point.attributes.to_vec(),
                    value: match point.value {
                        PointValue::Int(value) => value as f64,
                        PointValue::Double(value) => value,
                        PointValue::Histogram(_) => f64::NAN,
                    },
                }));
            }
        }
        Ok(())
    }

    /// The one point of this metric with these attributes.
    fn find(&self, metric: &str, attributes: &[(&str, &str)]) -> Option<&Point> {
        let is_it = |point: &&Point| {
            let mut wanted = attributes.iter();
            point.metric == metric && wanted.all(|(key, value)| point.has(key, value))
        };
        self.points.iter().find(is_it)
    }

    fn value(&self, metric: &str, attributes: &[(&str, &str)]) -> Result<f64> {
        let found = self.find(metric, attributes);
        Ok(found
            .with_context(|| format!("no {metric} of {attributes:?}"))?
            .value)
    }

    /// The same of the host, which has no cgroup.
    fn of_host(&self, metric: &str, attributes: &[(&str, &str)]) -> Result<f64> {
        let is_it = |point: &&Point| {
            let mut wanted = attributes.iter();
            let is_hosts = point
                .attributes
                .iter()
                .all(|it| it.key != "observer.cgroup.path");
            is_hosts && point.metric == metric && wanted.all(|(key, value)| point.has(key, value))
        };
        let found = self.points.iter().find(is_it);
        Ok(found
            .with_context(|| format!("no {metric} of {attributes:?}"))?
            .value)
    }

    /// Ticks until `done`.
    fn until(&mut self, mut done: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let begin = Instant::now();
        loop {
            self.tick()?;
            if done(self)? {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < PATIENCE,
                "it never comes: {:#?}",
                self.points
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A program of one's own in a cgroup of its own, in which it never had another name.
fn start(group: &Group, name: &str, steps: &[&str]) -> Result<Running> {
    let running = workload::run(name, steps)?;
    let comm = format!("/proc/{}/comm", running.pid());
    let begin = Instant::now();
    while fs::read_to_string(&comm)?.trim_end() != name {
        ensure!(begin.elapsed() < PATIENCE, "it is never called {name}");
        std::thread::sleep(Duration::from_millis(1));
    }
    group.add(running.pid())?;
    Ok(running)
}

/// Checks that each figure of pressure lies between what the kernel's file says before and
/// after it, of the host and of a cgroup, and is the cgroup's service's.
#[test]
fn pressure_is_the_kernels() -> Result<()> {
    let name = "obs-psi";
    let mut probed = Probed::begin()?;
    let group = Group::create(&unique("psi"))?;
    // Three that want two CPUs or less wait for each other.
    let spinning = (0..3).map(|_| start(&group, name, &["sleep=1:300", "spin=2000"]));
    let spinning = spinning.collect::<Result<Vec<_>>>()?;
    let cgroup = group.file("unified", "", "cpu.pressure");
    let cgroup = cgroup.parent().context("a directory")?;
    let of_cgroup = [("observer.cgroup.path", group.path.as_str())];
    let mut compared = 0;
    probed.until(|probed| {
        let found = probed.find("observer.pressure.time", &of_cgroup);
        Ok(found.is_some_and(|it| it.comm.as_deref() == Some(name) && it.value > 0.2))
    })?;
    let files: Vec<_> = ["cpu", "memory", "io"]
        .iter()
        .flat_map(|resource| ["some", "full"].map(|share| (*resource, share)))
        .flat_map(|(resource, share)| {
            let host = Path::new("/proc/pressure").join(resource);
            let of_cgroup = cgroup.join(format!("{resource}.pressure"));
            [
                (resource, share, host, None),
                (resource, share, of_cgroup, Some(&group.path)),
            ]
        })
        .collect();
    let read = || {
        files
            .iter()
            .map(|(_, share, path, _)| pressure_of(path, share).ok())
            .collect::<Vec<_>>()
    };
    let before = read();
    probed.tick()?;
    let after = read();
    for (((resource, share, path, place), before), after) in files.iter().zip(before).zip(after) {
        let attributes = [
            ("observer.pressure.resource", *resource),
            ("observer.pressure.share", *share),
        ];
        let said = match place {
            Some(place) => probed.value(
                "observer.pressure.time",
                &[&attributes[..], &[("observer.cgroup.path", place.as_str())]].concat(),
            ),
            None => probed.of_host("observer.pressure.time", &attributes),
        };
        let (Some(before), Some(after)) = (before, after) else {
            ensure!(said.is_err(), "{} has no {share}", path.display());
            continue;
        };
        let said = said?;
        ensure!(
            (before - MICROSECOND / 2.0..=after + MICROSECOND / 2.0).contains(&said),
            "{} {share}: {before}, {said}, {after}",
            path.display()
        );
        compared += 1;
    }
    ensure!(compared >= 10, "{compared} of {} figures", files.len());
    drop(spinning);
    Ok(())
}

/// Checks throttling: of a program that wants a CPU and may have a fifth of one, periods
/// and time are the kernel's, and are its service's; and its own clock says that it got no
/// more than it may.
#[test]
fn a_limit_of_the_cpu_throttles() -> Result<()> {
    let name = "obs-throttled";
    let mut probed = Probed::begin()?;
    let group = Group::create(&unique("throttled"))?;
    if group.is_v2("cpu") {
        fs::write(group.file("cpu", "", "cpu.max"), "20000 100000")?;
    } else {
        fs::write(group.file("cpu", "cpu.cfs_period_us", ""), "100000")?;
        fs::write(group.file("cpu", "cpu.cfs_quota_us", ""), "20000")?;
    }
    let begin = Instant::now();
    let running = start(&group, name, &["spin=600"])?;
    let of_cgroup = ("observer.cgroup.path", group.path.as_str());
    let throttled = [of_cgroup, ("observer.cgroup.cpu.throttled", "true")];
    probed.until(|probed| {
        let found = probed.find("observer.cgroup.cpu.periods", &throttled);
        Ok(found.is_some_and(|it| it.comm.as_deref() == Some(name) && it.value >= 10.0))
    })?;
    running.wait()?;
    let took = begin.elapsed().as_secs_f64();
    // The kernel's timer goes on for some periods.
    let line = |name: &'static str| group.line("cpu", ("cpu.stat", name), ("cpu.stat", name));
    let seconds = || {
        anyhow::Ok(match group.is_v2("cpu") {
            true => line("throttled_usec")? / 1e6,
            false => line("throttled_time")? / 1e9,
        })
    };
    let kernel = || anyhow::Ok([line("nr_throttled")?, line("nr_periods")?, seconds()?]);
    let before = kernel()?;
    probed.tick()?;
    let after = kernel()?;
    let times = probed.value("observer.cgroup.cpu.periods", &throttled)?;
    let free = [of_cgroup, ("observer.cgroup.cpu.throttled", "false")];
    let all = times + probed.value("observer.cgroup.cpu.periods", &free)?;
    let said = probed.value("observer.cgroup.cpu.throttled.time", &[of_cgroup])?;
    for ((said, before), after) in [times, all, said].into_iter().zip(before).zip(after) {
        let is_its = said >= before - 1e-6 && said <= after + 1e-6;
        ensure!(is_its, "{said}, by the kernel {before} and then {after}");
    }
    let limit = probed.value("observer.cgroup.cpu.limit", &[of_cgroup])?;
    ensure!((limit - 0.2).abs() < 1e-9, "{limit}");
    // 600 ms of CPU at a fifth of one; the first and last period may be cut.
    ensure!(
        took > 2.0 && said > 1.0 && said < took,
        "{took} s, throttled for {said} s"
    );
    Ok(())
}

/// Checks a leak that is about to be killed: before it is, usage and limit are the
/// kernel's and the time left shrinks to nothing; then its death is counted, with the
/// service and for the host.
#[test]
fn a_leak_is_seen_before_it_is_killed() -> Result<()> {
    const LIMIT: f64 = (64 << 20) as f64;
    let name = "obs-leak";
    let mut probed = Probed::begin()?;
    let group = Group::create(&unique("leak"))?;
    fs::write(
        group.file("memory", "memory.limit_in_bytes", "memory.max"),
        format!("{LIMIT}"),
    )?;
    // Where there is swap it would only take longer.
    let _ = fs::write(
        group.file("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
        match group.is_v2("memory") {
            true => "0".to_owned(),
            false => format!("{LIMIT}"),
        },
    );
    probed.tick()?;
    let killed_before = probed.of_host("observer.memory.oom_kills", &[])?;
    let leak = start(&group, name, &["sleep=1:500", "keep=1000:60"])?;
    let of_cgroup = ("observer.cgroup.path", group.path.as_str());
    let limit = [of_cgroup, ("observer.limit.name", "memory")];
    let kill = [of_cgroup, ("observer.cgroup.memory.event.type", "oom_kill")];
    let begin = Instant::now();
    let mut ends = Vec::new();
    probed.until(|probed| {
        let full = probed
            .find("observer.limit.utilization", &limit)
            .map(|it| it.value);
        let left = probed
            .find("observer.limit.time_left", &limit)
            .map(|it| it.value);
        if let (Some(full), Some(left)) = (full, left)
            && (0.4..0.9).contains(&full)
        {
            ends.push(begin.elapsed().as_secs_f64() + left);
            assert_eq!(
                probed.value("observer.cgroup.memory.limit", &[of_cgroup])?,
                LIMIT
            );
            let now = group.file("memory", "memory.usage_in_bytes", "memory.current");
            let now: f64 = fs::read_to_string(now)?.trim().parse()?;
            let said = probed.value("container.memory.usage", &[of_cgroup])?;
            ensure!(
                said <= now + (4 << 20) as f64 && said > now - LIMIT / 4.0,
                "{said}, {now} by the kernel"
            );
        }
        let killed = probed.find("observer.cgroup.memory.events", &kill);
        Ok(killed.is_some_and(|it| it.comm.as_deref() == Some(name) && it.value > 0.0))
    })?;
    let end = begin.elapsed().as_secs_f64();
    assert!(leak.wait().is_err(), "it was killed");
    let by_kernel = group.line(
        "memory",
        ("memory.oom_control", "oom_kill"),
        ("memory.events", "oom_kill"),
    )?;
    assert_eq!(
        probed.value("observer.cgroup.memory.events", &kill)?,
        by_kernel
    );
    probed.tick()?;
    let killed = probed.of_host("observer.memory.oom_kills", &[])? - killed_before;
    ensure!(
        killed >= by_kernel,
        "{killed} of the host, {by_kernel} here"
    );
    ensure!(!ends.is_empty(), "it was never said when it ends");
    ends.sort_by(f64::total_cmp);
    let said = ends[ends.len() / 2];
    ensure!(
        (said / end - 1.0).abs() < 0.5,
        "said to end after {said} s, ended after {end} s: {ends:?}"
    );
    Ok(())
}

/// Checks descriptors that leak against a low limit: the number is that of /proc/PID/fd,
/// and the time left goes to nothing.
#[test]
fn descriptors_run_out() -> Result<()> {
    const LIMIT: u64 = 200;
    let name = "obs-fds";
    let mut probed = Probed::begin()?;
    let group = Group::create(&unique("fds"))?;
    let running = start(
        &group,
        name,
        &["sleep=1:300", "open=150:20", "sleep=1:600000"],
    )?;
    let status = Command::new("prlimit")
        .args([
            format!("--pid={}", running.pid()),
            format!("--nofile={LIMIT}:{LIMIT}"),
        ])
        .status()
        .context("util-linux's prlimit is missing")?;
    ensure!(status.success(), "prlimit failed");
    let of_cgroup = ("observer.cgroup.path", group.path.as_str());
    let limit = [
        of_cgroup,
        ("observer.limit.name", "process_file_descriptors"),
    ];
    let mut left = Vec::new();
    let open =
        || Ok::<_, anyhow::Error>(fs::read_dir(format!("/proc/{}/fd", running.pid()))?.count());
    probed.until(|probed| {
        left.extend(
            probed
                .find("observer.limit.time_left", &limit)
                .map(|it| it.value),
        );
        let found = probed.find("process.unix.file_descriptor.count", &[of_cgroup]);
        let found = found.filter(|it| it.comm.as_deref() == Some(name));
        Ok(found.is_some_and(|it| it.value >= 150.0 && it.value == open().unwrap_or(0) as f64))
    })?;
    let said = probed.value("observer.limit.utilization", &limit)?;
    let expected = open()? as f64 / LIMIT as f64;
    ensure!(
        (said - expected).abs() < 1e-9,
        "{said}, {expected} by /proc"
    );
    // It takes 20 ms or more for each of 200.
    ensure!(
        left.iter().any(|left| (0.5..60.0).contains(left)),
        "{left:?}"
    );
    Ok(())
}

/// Checks a disk image that is filled: what is used is what statvfs says, and the time left
/// fits what the test writes in a second.
#[test]
fn a_disk_fills() -> Result<()> {
    const STEP: usize = 2 << 20;
    let device = LoopDevice::new(128 << 20, false)?;
    let mounted = device.mount()?;
    let point = mounted.path().display().to_string();
    let mut probed = Probed::begin()?;
    let of = ("system.filesystem.mountpoint", point.as_str());
    let limit = [of, ("observer.limit.name", "disk_space")];
    let begin = Instant::now();
    let file = fs::File::create(mounted.path().join("filler"))?;
    let mut said = None;
    let mut written = 0;
    probed.until(|probed| {
        use std::io::Write as _;
        use std::os::unix::fs::MetadataExt as _;
        (&file).write_all(&vec![7; STEP])?;
        file.sync_all()?;
        written = file.metadata()?.blocks() * 512;
        said = probed
            .find("observer.limit.time_left", &limit)
            .map(|it| it.value);
        std::thread::sleep(Duration::from_millis(250));
        Ok(said.is_some() && begin.elapsed() > Duration::from_secs(8))
    })?;
    let rate = written as f64 / begin.elapsed().as_secs_f64();
    let room = nix::sys::statvfs::statvfs(mounted.path())?;
    let left = (room.blocks_available() * room.fragment_size()) as f64 / rate;
    let said = said.context("no time is left")?;
    // It was asked some seconds ago, and at another rate.
    ensure!(
        said > left * 0.6 && said < left * 1.5 + 15.0,
        "{said} s are left, {left} s by what is written"
    );
    let used = probed.value(
        "system.filesystem.usage",
        &[of, ("system.filesystem.state", "used")],
    )?;
    let size = probed.value("system.filesystem.limit", &[of])?;
    assert_eq!(size as u64, room.blocks() * room.fragment_size());
    let now = ((room.blocks() - room.blocks_free()) * room.fragment_size()) as f64;
    ensure!(used <= now && used > 0.0, "{used}, {now} by statvfs");
    Ok(())
}

/// Checks the host's figures against the kernel's files: counters lie between what they say
/// before and after, what doesn't change is the same.
#[test]
fn figures_of_the_host() -> Result<()> {
    let mut probed = Probed::begin()?;
    let vmstat = || number_of(Path::new("/proc/vmstat"), "pgmajfault");
    let faults =
        || Ok::<_, anyhow::Error>(number_of(Path::new("/proc/vmstat"), "pgfault")? - vmstat()?);
    let (major, minor) = (vmstat()?, faults()?);
    probed.tick()?;
    let kind = |kind| [("system.paging.fault.type", kind)];
    let said = probed.of_host("system.paging.faults", &kind("minor"))?;
    ensure!((minor..=faults()?).contains(&said), "{said}");
    let said = probed.of_host("system.paging.faults", &kind("major"))?;
    ensure!((major..=vmstat()?).contains(&said), "{said}");
    let memory = number_of(Path::new("/proc/meminfo"), "MemTotal")? * 1024.0;
    assert_eq!(probed.of_host("system.memory.limit", &[])?, memory);
    let most = fs::read_to_string("/proc/sys/kernel/threads-max")?
        .trim()
        .parse::<f64>()?;
    let share = probed.of_host(
        "observer.limit.utilization",
        &[("observer.limit.name", "threads")],
    )?;
    let threads = fs::read_to_string("/proc/loadavg")?;
    let threads = threads
        .split(['/', ' '])
        .nth(4)
        .context("threads")?
        .parse::<f64>()?;
    ensure!(
        (share * most - threads).abs() < 50.0,
        "{share} of {most}: {threads}"
    );
    let disks: f64 = fs::read_to_string("/proc/diskstats")?
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(12)?.parse::<f64>().ok())
        .sum();
    if disks > 0.0 {
        let said = probed
            .points
            .iter()
            .find(|it| it.metric == "system.disk.io_time");
        ensure!(
            said.is_some_and(|it| it.value > 0.0 && it.value <= disks / 1e3 + 1.0),
            "{said:?}"
        );
    }
    Ok(())
}

/// Checks the way to who reads it: a unit whose process the kernel kills for want of memory
/// is named by the collector's metrics and by the summary, with the limit that it reached.
#[test]
fn the_daemon_names_who_was_killed() -> Result<()> {
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let observer = daemon::start_with(
        &["--interval", "1s", "--summary"],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)],
    )?;
    let unit = unique("killed");
    let group = Group::create(&format!("{unit}.service"))?;
    let limit = group.file("memory", "memory.limit_in_bytes", "memory.max");
    fs::write(limit, (48 << 20).to_string())?;
    let killed = || {
        collector.total(
            "observer.cgroup.memory.events",
            |resource| text(resource, "service.name") == Some(&unit),
            |point| {
                text(point, "observer.cgroup.memory.event.type") == Some("oom_kill")
                    && text(point, "observer.cgroup.path") == Some(&group.path)
            },
        )
    };
    let leak = start(&group, "obs-killed", &["sleep=1:1000", "keep=1000:100"])?;
    let begin = Instant::now();
    while killed()? == 0.0 {
        ensure!(begin.elapsed() < PATIENCE, "nobody was killed");
        std::thread::sleep(Duration::from_millis(100));
    }
    let by_kernel = group.line(
        "memory",
        ("memory.oom_control", "oom_kill"),
        ("memory.events", "oom_kill"),
    )?;
    assert_eq!(killed()?, by_kernel);
    assert!(leak.wait().is_err(), "it was killed");
    let reached = collector.total(
        "observer.limit.utilization",
        |resource| text(resource, "service.name") == Some(&unit),
        |point| text(point, "observer.limit.name") == Some("memory"),
    )?;
    ensure!(reached > 0.5 && reached <= 1.01, "{reached} of its limit");
    let printed = observer.end()?;
    ensure!(
        printed.contains(&format!("memory by kills: {unit}")),
        "{printed}"
    );
    Ok(())
}
