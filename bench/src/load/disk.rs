//! Random reads of a loop device: fio, with one at a time and with eight.

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{SILENT, bcc, exported, plan, sampled, seconds, section, tool_output};
use crate::Options;
use crate::matrix::{self, Figures, Outcome, Peer, Work};
use crate::report::Section;
use observer_testkit::diskstats::DiskStats;
use observer_testkit::loopdev::LoopDevice;
use observer_testkit::packages::program;

/// Bytes of the device; all fit into the page cache below it, so that reads
/// are as fast as the kernel can make them.
const SIZE: u64 = 256 << 20;

/// The time from a request's issue to its end, by device.
const BPFTRACE: &str = "tracepoint:block:block_rq_issue { @start[args->dev, args->sector] = nsecs; } \
     tracepoint:block:block_rq_complete /@start[args->dev, args->sector]/ { \
       @ns[args->dev] = hist(nsecs - @start[args->dev, args->sector]); \
       delete(@start[args->dev, args->sector]); } \
     END { clear(@start); }";

/// One read at a time.
pub fn sync(options: &Options) -> Result<Section> {
    run(
        options,
        "fio/sync",
        ["one at a time", "with `pread`"],
        ("psync", 1),
    )
}

/// Eight reads at a time.
pub fn asynchronous(options: &Options) -> Result<Section> {
    let how = ["eight at a time", "by libaio with a depth of 8"];
    run(options, "fio/async", how, ("libaio", 8))
}

fn run(
    options: &Options,
    name: &'static str,
    [many, how]: [&str; 2],
    (engine, depth): (&'static str, u32),
) -> Result<Section> {
    let plan = plan(
        options,
        name,
        &format!("what a read of a disk pays, {many}"),
        &format!(
            "fio reads 4 KiB at random places of a loop device, {how}, past the page cache of the device but from that of \
             the file below. bpftrace and biolatency keep a histogram by disk. Truth: the reads in `/proc/diskstats`."
        ),
    );
    let mut work = Disk::new(engine, depth)?;
    let disk = work.device.name().to_owned();
    let head = format!("@ns[{}]:", work.number()?);
    let mut all = matrix::standard(&["block"], |observer| {
        let disk = disk.clone();
        sampled(observer).counts("reads", move |collector| {
            let reads = |series: &exported::Series| {
                series.has("system.device", &disk) && series.has("disk.io.direction", "read")
            };
            Ok(exported::sum(collector, "system.disk.operations", reads)? as f64)
        })
    });
    all.push(Box::new(
        Peer::bpftrace("bpftrace, histogram by disk", BPFTRACE)
            .counts("reads", move |printed| tool_output::buckets(printed, &head)),
    ));
    all.push(Box::new(
        Peer::new(
            "biolatency -D (libbpf-tools)",
            ["biolatency", "libbpf-tools"],
            SILENT,
            |_, command| {
                command.arg("-D");
                Ok(())
            },
        )
        .counts("reads", move |printed| tool_output::of_disk(printed, &disk)),
    ));
    all.push(Box::new(bcc("biolatency-bpfcc", "Tracing")));
    all.push(Box::new(bcc("biosnoop-bpfcc", "TIME")));
    let results = plan.measure(&mut work, &all)?;
    Ok(section(
        &plan,
        &results,
        Some(2.0),
        &[("reads", "block")],
        Vec::new(),
    ))
}

/// A device and who reads it.
pub struct Disk {
    device: LoopDevice,
    engine: &'static str,
    depth: u32,
}

impl Disk {
    /// Makes the device and reads it once, so that its file is in memory.
    pub fn new(engine: &'static str, depth: u32) -> Result<Self> {
        let device = LoopDevice::new(SIZE, false)?;
        let mut file = std::fs::File::open(device.path())?;
        std::io::copy(&mut file, &mut std::io::sink()).context("cannot read the loop device")?;
        Ok(Self {
            device,
            engine,
            depth,
        })
    }

    /// The kernel's number of it: `MKDEV` of include/linux/kdev_t.h.
    fn number(&self) -> Result<u64> {
        let device = std::fs::metadata(self.device.path())?.rdev();
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        Ok(major << 20 | minor)
    }
}

impl Work for Disk {
    fn unit(&self) -> &'static str {
        "reads/s"
    }

    fn run(&mut self, quick: bool) -> Result<Outcome> {
        let mut fio = program("fio", "fio")?;
        fio.args(["--name=bench", "--direct=1", "--rw=randread", "--bs=4k"]);
        fio.args(["--time_based", "--output-format=json", "--randrepeat=0"]);
        fio.arg(format!("--filename={}", self.device.path().display()));
        fio.arg(format!("--ioengine={}", self.engine));
        fio.arg(format!("--iodepth={}", self.depth));
        fio.arg(format!("--runtime={}", seconds(quick)));
        let before = DiskStats::read(self.device.name())?;
        let output = fio.stdin(Stdio::null()).output().context("fio")?;
        let after = DiskStats::read(self.device.name())?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "fio failed: {said}");
        // Warnings may stand before it.
        let json = said.find('{').map_or("", |begin| &said[begin..]);
        let report: Value = serde_json::from_str(json).context("fio's report")?;
        let read = &report["jobs"][0]["read"];
        let rate = read["iops"].as_f64().context("fio reports no rate")?;
        let p99 = read["clat_ns"]["percentile"]["99.000000"].as_f64();
        Ok(Outcome {
            rate,
            facts: Figures::from([("reads", after.since(before).operations[0] as f64)]),
            extra: p99.map(|ns| ("p99 µs", ns / 1e3)).into_iter().collect(),
        })
    }
}
