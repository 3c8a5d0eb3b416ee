//! Block I/O: operations, bytes, errors and latencies by device and workload,
//! operations under way by device, slow operations one by one.

mod devices;
mod names;
mod slow;
mod unseen;
mod witnesses;

use observer_common::workload::WorkloadId;
use std::collections::BTreeMap;

use observer_common::block::{SlowOperation, split_label};
use observer_common::family::{Family, Part};
use observer_common::names::{maps, programs};
use observer_common::tally::Kind;

use self::devices::Devices;
use self::names::{Direction, Operations};
use self::unseen::Unseen;
use super::{MetricBuilder, Probe, Sight, SpanCollector, Tick};
use crate::blindness::Witness;
use crate::kernel::clock;
use crate::kernel::ring::record;
use crate::kernel::{Attach, Kernel, ProbeSpec, ProgramSpec};
use observer_signals::{Attribute, Instrument, MetricDef, PointValue, UnixNanos, Value};

/// Fields without which no request can be understood.
const REQUEST_FIELDS: &[&str] = &[
    "request_queue",
    "request_part",
    "request_bio",
    "request_cmd_flags",
    "request_rq_flags",
    "rqf_io_stat",
    "rqf_flush_seq",
    "request_data_len",
    "queue_disk",
    "disk_major",
    "disk_first_minor",
];

/// Fields by which it is found whose data a request writes.
const DIRTY_FIELDS: &[&str] = &[
    "request_bio",
    "bio_io_vec",
    "bio_vec_page",
    "page_compound_head",
    "page_mapping",
];

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::Block),
    observes: "block operations, bytes, errors, time queued and in the device",
    programs: &[
        // The end before the beginning, so that nothing begins unseen by it.
        ProgramSpec {
            name: programs::BLOCK_COMPLETE,
            attach: Attach::Tracepoint("block_rq_complete"),
            needs: REQUEST_FIELDS,
            lost_without: "all block metrics but the operations under way",
        },
        ProgramSpec {
            name: programs::BLOCK_DONE,
            attach: Attach::Tracepoint("block_io_done"),
            needs: REQUEST_FIELDS,
            lost_without: "operations that an interrupt completes while another is being counted (kernels 6.2 to 6.4)",
        },
        ProgramSpec {
            name: programs::BLOCK_ISSUE,
            attach: Attach::Tracepoint("block_rq_issue"),
            needs: &[
                "request_queue",
                "request_part",
                "request_bio",
                "request_cmd_flags",
                "request_rq_flags",
                "request_data_len",
                "rqf_io_stat",
                "rqf_flush_seq",
                "queue_disk",
                "disk_major",
                "disk_first_minor",
                "bio_io_vec",
                "block_issue_arguments",
            ],
            lost_without: "the time that operations spend in the device, and cache flushes' durations",
        },
        ProgramSpec {
            name: programs::BLOCK_START,
            attach: Attach::FirstTracepoint(&["block_io_start", "block_rq_insert"]),
            needs: &[
                "request_queue",
                "request_bio",
                "request_cmd_flags",
                "request_data_len",
                "queue_disk",
                "disk_major",
                "disk_first_minor",
                "bio_io_vec",
                "block_insert_arguments",
            ],
            lost_without: "the time that block operations are queued",
        },
        ProgramSpec {
            name: programs::BLOCK_DIRTY,
            attach: Attach::FirstTracepoint(&["writeback_dirty_folio", "writeback_dirty_page"]),
            needs: DIRTY_FIELDS,
            lost_without: "who wrote what the kernel writes back later: its threads are charged",
        },
    ],
    requires: &[&super::sched::SPEC],
    covered_by: None,
    prepare: None,
    seen_by: &[programs::BLOCK_COMPLETE, programs::BLOCK_DONE],
};

const DEVICE: (&str, &str) = ("system.device", "The disk, named as in `/proc/diskstats`");
const DIRECTION: (&str, &str) = (
    "disk.io.direction",
    "`read`, `write`, `discard` or `flush`: the four groups of `/proc/diskstats`",
);
const OPERATION: (&str, &str) = (
    "observer.disk.operation.name",
    "The kernel's name of the operation: `read`, `write`, `discard`, `flush`, `write_zeroes`, `zone_append`, …",
);

