//! A daemon under measurement that sends to a collector of ours.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use observer_export::otlp::Signal;
use observer_userspace::kernel::stats;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use prost::Message;

use observer_testkit::collector::Collector;
use observer_testkit::daemon;
use observer_testkit::observer_bin;
use observer_testkit::tool::Tool;

/// Seconds between two exports of the watched daemons; the default is
/// [`DEFAULT_INTERVAL`]. What costs per interval is seen sooner this way.
pub const INTERVAL: u64 = 2;

/// Seconds between two exports by default.
pub const DEFAULT_INTERVAL: f64 = 10.0;

/// What the daemon and its programs used in a while.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// How long it was.
    pub seconds: f64,
    /// CPU seconds of the daemon.
    pub cpu: f64,
    /// Seconds that its BPF programs ran.
    pub bpf: f64,
    /// Bytes resident at its end.
    pub resident: f64,
}

impl Used {
    /// CPU seconds of the daemon for each of its intervals.
    pub fn per_interval(&self) -> f64 {
        self.cpu / self.seconds * INTERVAL as f64
    }
}

/// What was left when a daemon had ended.
pub struct Ended {
    /// All that it sent.
    pub collector: Collector,
    /// CPU seconds from when it was ready to its end.
    pub cpu: f64,
    /// Bytes resident before its last word …
    pub resident: f64,
    /// … and at most.
    pub peak: f64,
}

/// A daemon.
pub struct Watched {
    tool: Tool,
    collector: Collector,
    /// Wall seconds from its start until it was ready.
    pub start: f64,
    /// CPU seconds that it used until then.
    pub start_cpu: f64,
}

impl Watched {
    /// Starts it with these arguments, without a budget, which would have it
    /// save work, and with the queue that long steps need.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let collector = Collector::start()?;
        let endpoint = collector.endpoint();
        let interval = format!("{INTERVAL}s");
        let mut all = vec!["--interval", &interval, "--otlp-endpoint", &endpoint];
        all.extend(without_budget());
        all.extend(arguments);
        let begin = Instant::now();
        let tool = daemon::start(&all)?;
        Ok(Self {
            start: begin.elapsed().as_secs_f64(),
            start_cpu: daemon::cpu_seconds(tool.pid())?,
            tool,
            collector,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.tool.pid()
    }

    /// Where it sends to.
    pub fn collector(&self) -> &Collector {
        &self.collector
    }

    /// Bytes resident now.
    pub fn resident(&self) -> Result<f64> {
        Ok(daemon::resident(self.pid())
            .context("the daemon ended early")?
            .0
            * 1e6)
    }

    /// What it uses while `during` goes on, its programs measured by the kernel.
    pub fn used<T>(&self, during: impl FnOnce() -> Result<T>) -> Result<(T, Used)> {
        let enabled = stats::enable()?;
        let (_, cpu, bpf) = (
            self.resident()?,
            daemon::cpu_seconds(self.pid())?,
            daemon::bpf(self.pid()).0,
        );
        let begin = Instant::now();
        let result = during()?;
        let seconds = begin.elapsed().as_secs_f64();
        let (resident, bpf_end) = (self.resident()?, daemon::bpf(self.pid()).0);
        let used = Used {
            seconds,
            cpu: daemon::cpu_seconds(self.pid())? - cpu,
            bpf: bpf_end - bpf,
            resident,
        };
        drop(enabled);
        Ok((result, used))
    }

    /// What it uses in `seconds`.
    pub fn used_in(&self, seconds: u64) -> Result<Used> {
        let wait = || {
            std::thread::sleep(Duration::from_secs(seconds));
            Ok(())
        };
        Ok(self.used(wait)?.1)
    }

    /// Interrupts it and waits for its last word.
    pub fn end(self) -> Result<Ended> {
        let pid = self.pid();
        let resident = self.resident()?;
        let before = waited_for()?;
        let over = AtomicBool::new(false);
        // The end is when the last profile is made.
        let (printed, peak) = std::thread::scope(|scope| {
            let looks = scope.spawn(|| {
                let mut peak: f64 = 0.0;
                while !over.load(Ordering::Relaxed) {
                    peak = daemon::resident(pid).map_or(peak, |(_, highest)| peak.max(highest));
                    std::thread::sleep(Duration::from_millis(5));
                }
                peak
            });
            let printed = self.tool.end();
            over.store(true, Ordering::Relaxed);
            (printed, looks.join().unwrap_or(0.0))
        });
        printed?;
        Ok(Ended {
            cpu: waited_for()? - before - self.start_cpu,
            resident,
            peak: peak * 1e6,
            collector: self.collector,
        })
    }
}

/// Arguments that turn the daemon's own limit of its cost off, if it has one.
fn without_budget() -> &'static [&'static str] {
    static BUDGET: OnceLock<bool> = OnceLock::new();
    let known = BUDGET.get_or_init(|| {
        let help = Command::new(observer_bin())
            .args(["run", "--help"])
            .output();
        help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--budget"))
    });
    if *known { &["--budget", "off"] } else { &[] }
}

