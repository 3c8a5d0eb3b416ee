//! Whether a family that sees nothing says so, and no other does. Needs root.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_common::family::Family;
use observer_testkit::btf::Types;
use observer_testkit::collector::Collector;
use observer_testkit::loopdev::LoopDevice;
use observer_testkit::tool::Tool;
use observer_testkit::{observer_bin, root};

/// Bytes of one read of a disk, aligned as a disk wants it.
const SECTOR: usize = 4096;

#[repr(align(4096))]
struct Aligned([u8; SECTOR]);

/// Something for every family to see: disk operations, connections, CPU time.
struct Load {
    disk: LoopDevice,
    listener: TcpListener,
}

impl Load {
    fn new() -> Result<Self> {
        Ok(Self {
            disk: LoopDevice::new(1 << 20, false)?,
            listener: TcpListener::bind("127.0.0.1:0")?,
        })
    }

    /// A tenth of a second of it.
    fn make(&self) -> Result<()> {
        let mut options = OpenOptions::new();
        let disk = options.read(true).custom_flags(libc::O_DIRECT);
        let disk = disk.open(self.disk.path())?;
        let mut room = Box::new(Aligned([0; SECTOR]));
        for place in 0..10 {
            disk.read_exact_at(&mut room.0, place * SECTOR as u64)?;
        }
        for _ in 0..5 {
            let _client = TcpStream::connect(self.listener.local_addr()?)?;
            self.listener.accept()?;
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(90) {
            std::hint::black_box(&begin);
        }
        Ok(())
    }
}

/// Runs the daemon under the load until `done`, at most some seconds longer than it
/// takes to compare; what it printed, and what it reports of its families.
fn observe(
    arguments: &[&str],
    done: impl Fn(&Tool, &BTreeMap<String, f64>) -> Result<bool>,
) -> Result<(String, BTreeMap<String, f64>)> {
    let (collector, load) = (Collector::start()?, Load::new()?);
    let mut command = Command::new(observer_bin());
    command.args([
        "run",
        "--interval",
        "2s",
        "--summary=true",
        "--budget",
        "off",
    ]);
    command.args(["--otlp-protocol", "http/protobuf"]);
    command.args(["--otlp-endpoint", &collector.endpoint()]);
    let mut daemon = Tool::start(command.args(arguments))?;
    daemon.wait_until(|daemon| Ok(daemon.printed()?.contains("observing ")))?;
    let blind = || collector.own_by("observer.probe.blind", "observer.probe");
    let begin = Instant::now();
    while !done(&daemon, &blind()?)? {
        ensure!(
            begin.elapsed() < Duration::from_secs(110),
            "{:?}: {}",
            blind()?,
            daemon.printed()?
        );
        // What came is decoded each time: not too often.
        for _ in 0..10 {
            load.make()?;
        }
    }
    Ok((daemon.end()?, blind()?))
}

/// Checks that of a daemon that takes two things for what they aren't (a flag of
/// requests at another bit, the count of a thread's switches at the place of a
/// constant) both families say so: in a line, in the summary and as a metric; and
/// that the others see.
#[test]
fn blind_families_say_so() -> Result<()> {
    if !root::is_root() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("types");
    let mut types = Types::of_this_kernel()?;
    types.set_enumerator("__RQF_IO_STAT", 31)?;
    types.move_member("task_struct", "nvcsw", "start_time")?;
    types.move_member("task_struct", "nivcsw", "start_time")?;
    types.write(&path)?;
    let path = path.to_str().context("a path")?;
    let expected = ["block", "sched"];
    let (printed, families) = observe(&["--btf", path], |daemon, families| {
        let blind = expected.iter().all(|f| families.get(*f) == Some(&1.0));
        Ok(blind && daemon.printed()?.matches("BLIND: ").count() >= 2)
    })?;
    for sentence in [
        "block sees nothing of",
        "ends of disk operations of loop",
        "that /proc/diskstats counts, since",
        "sched sees nothing of",
        "context switches of threads that /proc/stat counts, since",
        "BLIND: block sees nothing of",
        "`observer check` may say why",
    ] {
        ensure!(printed.contains(sentence), "{sentence}: {printed}");
    }
    let blind = families.iter().filter(|(_, value)| **value != 0.0);
    let blind: Vec<_> = blind.map(|(family, _)| family.as_str()).collect();
    assert_eq!(blind, expected, "{printed}");
    Ok(())
}

/// Checks that under the same load no family is called blind, that each of them
/// was compared, and that nothing of what the daemon does for that is in its
/// figures.
#[test]
fn sight_is_told_of_every_family() -> Result<()> {
    if !root::is_root() {
        return Ok(());
    }
    let (printed, families) = observe(&[], |_, families| Ok(families.len() == Family::ALL.len()))?;
    let expected: BTreeMap<String, f64> = Family::ALL
        .iter()
        .map(|family| (family.as_str().to_owned(), 0.0))
        .collect();
    assert_eq!(families, expected, "{printed}");
    ensure!(!printed.contains("GET /"), "{printed}");
    ensure!(
        !printed.contains("BLIND") && !printed.contains("sees nothing"),
        "{printed}"
    );
    Ok(())
}

/// Checks that where only some processes are traced, nothing is compared: what
/// others do would look as if it weren't seen.
#[test]
fn filters_are_no_blindness() -> Result<()> {
    if !root::is_root() {
        return Ok(());
    }
    let begin = Instant::now();
    let comparing = Duration::from_secs(14);
    let (printed, families) = observe(&["--comm", "nobody-is-called-so"], |_, _| {
        Ok(begin.elapsed() > comparing)
    })?;
    assert_eq!(families, BTreeMap::new(), "{printed}");
    ensure!(
        !printed.contains("BLIND") && !printed.contains("sees nothing"),
        "{printed}"
    );
    Ok(())
}