/// Durations.
pub static DURATION: MetricDef = MetricDef {
    name: "observer.disk.operation.duration",
    unit: "s",
    instrument: Instrument::Histogram,
    description: "Duration of block operations, and the parts of it. Before Linux 6.5 an operation that goes straight to the driver is seen only then: it has no time in the queue.",
    attributes: &[
        OPERATION,
        (
            "observer.disk.operation.part",
            "`queue` until the driver takes the operation, `device` from then to its end, `total` both together",
        ),
        DEVICE,
    ],
};

/// Operations.
pub static OPERATIONS: MetricDef = MetricDef {
    name: "system.disk.operations",
    unit: "{operation}",
    instrument: Instrument::Counter,
    description: "Block operations that are done, merged ones once.",
    attributes: &[DIRECTION, DEVICE],
};

/// Bytes.
pub static IO: MetricDef = MetricDef {
    name: "system.disk.io",
    unit: "By",
    instrument: Instrument::Counter,
    description: "Bytes of block operations that are done.",
    attributes: &[DIRECTION, DEVICE],
};

/// Failures.
pub static ERRORS: MetricDef = MetricDef {
    name: "observer.disk.errors",
    unit: "{operation}",
    instrument: Instrument::Counter,
    description: "Block operations that failed.",
    attributes: &[
        (
            "error.type",
            "Name of the errno that the block layer turns the status into, e.g. `EIO`",
        ),
        OPERATION,
        DEVICE,
    ],
};

/// Queue depth.
pub static IN_FLIGHT: MetricDef = MetricDef {
    name: "observer.disk.in_flight",
    unit: "{operation}",
    instrument: Instrument::Gauge,
    description: "Block operations under way in the device.",
    attributes: &[DEVICE],
};

static METRICS: &[&MetricDef] = &[&DURATION, &OPERATIONS, &IO, &ERRORS, &IN_FLIGHT];

/// The family.
#[derive(Default)]
pub struct Block {
    devices: Devices,
    operations: Operations,
    unseen: Unseen,
    /// Operations and bytes of the last tick, which never fall, and the start.
    last: Lasts,
}

impl Probe for Block {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        METRICS
    }

    fn start(&mut self, kernel: &mut Kernel) -> anyhow::Result<()> {
        self.operations = Operations::new(kernel.block_operations());
        self.devices.refresh()?;
        self.unseen.start(kernel)
    }

    fn before_tick(&mut self, _kernel: &mut Kernel) -> anyhow::Result<()> {
        let before = clock::monotonic();
        self.devices.refresh()?;
        self.unseen.look(&self.devices, before);
        Ok(())
    }

    fn retire(&mut self, gone: WorkloadId, heir: Option<WorkloadId>) {
        if heir == Some(gone) {
            return;
        }
        let whose = |key: &(WorkloadId, u32, Direction)| key.0 == gone;
        let (past, last) = std::mem::take(&mut self.last)
            .into_iter()
            .partition(|(key, _)| whose(key));
        self.last = last;
        let past: Lasts = past;
        for ((_, device, direction), (operations, bytes, since)) in past {
            let Some(heir) = heir else { break };
            let last = self.last.entry((heir, device, direction));
            let last = last.or_insert((0, 0, since));
            *last = (last.0 + operations, last.1 + bytes, last.2.min(since));
        }
    }

    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder) {
        let mut sums = Sums::default();
        self.collect_histograms(tick, &mut sums, out);
        self.collect_counters(tick, &mut sums, out);
        for request in self.unseen.found() {
            let workload = request.owner.workload;
            let start = tick.clock.wall(request.started);
            let sum = sums.of(workload, request.device, request.operation as u8, start);
            sum.operations += 1;
            sum.bytes += u64::from(request.size);
        }
        for (device, operations) in sums.by_device() {
            self.unseen.compare(device, operations, &self.devices);
        }
        for ((workload, device, direction), mut sum) in sums.0 {
            // A request may be found as unseen and counted a moment later, or
            // have begun before the first that was counted: what was said once
            // doesn't fall, nor does the start move.
            let key = (workload, device, direction);
            let last = self.last.entry(key).or_insert((0, 0, sum.since));
            sum.operations = sum.operations.max(last.0);
            sum.bytes = sum.bytes.max(last.1);
            sum.since = last.2;
            *last = (sum.operations, sum.bytes, sum.since);
            let attributes = vec![
                Attribute::new("disk.io.direction", direction.name()),
                Attribute::new("system.device", self.devices.name(device)),
            ];
            if sum.operations != 0 {
                let value = int(sum.operations);
                let attributes = attributes.clone();
                out.workload(workload, &OPERATIONS, attributes, sum.since, value);
            }
            if sum.bytes != 0 {
                out.workload(workload, &IO, attributes, sum.since, int(sum.bytes));
            }
        }
        for (name, in_flight) in self.devices.in_flight() {
            let attributes = vec![Attribute::new("system.device", name.to_string())];
            out.host(&IN_FLIGHT, attributes, 0, int(in_flight));
        }
    }

    fn witnesses(&mut self, sight: &mut Sight<'_>) -> anyhow::Result<Vec<Witness>> {
        if !sight.kernel.has(programs::BLOCK_COMPLETE) {
            return Ok(Vec::new());
        }
        Ok(witnesses::all(&self.devices, sight.tallies))
    }

    fn ring(&self) -> Option<&'static str> {
        Some(maps::BLOCK_RING)
    }

    fn record(&mut self, bytes: &[u8], out: &mut SpanCollector<'_>) {
        let Some(slow) = record::<SlowOperation>(bytes) else {
            return;
        };
        let device = self.devices.name(slow.device);
        let operation = self.operations.name(slow.operation as u8);
        let workload = slow.workload;
        let resource = (out.resource)(workload);
        let span = slow::span(&slow, device, &operation, resource, out.clock);
        out.spans.push((workload, span));
    }
}