/// CPU seconds of all our children that were waited for.
fn waited_for() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// The latest total of a metric (a counter's value, a histogram's count) over
/// all workloads and series that are `wanted` by the resource's and by their own
/// attributes. Each series counts with its own latest value, for a large export
/// comes in several requests.
pub fn total(
    collector: &Collector,
    metric: &str,
    wanted: impl Fn(&[KeyValue], &[KeyValue]) -> bool,
) -> Result<u64> {
    let mut series: HashMap<(Vec<u8>, Vec<u8>), u64> = HashMap::new();
    for request in collector.receiver().taken(Signal::Metrics) {
        let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
        for group in request.resource_metrics {
            let resource = group.resource.unwrap_or_default();
            let whose = resource.encode_to_vec();
            let metrics = group.scope_metrics.into_iter().flat_map(|s| s.metrics);
            for found in metrics.filter(|m| m.name == metric) {
                let points: Vec<(Vec<KeyValue>, u64)> = match found.data {
                    Some(Data::Sum(data)) => data
                        .data_points
                        .into_iter()
                        .map(|p| {
                            let value = match p.value {
                                Some(number_data_point::Value::AsInt(n)) => {
                                    u64::try_from(n).unwrap_or(0)
                                }
                                Some(number_data_point::Value::AsDouble(n)) => n as u64,
                                None => 0,
                            };
                            (p.attributes, value)
                        })
                        .collect(),
                    Some(Data::ExponentialHistogram(data)) => data
                        .data_points
                        .into_iter()
                        .map(|p| (p.attributes, p.count))
                        .collect(),
                    _ => continue,
                };
                for (attributes, value) in points
                    .into_iter()
                    .filter(|(a, _)| wanted(&resource.attributes, a))
                {
                    let key = attributes.iter().flat_map(Message::encode_to_vec).collect();
                    let latest = series.entry((whose.clone(), key)).or_default();
                    *latest = value.max(*latest);
                }
            }
        }
    }
    Ok(series.values().sum())
}

/// What is counted, but as the workload `other`, for want of room.
const FOLDED: [&str; 2] = ["workload_table_full", "series_folded"];

/// Losses that are of no account here: figures that are right, only less
/// detailed, or what the user chose.
const NO_LOSS: [&str; 3] = ["switch_unseen", "request_limited", "span_rate_limited"];

/// Events that were counted as `other`.
pub fn folded(collector: &Collector) -> Result<u64> {
    let losses = collector.losses()?.into_iter();
    let folded = losses.filter(|(cause, _)| FOLDED.iter().any(|one| cause.ends_with(one)));
    Ok(folded.map(|(_, count)| count).sum())
}

/// What the daemon says it lost, by `family/cause`.
pub fn lost(collector: &Collector) -> Result<BTreeMap<String, u64>> {
    let mut lost = collector.losses()?;
    lost.retain(|cause, count| {
        *count > 0
            && !NO_LOSS
                .iter()
                .chain(&FOLDED)
                .any(|quiet| cause.ends_with(quiet))
    });
    Ok(lost)
}

/// The same in words.
pub fn lost_text(lost: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = lost
        .iter()
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect();
    parts.join(", ")
}
