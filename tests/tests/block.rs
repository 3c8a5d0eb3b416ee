//! Checks the probes of block I/O against /proc/diskstats, fio, and programs
//! that do a known amount of I/O on a loop device of their own.

use observer_common::workload::WorkloadId;
use std::os::unix::process::CommandExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_signals::WallClock;
use observer_signals::attribute::SharedResource;
use observer_signals::{Attribute, Histogram, PointValue, Resource, Span, SpanStatus, Value};
use observer_testkit::diskstats::{DIRECTIONS, DiskStats};
use observer_testkit::forked::{self, Step};
use observer_testkit::in_time;
use observer_testkit::kernel;
use observer_testkit::loopdev::LoopDevice;
use observer_testkit::packages::program;
use observer_userspace::kernel::cells::Cells;
use observer_userspace::kernel::clock;
use observer_userspace::kernel::ring::Ring;
use observer_userspace::kernel::{Kernel, LoadOptions};
use observer_userspace::probes::{MetricBuilder, Probe, SpanCollector, Tick, block};

/// One test at a time: they measure.
static ALONE: Mutex<()> = Mutex::new(());

const MIB: u64 = 1 << 20;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kernel half with the block probes attached.
struct Fixture {
    kernel: Kernel,
    cells: Cells,
    block: block::Block,
    ring: Ring,
    clock: WallClock,
}

/// One point: whose (comm), what, with which attributes, how much.
struct Point {
    comm: String,
    metric: &'static str,
    attributes: Vec<Attribute>,
    value: PointValue,
}

impl Point {
    fn is(&self, metric: &str, attributes: &[(&str, &str)]) -> bool {
        self.metric == metric
            && attributes.iter().all(|(key, value)| {
                self.attributes
                    .iter()
                    .any(|a| a.key == *key && a.value == Value::from(value.to_string()))
            })
    }
}

struct Points(Vec<Point>);

impl Points {
    /// Sum of a metric's numbers, of one comm or of all.
    fn sum(&self, metric: &str, comm: Option<&str>, attributes: &[(&str, &str)]) -> u64 {
        self.0
            .iter()
            .filter(|p| p.is(metric, attributes) && comm.is_none_or(|comm| p.comm == comm))
            .map(|p| match &p.value {
                PointValue::Int(n) => *n as u64,
                _ => 0,
            })
            .sum()
    }

    fn histogram(&self, comm: &str, attributes: &[(&str, &str)]) -> Histogram {
        let mut all = Histogram::default();
        for point in &self.0 {
            if point.comm == comm
                && point.is("observer.disk.operation.duration", attributes)
                && let PointValue::Histogram(histogram) = &point.value
            {
                all.merge(histogram);
            }
        }
        all
    }

    /// The same figures as the kernel's for a disk.
    fn disk(&self, device: &str) -> DiskStats {
        let of = |metric: &str| {
            DIRECTIONS.map(|direction| {
                let attributes = [("system.device", device), ("disk.io.direction", direction)];
                self.sum(metric, None, &attributes)
            })
        };
        DiskStats {
            operations: of("system.disk.operations"),
            bytes: of("system.disk.io"),
            ..DiskStats::default()
        }
    }
}

impl Fixture {
    fn new(slow_block_ns: u64) -> Result<Self> {
        let options = LoadOptions {
            slow_block_ns,
            ..LoadOptions::default()
        };
        let attached = kernel::Fixture::with_options(&options, &[&block::SPEC])?;
        let kernel::Fixture { mut kernel, cells } = attached;
        let mut block = block::Block::default();
        block.start(&mut kernel)?;
        let ring = Ring::take(&mut kernel, block.ring().context("the family has a ring")?)?;
        Ok(Self {
            kernel,
            cells,
            block,
            ring,
            clock: clock::measure(),
        })
    }

