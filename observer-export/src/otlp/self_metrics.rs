//! The catalogue of the daemon's own metrics: what each is, and where its
//! value comes from. `docs/metrics.md` and the instruments are made from it.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;

use super::signal::{DropCause, ExportStats, Signal};
use crate::self_stats::{Fill, ProcessUsage, SelfStats};
use observer_signals::{BudgetStatus, Instrument, MetricDef};

/// What the values are read from.
pub struct Snapshot<'a> {
    /// What the agent wrote.
    pub own: &'a SelfStats,
    /// What the exporter did.
    pub export: ExportStats,
    /// Memory and CPU, if `/proc` is there.
    pub usage: Option<ProcessUsage>,
}

/// Takes one series: its value and attributes.
pub type Reading<'a> = dyn FnMut(f64, &[KeyValue]) + 'a;

/// One metric of the daemon about itself.
pub struct SelfMetric {
    /// Name, unit, instrument and attributes.
    pub def: &'static MetricDef,
    /// Its values are whole numbers.
    pub whole: bool,
    /// Reports every series.
    pub read: fn(&Snapshot<'_>, &mut Reading<'_>),
}

/// All of them.
pub static CATALOGUE: &[SelfMetric] = &[
    SelfMetric {
        def: &MetricDef {
            name: "observer.bpf.program.run_time",
            unit: "s",
            instrument: Instrument::Counter,
            description: "Time a BPF program of Observer's ran, on all CPUs together.",
            attributes: &[PROGRAM],
        },
        whole: false,
        read: |s, into| {
            for p in &s.own.programs {
                into(p.run_time_ns as f64 / 1e9, &[kv(PROGRAM.0, &p.name)]);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.bpf.program.run_count",
            unit: "{run}",
            instrument: Instrument::Counter,
            description: "How often a BPF program of Observer's ran.",
            attributes: &[PROGRAM],
        },
        whole: true,
        read: |s, into| {
            for p in &s.own.programs {
                into(p.run_count as f64, &[kv(PROGRAM.0, &p.name)]);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.bpf.ring.utilization",
            unit: "1",
            instrument: Instrument::Gauge,
            description: "How full a ring buffer was when it was last read, from 0 to 1.",
            attributes: &[MAP],
        },
        whole: false,
        read: |s, into| fills(&s.own.rings, into),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.bpf.map.utilization",
            unit: "1",
            instrument: Instrument::Gauge,
            description: "How full a BPF map of fixed size is, from 0 to 1.",
            attributes: &[MAP],
        },
        whole: false,
        read: |s, into| fills(&s.own.maps, into),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.probe.lost",
            unit: "{event}",
            instrument: Instrument::Counter,
            description: "Events lost between the kernel and the export queue.",
            attributes: &[
                ("observer.probe", "the probe family"),
                ("error.type", "why it was lost"),
            ],
        },
        whole: true,
        read: |s, into| {
            for l in &s.own.losses {
                let attributes = [kv("observer.probe", &l.probe), kv("error.type", &l.cause)];
                into(l.count as f64, &attributes);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.tenant.refused",
            unit: "{entry}",
            instrument: Instrument::Counter,
            description: "How often something of a user's, or of root's in a container, found no room in a table that all share, or in its share of that. The first 64 of each table are told apart, the rest is `other`.",
            attributes: &[
                (
                    "observer.table",
                    "`workloads` (as often as it was announced: at most every 50 ms), `request_ring` (messages on connections), `tls_sessions`, `unwind_tables`, `unwind_mappings`, `unwind_processes`, `perf_maps`, `cpython_code`, `tls_files`, `readers`",
                ),
                TENANT,
            ],
        },
        whole: true,
        read: |s, into| {
            for one in &s.own.refused {
                let attributes = [kv("observer.table", one.table), kv(TENANT.0, &one.tenant)];
                into(one.count as f64, &attributes);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.process.corrected",
            unit: "{process}",
            instrument: Instrument::Counter,
            description: "Processes that were counted under another service than what they run, be it that they named themselves late or that their beginning was missed, until a look at a few of all showed it; since then they are right.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| into(s.own.corrected as f64, &[]),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.set_aside",
            unit: "{reader}",
            instrument: Instrument::Gauge,
            description: "Threads of Observer's that wait for something that doesn't answer, and that is set aside for that. Absent while there is none.",
            attributes: &[
                (
                    "observer.subject",
                    "what doesn't answer: `process` (its memory map), `root` (a file system that it sees), `device` (a file system), `threads`, `figures` (of the host, in `/proc`), `cgroups`",
                ),
                TENANT,
                ("observer.workload.comm", "the process's name"),
            ],
        },
        whole: true,
        read: |s, into| {
            // Of equal attributes there may be one value only.
            let mut waiting: BTreeMap<_, u32> = BTreeMap::new();
            for one in &s.own.set_aside {
                let key = (one.kind, &one.tenant, &one.comm);
                *waiting.entry(key).or_default() += 1;
            }
            for ((kind, tenant, comm), count) in waiting {
                let attributes = [
                    kv("observer.subject", kind),
                    kv(TENANT.0, tenant),
                    kv("observer.workload.comm", comm),
                ];
                into(f64::from(count), &attributes);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.probe.blind",
            unit: "1",
            instrument: Instrument::Gauge,
            description: "1 while a probe family sees less than half of what the kernel counts itself, or of what Observer does itself in order to be seen; else 0. Absent until there was enough to compare, and where only some processes are traced.",
            attributes: &[("observer.probe", "the probe family")],
        },
        whole: true,
        read: |s, into| {
            for family in &s.own.seeing {
                let attributes = [kv("observer.probe", &family.probe)];
                into(f64::from(u8::from(family.blind.is_some())), &attributes);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.profile.samples",
            unit: "{sample}",
            instrument: Instrument::Counter,
            description: "Samples of stacks on CPU, by what unwinding the user stack came to.",
            attributes: &[OUTCOME],
        },
        whole: true,
        read: |s, into| {
            for (outcome, count) in &s.own.profiles.on_cpu {
                into(*count as f64, &[kv(OUTCOME.0, outcome.name())]);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.profile.off_cpu.time",
            unit: "s",
            instrument: Instrument::Counter,
            description: "Threads' time off CPU in profiles, by what unwinding the user stack came to.",
            attributes: &[OUTCOME],
        },
        whole: false,
        read: |s, into| {
            for (outcome, ns) in &s.own.profiles.off_cpu {
                into(*ns as f64 / 1e9, &[kv(OUTCOME.0, outcome.name())]);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.unwind.table.count",
            unit: "{table}",
            instrument: Instrument::UpDownCounter,
            description: "Unwinding tables in the kernel: one of each executable file in use.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| into(s.own.unwinding.tables as f64, &[]),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.unwind.table.size",
            unit: "By",
            instrument: Instrument::UpDownCounter,
            description: "Kernel memory that unwinding tables take.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| into(s.own.unwinding.bytes as f64, &[]),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.unwind.table.changes",
            unit: "{table}",
            instrument: Instrument::Counter,
            description: "Unwinding tables that were built, could not be built, or were evicted.",
            attributes: &[(CHANGE, "`built`, `failed` or `evicted`")],
        },
        whole: true,
        read: |s, into| {
            let unwinding = &s.own.unwinding;
            into(unwinding.built as f64, &[kv(CHANGE, "built")]);
            into(unwinding.failed as f64, &[kv(CHANGE, "failed")]);
            into(unwinding.evicted as f64, &[kv(CHANGE, "evicted")]);
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.unwind.process.count",
            unit: "{process}",
            instrument: Instrument::UpDownCounter,
            description: "Processes whose mappings the kernel half knows.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| into(s.own.unwinding.processes as f64, &[]),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.governor.budget",
            unit: "1",
            instrument: Instrument::Gauge,
            description: "What Observer may cost, as a share of the host's CPU: of all online CPUs together.",
            attributes: &[],
        },
        whole: false,
        read: |s, into| governing(s, |status| into(status.budget, &[])),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.governor.cost",
            unit: "1",
            instrument: Instrument::Gauge,
            description: "What Observer costs, as a share of the host's CPU, as the governor measured it last.",
            attributes: &[PART],
        },
        whole: false,
        read: |s, into| {
            governing(s, |status| {
                into(status.bpf, &[kv(PART.0, "kernel_half")]);
                into(status.daemon, &[kv(PART.0, "daemon")]);
            });
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.governor.level",
            unit: "{step}",
            instrument: Instrument::Gauge,
            description: "Steps that are taken to keep to the budget; 0: everything is observed as configured.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| governing(s, |status| into(status.level as f64, &[])),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.governor.limit",
            unit: "{step}",
            instrument: Instrument::Gauge,
            description: "Steps that there are. With all of them taken, counters alone remain.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| governing(s, |status| into(status.levels as f64, &[])),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.governor.steps",
            unit: "{step}",
            instrument: Instrument::Counter,
            description: "Steps that were taken to keep to the budget, or taken back.",
            attributes: &[
                (
                    "observer.governor.step",
                    "what it is about: `stack_samples`, `off_cpu`, `spans`, `requests`, `syscall_duration`, `run_queue`, `datagrams`",
                ),
                (
                    "observer.governor.direction",
                    "`less` when it was taken, `more` when it was taken back",
                ),
            ],
        },
        whole: true,
        read: |s, into| {
            governing(s, |status| {
                for (name, counts) in &status.steps {
                    for (direction, count) in [("less", counts.taken), ("more", counts.back)] {
                        let attributes = [
                            kv("observer.governor.step", name),
                            kv("observer.governor.direction", direction),
                        ];
                        into(count as f64, &attributes);
                    }
                }
            });
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.governor.exhausted",
            unit: "1",
            instrument: Instrument::Gauge,
            description: "1 while Observer costs more than its budget though no step is left that would help, else 0.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| governing(s, |status| into(f64::from(status.exhausted), &[])),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.export.queue.size",
            unit: "By",
            instrument: Instrument::UpDownCounter,
            description: "Bytes that wait to be exported or are under way.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| into(s.export.queued_bytes as f64, &[]),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.export.queue.capacity",
            unit: "By",
            instrument: Instrument::UpDownCounter,
            description: "The bound on observer.export.queue.size.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| into(s.export.limit_bytes as f64, &[]),
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.export.queue.items",
            unit: "{item}",
            instrument: Instrument::UpDownCounter,
            description: "Data points, spans or samples that wait to be exported.",
            attributes: &[SIGNAL],
        },
        whole: true,
        read: |s, into| {
            for signal in Signal::ALL {
                let items = s.export.signal(signal).queued_items;
                into(items as f64, &[kv(SIGNAL.0, signal.as_str())]);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.export.sent",
            unit: "{item}",
            instrument: Instrument::Counter,
            description: "Data points, spans or samples that the OTLP endpoint took.",
            attributes: &[SIGNAL],
        },
        whole: true,
        read: |s, into| {
            for signal in Signal::ALL {
                let items = s.export.signal(signal).sent_items;
                into(items as f64, &[kv(SIGNAL.0, signal.as_str())]);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.export.sent.size",
            unit: "By",
            instrument: Instrument::Counter,
            description: "Bytes of the messages that the OTLP endpoint took, as compressed.",
            attributes: &[SIGNAL],
        },
        whole: true,
        read: |s, into| {
            for signal in Signal::ALL {
                let bytes = s.export.signal(signal).sent_bytes;
                into(bytes as f64, &[kv(SIGNAL.0, signal.as_str())]);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.export.lost",
            unit: "{item}",
            instrument: Instrument::Counter,
            description: "Data points, spans or samples that did not reach the OTLP endpoint.",
            attributes: &[
                SIGNAL,
                (
                    "error.type",
                    "why: queue_full, too_large, refused, partial_success, unsupported, shutdown",
                ),
            ],
        },
        whole: true,
        read: |s, into| {
            for signal in Signal::ALL {
                for cause in DropCause::ALL {
                    let attributes = [
                        kv(SIGNAL.0, signal.as_str()),
                        kv("error.type", cause.as_str()),
                    ];
                    let items = s.export.signal(signal).lost_to(cause);
                    into(items as f64, &attributes);
                }
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "observer.export.retries",
            unit: "{attempt}",
            instrument: Instrument::Counter,
            description: "Attempts to export that failed and were made again.",
            attributes: &[SIGNAL],
        },
        whole: true,
        read: |s, into| {
            for signal in Signal::ALL {
                let retries = s.export.signal(signal).retries;
                into(retries as f64, &[kv(SIGNAL.0, signal.as_str())]);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "process.memory.usage",
            unit: "By",
            instrument: Instrument::UpDownCounter,
            description: "The daemon's resident memory.",
            attributes: &[],
        },
        whole: true,
        read: |s, into| {
            if let Some(usage) = s.usage {
                into(usage.rss_bytes as f64, &[]);
            }
        },
    },
    SelfMetric {
        def: &MetricDef {
            name: "process.cpu.time",
            unit: "s",
            instrument: Instrument::Counter,
            description: "The daemon's CPU time; its BPF programs' time is not in it.",
            attributes: &[("cpu.mode", "user or system")],
        },
        whole: false,
        read: |s, into| {
            if let Some(usage) = s.usage {
                into(usage.user_seconds, &[kv("cpu.mode", "user")]);
                into(usage.system_seconds, &[kv("cpu.mode", "system")]);
            }
        },
    },
];

/// What they are, without where they come from.
pub fn metrics() -> impl Iterator<Item = &'static MetricDef> {
    CATALOGUE.iter().map(|metric| metric.def)
}

const PART: (&str, &str) = (
    "observer.governor.part",
    "`kernel_half`: run time of its BPF programs; `daemon`: CPU time of the process",
);
const PROGRAM: (&str, &str) = ("observer.bpf.program.name", "the program");
const OUTCOME: (&str, &str) = (
    "observer.unwind.outcome",
    "`complete`, or why the stack is incomplete; see below",
);
const TENANT: (&str, &str) = (
    "observer.tenant",
    "whose: `user N`, `root`, `root in mount namespace N`, or what else is known (`cgroup PATH`, `device N:N`)",
);
const CHANGE: &str = "observer.unwind.table.change";
const MAP: (&str, &str) = ("observer.bpf.map.name", "the ring buffer or map");
const SIGNAL: (&str, &str) = ("observer.signal", "metrics, traces or profiles");

fn kv(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, value.to_owned())
}

/// How the governor stands; nothing without one.
fn governing(snapshot: &Snapshot<'_>, read: impl FnOnce(&BudgetStatus)) {
    if let Some(status) = &snapshot.own.governing {
        read(status);
    }
}

fn fills(fills: &[Fill], into: &mut Reading<'_>) {
    for fill in fills {
        into(fill.ratio, &[kv(MAP.0, &fill.name)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::self_stats::{ProbeLoss, ProfileOutcomes, ProgramStats, Refused, Seeing, SetAside};
    use observer_common::unwind::Outcome;
    use observer_signals::StepCounts;

    /// Checks that every series carries exactly the attributes that the
    /// catalogue documents, and that every metric has one.
    #[test]
    fn series_are_as_documented() {
        let own = SelfStats {
            programs: vec![ProgramStats::default()],
            rings: vec![Fill::default()],
            maps: vec![Fill::default()],
            losses: vec![ProbeLoss::default()],
            seeing: vec![Seeing::default()],
            refused: vec![Refused::default()],
            set_aside: vec![SetAside::default(), SetAside::default()],
            profiles: ProfileOutcomes {
                on_cpu: [(Outcome::Complete, 1)].into(),
                off_cpu: [(Outcome::Complete, 1)].into(),
            },
            governing: Some(BudgetStatus {
                steps: [("spans", StepCounts::default())].into(),
                ..BudgetStatus::default()
            }),
            ..SelfStats::default()
        };
        let snapshot = Snapshot {
            own: &own,
            export: ExportStats::default(),
            usage: Some(ProcessUsage::default()),
        };
        for metric in CATALOGUE {
            let documented: Vec<_> = metric.def.attributes.iter().map(|a| a.0).collect();
            let mut series = 0;
            (metric.read)(&snapshot, &mut |_, attributes| {
                let keys: Vec<_> = attributes.iter().map(|a| a.key.as_str()).collect();
                assert_eq!(keys, documented, "{}", metric.def.name);
                series += 1;
            });
            assert!(series > 0, "{}", metric.def.name);
        }
    }
}