impl Block {
    fn collect_histograms(&mut self, tick: &Tick<'_>, sums: &mut Sums, out: &mut MetricBuilder) {
        for (series, tally) in &tick.tallies.histograms {
            let part = match series.kind {
                kind if kind == Kind::BlockTotal as u8 => "total",
                kind if kind == Kind::BlockQueue as u8 => "queue",
                kind if kind == Kind::BlockDevice as u8 => "device",
                _ => continue,
            };
            let (device, operation, _) = split_label(series.label);
            let start = tick.clock.wall(tally.since);
            if part == "total" {
                sums.of(series.workload, device, operation, start)
                    .operations += tally.count();
            }
            let attributes = vec![
                Attribute::new(OPERATION.0, Value::String(self.operations.name(operation))),
                Attribute::new("observer.disk.operation.part", part),
                Attribute::new("system.device", self.devices.name(device)),
            ];
            let value = PointValue::Histogram(tally.to_histogram());
            out.workload(series.workload, &DURATION, attributes, start, value);
        }
    }

    fn collect_counters(&mut self, tick: &Tick<'_>, sums: &mut Sums, out: &mut MetricBuilder) {
        for (series, tally) in &tick.tallies.counters {
            let (device, operation, status) = split_label(series.label);
            let start = tick.clock.wall(tally.since);
            match series.kind {
                kind if kind == Kind::BlockBytes as u8 => {
                    sums.of(series.workload, device, operation, start).bytes += tally.value;
                }
                kind if kind == Kind::BlockUntimed as u8 => {
                    sums.of(series.workload, device, operation, start)
                        .operations += tally.value;
                }
                kind if kind == Kind::BlockErrors as u8 => {
                    let attributes = vec![
                        Attribute::new("error.type", names::error(status)),
                        Attribute::new(OPERATION.0, Value::String(self.operations.name(operation))),
                        Attribute::new("system.device", self.devices.name(device)),
                    ];
                    let value = int(tally.value);
                    out.workload(series.workload, &ERRORS, attributes, start, value);
                }
                _ => {}
            }
        }
    }
}

/// Operations and bytes as of the last tick, and the start, by workload, device and
/// direction.
type Lasts = BTreeMap<(WorkloadId, u32, Direction), (u64, u64, UnixNanos)>;

/// Operations and bytes by workload, device and direction: the kernel half
/// tells more operations apart.
#[derive(Default)]
struct Sums(BTreeMap<(WorkloadId, u32, Direction), Sum>);

struct Sum {
    since: UnixNanos,
    operations: u64,
    bytes: u64,
}

impl Sums {
    fn of(&mut self, who: WorkloadId, device: u32, operation: u8, start: UnixNanos) -> &mut Sum {
        let key = (who, device, Direction::of(operation));
        let sum = self.0.entry(key).or_insert(Sum {
            since: start,
            operations: 0,
            bytes: 0,
        });
        sum.since = sum.since.min(start);
        sum
    }

    /// Operations by device.
    fn by_device(&self) -> BTreeMap<u32, u64> {
        let mut devices = BTreeMap::new();
        for ((_, device, _), sum) in &self.0 {
            *devices.entry(*device).or_default() += sum.operations;
        }
        devices
    }
}

fn int(value: u64) -> PointValue {
    PointValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
}