    fn points(&mut self) -> Result<Points> {
        self.block.before_tick(&mut self.kernel)?;
        let tallies = self.cells.read();
        let mut builder = MetricBuilder::default();
        let tick = Tick {
            tallies: &tallies,
            clock: self.clock,
            resource: &|_| None,
        };
        self.block.collect(&tick, &mut builder);
        let workloads = self.workloads()?;
        let host = resource("host");
        let mut points = Vec::new();
        for group in builder.finish(host, |id| find(&workloads, id)) {
            let comm = group.resource.get_str("comm").unwrap_or_default();
            for metric in group.metrics {
                points.extend(metric.points.into_iter().map(|p| Point {
                    comm: comm.to_string(),
                    metric: metric.def.name,
                    attributes: p.attributes.to_vec(),
                    value: p.value,
                }));
            }
        }
        Ok(Points(points))
    }

    /// Workloads by number, as resources that only know the comm.
    fn workloads(&mut self) -> Result<Vec<(WorkloadId, SharedResource)>> {
        let workloads = self.kernel.workloads()?;
        Ok(workloads
            .into_iter()
            .map(|one| {
                let comm = String::from_utf8_lossy(&one.key.comm);
                (one.id, resource(comm.trim_end_matches('\0')))
            })
            .collect())
    }

    /// All spans of slow operations so far.
    fn spans(&mut self) -> Result<Vec<Span>> {
        let workloads = self.workloads()?;
        let mut resource = |id| find(&workloads, id);
        let mut out = SpanCollector {
            clock: self.clock,
            resource: &mut resource,
            spans: Vec::new(),
            kept: Vec::new(),
            wants_spans: true,
        };
        let block = &mut self.block;
        self.ring
            .drain(usize::MAX, |record| block.record(record, &mut out));
        Ok(out.spans.into_iter().map(|(_, span)| span).collect())
    }

