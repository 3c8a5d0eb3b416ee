//! Disk operations: of a program that does a known number of them past the page
//! cache, and of one whose data the kernel writes later.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use observer_testkit::diskstats::{DIRECTIONS, DiskStats};
use observer_testkit::forked::{self, Step};
use observer_testkit::requests::Seen;

use crate::figures::Figures;

/// The disk that a guest may write to.
const DISK: &str = "vda";

const READS: usize = 700;
const READ_SIZE: usize = 16 << 10;
const WRITES: usize = 300;
const WRITE_SIZE: usize = 4 << 10;

/// Pages that are written later.
const PAGES: usize = 1024;
const PAGE: usize = 4 << 10;

/// How long the kernel may take to write them.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kernel's own figures before the load.
pub struct Before(DiskStats);

/// Does it all; returns the kernel's own figures afterwards.
pub fn load() -> Result<DiskStats> {
    let path = Path::new("/dev").join(DISK);
    let steps = [
        Step::Write {
            count: WRITES,
            size: WRITE_SIZE,
        },
        Step::Read {
            count: READS,
            size: READ_SIZE,
        },
    ];
    forked::run("vm-disk", &path, libc::O_DIRECT, &steps)?;
    // What is written is due after a second, instead of half a minute.
    for setting in ["dirty_expire_centisecs", "dirty_writeback_centisecs"] {
        std::fs::write(Path::new("/proc/sys/vm").join(setting), "100")?;
    }
    // Whoever closes a disk as the last writes all of it.
    let _open = File::open(&path)?;
    let before = DiskStats::read(DISK)?;
    let pages = Step::Write {
        count: PAGES,
        size: PAGE,
    };
    forked::run("vm-dirty", &path, 0, &[pages])?;
    let begin = Instant::now();
    loop {
        let now = DiskStats::read(DISK)?;
        let written = now.since(before).bytes[1];
        if now.in_flight == 0 && written >= (PAGES * PAGE) as u64 {
            return Ok(now);
        }
        ensure!(
            begin.elapsed() < PATIENCE,
            "the kernel wrote only {written} bytes"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Before {
    /// Reads them.
    pub fn read() -> Result<Self> {
        DiskStats::read(DISK).map(Self)
    }

    /// Compares with what the daemon said.
    pub fn compare(self, figures: &mut Figures, seen: &Seen, after: DiskStats) {
        let of = |metric: &str, process: Option<&str>, direction: &str| {
            let with = [("system.device", DISK), ("disk.io.direction", direction)];
            seen.sum_of(metric, process, &with) as u64
        };
        let (operations, bytes) = ("system.disk.operations", "system.disk.io");
        let mine = Some("vm-disk");
        for (direction, count, size) in [("read", READS, READ_SIZE), ("write", WRITES, WRITE_SIZE)]
        {
            let found = of(operations, mine, direction);
            figures.equal(&format!("block: {direction}s"), found, count as u64);
            let (found, known) = (of(bytes, mine, direction), (count * size) as u64);
            figures.equal(&format!("block: {direction} bytes"), found, known);
        }
        let found = of(bytes, Some("vm-dirty"), "write");
        figures.equal("write-back: bytes", found, (PAGES * PAGE) as u64);
        let kernel = after.since(self.0);
        for (index, direction) in DIRECTIONS.iter().enumerate() {
            let (count, sum) = (kernel.operations[index], kernel.bytes[index]);
            let name = format!("block: {direction}, operations by /proc/diskstats");
            figures.equal(&name, of(operations, None, direction), count);
            // Flushes have none.
            if *direction != "flush" {
                let name = format!("block: {direction}, bytes by /proc/diskstats");
                figures.equal(&name, of(bytes, None, direction), sum);
            }
        }
    }
}