    /// The kernel's figures and ours from a time at which nobody used the disk: whoever
    /// looks at new disks may still do so.
    fn begin(&mut self, device: &str) -> Result<(DiskStats, DiskStats)> {
        let begin = Instant::now();
        loop {
            let before = DiskStats::read(device)?;
            let ours = self.points()?.disk(device);
            if before.in_flight == 0 && before == DiskStats::read(device)? {
                return Ok((before, ours));
            }
            ensure!(begin.elapsed() < PATIENCE, "{device} is always in use");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the disk is idle and our figures have grown as much as the
    /// kernel's, a minute at most; returns both growths and all points.
    fn settle(
        &mut self,
        device: &str,
        kernel: DiskStats,
        ours: DiskStats,
    ) -> Result<(DiskStats, DiskStats, Points)> {
        let (begin, mut tries) = (Instant::now(), 0);
        loop {
            let kernel = DiskStats::read(device)?.since(kernel);
            let points = self.points()?;
            let ours = points.disk(device).since(ours);
            let same = kernel.operations == ours.operations && kernel.bytes == ours.bytes;
            tries += 1;
            let settled = same && kernel.in_flight == 0 && tries > 2;
            if settled || begin.elapsed() > PATIENCE {
                return Ok((kernel, ours, points));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn resource(comm: &str) -> SharedResource {
    SharedResource::new(Resource {
        attributes: vec![Attribute::new("comm", comm.to_string())],
    })
}

fn find(workloads: &[(WorkloadId, SharedResource)], id: WorkloadId) -> SharedResource {
    workloads
        .iter()
        .find(|(known, _)| *known == id)
        .map_or_else(|| resource("other"), |(_, resource)| resource.clone())
}

/// Runs a test inside a tokio runtime (the ring wants one), one at a time.
fn alone(test: impl FnOnce() -> Result<()>) -> Result<()> {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    test()
}

/// Never slow.
const NEVER: u64 = u64::MAX;

/// Checks that operations and bytes of direct I/O of known size, discards and
/// flushes are the kernel's own figures and the program's, charged to it.
#[test]
fn direct_io_is_exact() -> Result<()> {
    alone(|| {
        let disk = LoopDevice::new(64 * MIB, false)?;
        let mut fixture = Fixture::new(NEVER)?;
        let (kernel, ours) = fixture.begin(disk.name())?;
        let steps = [
            Step::Write {
                count: 300,
                size: 4096,
            },
            Step::Read {
                count: 700,
                size: 16384,
            },
            Step::Discard {
                offset: 32 * MIB,
                size: 8 * MIB,
            },
            Step::Write {
                count: 5,
                size: 65536,
            },
            Step::Sync,
        ];
        forked::run("blk-direct", &disk.path(), libc::O_DIRECT, &steps)?;
        let (kernel, ours, points) = fixture.settle(disk.name(), kernel, ours)?;
        assert_eq!(kernel.operations, ours.operations, "operations");
        assert_eq!(kernel.bytes, ours.bytes, "bytes");
        let mine = |metric: &str, direction: &str| {
            points.sum(
                metric,
                Some("blk-direct"),
                &[
                    ("disk.io.direction", direction),
                    ("system.device", disk.name()),
                ],
            )
        };
        assert_eq!(mine("system.disk.operations", "read"), 700);
        assert_eq!(mine("system.disk.io", "read"), 700 * 16384);
        assert_eq!(mine("system.disk.io", "write"), 300 * 4096 + 5 * 65536);
        assert_eq!(mine("system.disk.io", "discard"), 8 * MIB);
        assert_eq!(
            mine("system.disk.operations", "discard"),
            kernel.operations[2]
        );
        assert_eq!(
            mine("system.disk.operations", "flush"),
            kernel.operations[3]
        );
        assert!(kernel.operations[3] >= 1, "fsync flushes");
        Ok(())
    })
}

/// Checks that buffered writes, merged and split as the kernel likes, and the
/// reads that fetch them again are the kernel's own figures.
#[test]
fn buffered_io_is_exact() -> Result<()> {
    alone(|| {
        let disk = LoopDevice::new(64 * MIB, false)?;
        let mut fixture = Fixture::new(NEVER)?;
        let (kernel, ours) = fixture.begin(disk.name())?;
        let steps = [
            Step::Write {
                count: 8000,
                size: 4096,
            },
            Step::Sync,
        ];
        forked::run("blk-buffered", &disk.path(), 0, &steps)?;
        let (kernel, ours, points) = fixture.settle(disk.name(), kernel, ours)?;
        assert_eq!(kernel.operations, ours.operations, "operations");
        assert_eq!(kernel.bytes, ours.bytes, "bytes");
        let attributes = [
            ("disk.io.direction", "write"),
            ("system.device", disk.name()),
        ];
        assert_eq!(
            points.sum("system.disk.io", Some("blk-buffered"), &attributes),
            8000 * 4096
        );
        Ok(())
    })
}

/// Checks that what a program left in the page cache is charged to it when the
/// kernel's threads write it back after its end.
#[test]
fn writeback_is_charged_to_the_dirtier() -> Result<()> {
    alone(|| {
        let disk = LoopDevice::new(128 * MIB, false)?;
        let mounted = disk.mount()?;
        let mut fixture = Fixture::new(NEVER)?;
        let (kernel, ours) = fixture.begin(disk.name())?;
        let file = mounted.path().join("file");
        let steps = [Step::Write {
            count: 4096,
            size: 4096,
        }];
        forked::run("blk-dirtier", &file, libc::O_CREAT, &steps)?;
        // syncfs has the flusher thread write, and waits for it.
        let folder = std::fs::File::open(mounted.path())?;
        // SAFETY: an open descriptor.
        nix::errno::Errno::result(unsafe {
            libc::syncfs(std::os::fd::AsRawFd::as_raw_fd(&folder))
        })?;
        let (kernel, ours, points) = fixture.settle(disk.name(), kernel, ours)?;
        assert_eq!(kernel.operations, ours.operations, "operations");
        assert_eq!(kernel.bytes, ours.bytes, "bytes");
        let attributes = [
            ("disk.io.direction", "write"),
            ("system.device", disk.name()),
        ];
        let charged = points.sum("system.disk.io", Some("blk-dirtier"), &attributes);
        let size = 4096 * 4096;
        assert!(
            (size..size + MIB).contains(&charged),
            "{charged} of {size} bytes are charged to the dirtier"
        );
        Ok(())
    })
}

/// Checks that failures are counted by errno: reads beyond the end of the
/// file below a loop device are EIO.
#[test]
fn errors_have_names() -> Result<()> {
    alone(|| {
        let disk = LoopDevice::new(16 * MIB, false)?;
        disk.backing().set_len(8 * MIB)?;
        let mut fixture = Fixture::new(NEVER)?;
        let (kernel, ours) = fixture.begin(disk.name())?;
        let read = Step::FailingRead {
            offset: 12 * MIB as i64,
            size: 4096,
            errno: libc::EIO,
        };
        forked::run("blk-errors", &disk.path(), libc::O_DIRECT, &[read; 7])?;
        let (kernel, ours, points) = fixture.settle(disk.name(), kernel, ours)?;
        assert_eq!(kernel.operations, ours.operations, "operations");
        assert_eq!(kernel.bytes, ours.bytes, "bytes");
        let attributes = [
            ("error.type", "EIO"),
            ("observer.disk.operation.name", "read"),
            ("system.device", disk.name()),
        ];
        assert_eq!(
            points.sum("observer.disk.errors", Some("blk-errors"), &attributes),
            7
        );
        Ok(())
    })
}

/// Checks that every operation above the threshold becomes a span that says
/// what, where, how much, by whom, and whose parts add up.
#[test]
fn slow_operations_become_spans() -> Result<()> {
    alone(|| {
        let disk = LoopDevice::new(16 * MIB, false)?;
        disk.backing().set_len(8 * MIB)?;
        let mut fixture = Fixture::new(1)?;
        let steps = [
            Step::Read {
                count: 50,
                size: 8192,
            },
            Step::FailingRead {
                offset: 12 * MIB as i64,
                size: 4096,
                errno: libc::EIO,
            },
        ];
        forked::run("blk-slow", &disk.path(), libc::O_DIRECT, &steps)?;
        // The program is done before the kernel is with its last operation.
        let (begin, mut spans) = (Instant::now(), Vec::new());
        while spans.len() < 51 && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
            let new = fixture.spans()?.into_iter();
            spans.extend(new.filter(|span| span.resource.get_str("comm") == Some("blk-slow")));
        }
        assert_eq!(spans.len(), 51);
        for (index, span) in spans.iter().enumerate() {
            let get = |key: &str| {
                let found = span.attributes.iter().find(|a| a.key == key);
                found.map(|a| a.value.clone())
            };
            let seconds = |key: &str| match get(key) {
                Some(Value::Double(seconds)) => seconds,
                other => panic!("{key} is {other:?}"),
            };
            assert_eq!(span.name, "disk read");
            assert_eq!(get("system.device"), Some(disk.name().to_string().into()));
            let length = (span.end - span.start) as f64 / 1e9;
            let parts = seconds("observer.disk.operation.queue.duration")
                + seconds("observer.disk.operation.device.duration");
            assert!((length - parts).abs() < 1e-9, "{length} is not {parts}");
            if index < 50 {
                assert_eq!(get("observer.disk.operation.size"), Some(8192u32.into()));
                assert_eq!(span.status, SpanStatus::Unset);
            } else {
                assert_eq!(get("error.type"), Some("EIO".into()));
                assert_eq!(span.status, SpanStatus::Error("EIO".into()));
            }
        }
        Ok(())
    })
}

/// Checks that the operations under way are a gauge of whole disks.
#[test]
fn in_flight_is_by_disk() -> Result<()> {
    alone(|| {
        let disk = LoopDevice::new(16 * MIB, false)?;
        let mut fixture = Fixture::new(NEVER)?;
        let read = Step::Read {
            count: 1,
            size: 4096,
        };
        forked::run("blk-gauge", &disk.path(), libc::O_DIRECT, &[read])?;
        let begin = Instant::now();
        // The program is done before the kernel is with its operation.
        loop {
            let points = fixture.points()?;
            let gauges: Vec<&PointValue> = points
                .0
                .iter()
                .filter(|p| p.is("observer.disk.in_flight", &[("system.device", disk.name())]))
                .map(|p| &p.value)
                .collect();
            assert_eq!(gauges.len(), 1);
            if *gauges[0] == PointValue::Int(0) {
                return Ok(());
            }
            let waited = begin.elapsed();
            ensure!(waited < PATIENCE, "something still runs: {:?}", gauges[0]);
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

/// Checks that median and p99 of the total latency lie within one bucket of
/// what fio measured for the same reads, and the counts are the kernel's.
#[test]
fn latency_agrees_with_fio() -> Result<()> {
    alone(|| {
        // Past the page cache, so that the disk below takes the time rather
        // than the way to it.
        let disk = LoopDevice::new(64 * MIB, true)?;
        // What was never written is not read from the disk below either.
        let fill = Step::Write {
            count: 1024,
            size: 65536,
        };
        forked::run(
            "blk-fill",
            &disk.path(),
            libc::O_DIRECT,
            &[fill, Step::Sync],
        )?;
        let mut seen = Vec::new();
        // Whoever else uses the machine delays fio after the operation's end:
        // one undisturbed run is enough.
        for _ in 0..8 {
            let mut fixture = Fixture::new(NEVER)?;
            let (kernel, ours) = fixture.begin(disk.name())?;
            let theirs = fio(&disk)?;
            let (kernel, ours, points) = fixture.settle(disk.name(), kernel, ours)?;
            assert_eq!(kernel.operations, ours.operations, "operations");
            assert_eq!(kernel.bytes, ours.bytes, "bytes");
            let histogram = points.histogram(
                "fio",
                &[
                    ("observer.disk.operation.name", "read"),
                    ("observer.disk.operation.part", "total"),
                    ("system.device", disk.name()),
                ],
            );
            let mut off = Vec::new();
            for (quantile, theirs) in theirs {
                let ours = histogram.quantile(quantile).context("fio has read")?;
                // Buckets lie a quarter of a power of two apart.
                let bucket = |seconds: f64| (seconds.log2() * 4.0).ceil() - 1.0;
                off.push(bucket(ours) - bucket(theirs));
            }
            if off.iter().all(|off: &f64| off.abs() <= 1.0) {
                return Ok(());
            }
            seen.push(off);
        }
        in_time!(
            false,
            "in no run both median and p99 are at most one bucket off: {seen:?}"
        );
        Ok(())
    })
}

/// Has fio read at random; returns median and p99 of its completion latency in
/// seconds.
fn fio(disk: &LoopDevice) -> Result<[(f64, f64); 2]> {
    let mut fio = program("fio", "fio")?;
    // Else fio's figure contains how long it waits for a CPU after the end of
    // the operation.
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        fio.pre_exec(|| {
            let first = libc::sched_param { sched_priority: 10 };
            match libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let output = fio
        .args(["--name=read", "--rw=randread", "--bs=4k", "--direct=1"])
        .args(["--ioengine=psync", "--iodepth=1", "--runtime=2"])
        .args(["--time_based", "--size=64m", "--randseed=1"])
        .args(["--thread", "--output-format=json"])
        .arg(format!("--filename={}", disk.path().display()))
        .output()?;
    ensure!(
        output.status.success(),
        "fio failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let percentiles = &report["jobs"][0]["read"]["clat_ns"]["percentile"];
    let seconds = |name: &str| -> Result<f64> {
        let ns = percentiles[name].as_f64();
        Ok(ns.with_context(|| format!("fio reports no percentile {name}"))? / 1e9)
    };
    Ok([(0.5, seconds("50.000000")?), (0.99, seconds("99.000000")?)])
}
