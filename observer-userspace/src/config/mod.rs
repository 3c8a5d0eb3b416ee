//! Configuration: defaults < file < environment < flags, one documented struct.
//!
//! [`layer`] defines every option once, as flag and as key of the file;
//! [`Config`] is what remains when the layers lie on each other. What the
//! OpenTelemetry specification says about `OTEL_EXPORTER_OTLP_*` belongs to
//! the exporter, which therefore gets both layers ([`Otlp`]).

pub(crate) mod address;
pub(crate) mod containers;
#[cfg(test)]
mod documented;
pub(crate) mod file;
pub(crate) mod layer;
mod layered;
mod otlp;
mod prometheus;
mod requests;
pub(crate) mod suggest;
mod tables;
pub(crate) mod units;
pub mod values;

use std::path::PathBuf;
use std::time::Duration;

use observer_common::family::Family;

use layer::{FilterLayer, Layer, LogLayer, OtlpLayer, RecordLayer};
use layered::Layered as _;
pub use prometheus::Prometheus;
pub use requests::Requests;
pub use tables::Tables;
use units::{Budget, Period};
use values::{LogFilter, LogFormat};

use crate::governor;
use crate::kernel::object::options::SLOW_BLOCK;

/// What Observer may cost where nobody says otherwise.
const DEFAULT_BUDGET: Budget = Budget::Share(0.01);

/// Longest name that the kernel keeps of a thread (`TASK_COMM_LEN` - 1).
const COMM_LIMIT: usize = 15;

/// Settings of one run, complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time between two exports or summaries.
    pub interval: Duration,
    /// End after this time; `None`: run until interrupted.
    pub duration: Option<Duration>,
    /// What to observe, each once, in the order of [`Family::ALL`].
    pub probes: Vec<Family>,
    /// Stack samples per second and CPU.
    pub frequency: u32,
    /// From which length on time off CPU is profiled.
    pub off_cpu_threshold: Duration,
    /// What Observer may cost: a share of the host's CPU, all online CPUs
    /// together, from 0 to 1. `None`: whatever it takes.
    pub budget: Option<f64>,
    /// How often the cost is compared with the budget.
    pub budget_period: Duration,
    /// A standstill of the daemon's loop of so long ends it; `None`: never.
    pub stall_limit: Option<Duration>,
    /// Whether the kernel half's diagnostics (aya-log) are compiled in.
    pub kernel_debug: bool,
    /// A file with the kernel's types, instead of the kernel's own: for tests.
    pub btf: Option<PathBuf>,
    /// Whether the daemon exports its own cost, fill levels and losses.
    pub own_telemetry: bool,
    /// Whom to observe.
    pub filter: Filter,
    /// Whom to ask what containers are called.
    pub containers: observer_containers::Settings,
    /// Where to send OTLP.
    pub otlp: Otlp,
    /// Where Prometheus may scrape; `None`: nowhere.
    pub prometheus: Option<Prometheus>,
    /// Ways out beside OTLP.
    pub sinks: Sinks,
    /// Which spans to make.
    pub spans: Spans,
    /// What to see of requests, and what to tell of them.
    pub requests: Requests,
    /// Sizes of the kernel's tables.
    pub tables: Tables,
    /// What to log, and how.
    pub log: Log,
    /// What `observer record` does differently.
    pub record: RecordLayer,
}

/// Whom to observe: different kinds narrow each other, several of one kind
/// add up, none of a kind means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Process ids (thread-group ids) in the daemon's PID namespace.
    pub pids: Vec<u32>,
    /// Names of thread-group leaders, at most 15 bytes each, as the kernel
    /// cuts them.
    pub comms: Vec<String>,
    /// Directories in a cgroup file system, or paths in a hierarchy.
    pub cgroups: Vec<PathBuf>,
}

/// Two layers of OTLP settings; the environment belongs between them
/// (see [`OtlpLayer::flag_variables`]).
#[derive(Clone, Debug, Default)]
pub struct Otlp {
    /// From flags: wins over the environment.
    pub flags: OtlpLayer,
    /// From the file: the environment wins over it.
    pub file: OtlpLayer,
}

/// Ways out beside OTLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sinks {
    /// Whether the summary is printed; `None`: if there is no other way out.
    pub summary: Option<bool>,
    /// Whether it shows idle threads.
    pub idle: bool,
}

/// Which spans to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    /// One per TCP connection.
    pub tcp: bool,
    /// One per slow block operation.
    pub block: bool,
    /// A block operation (queue and device together) is slow from this on.
    pub slow_io: Duration,
    /// At most so many spans per second and workload.
    pub rate: u32,
    /// So many spans may come at once before the rate applies.
    pub burst: u32,
}

/// What to log, and how.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Which lines.
    pub filter: LogFilter,
    /// In which form.
    pub format: LogFormat,
}

impl From<LogLayer> for Log {
    fn from(layer: LogLayer) -> Self {
        Self {
            filter: layer.level.unwrap_or_default(),
            format: layer.format.unwrap_or_default(),
        }
    }
}

impl From<FilterLayer> for Filter {
    fn from(layer: FilterLayer) -> Self {
        let cut = |mut comm: String| {
            let end = (0..=COMM_LIMIT.min(comm.len()))
                .rev()
                .find(|i| comm.is_char_boundary(*i));
            comm.truncate(end.unwrap_or(0));
            comm
        };
        Self {
            pids: layer.pid.unwrap_or_default().iter().map(|n| n.0).collect(),
            comms: layer
                .comm
                .unwrap_or_default()
                .into_iter()
                .map(cut)
                .collect(),
            cgroups: layer.cgroup.unwrap_or_default(),
        }
    }
}

impl Config {
    /// The settings that result from a file (`path`, else `OBSERVER_CONFIG`) and
    /// flags, with the process's environment between them.
    ///
    /// # Errors
    /// The file can't be read or says something wrong; the environment does;
    /// values contradict each other.
    pub fn load(path: Option<&std::path::Path>, flags: Layer) -> anyhow::Result<Self> {
        // Not clap's business: an empty variable means unset, as with OTEL_*.
        let variable = std::env::var_os("OBSERVER_CONFIG").filter(|path| !path.is_empty());
        let file = path
            .or(variable.as_deref().map(std::path::Path::new))
            .map(file::read)
            .transpose()?
            .unwrap_or_default();
        Self::resolve(file, |key| std::env::var(key).ok(), flags)
    }

    fn resolve(
        file: Layer,
        environment: impl Fn(&str) -> Option<String>,
        flags: Layer,
    ) -> anyhow::Result<Self> {
        let otlp = Otlp {
            flags: flags.otlp.clone(),
            file: file.otlp.clone(),
        };
        let node = environment("NODE_IP").filter(|node| !node.is_empty());
        let environment = environment_layer(environment)?;
        let all = flags.over(environment).over(file);

        let probes = match all.probes {
            None => Family::ALL.to_vec(),
            Some(chosen) => {
                let mut chosen: Vec<Family> = chosen.into_iter().map(|probe| probe.0).collect();
                anyhow::ensure!(
                    !chosen.is_empty(),
                    "no probe is chosen; leave `probes` out for all"
                );
                chosen.sort_unstable();
                chosen.dedup();
                chosen
            }
        };
        Ok(Self {
            interval: all.interval.map_or(Duration::from_secs(10), |p| p.0),
            duration: all.duration.map(|p| p.0),
            probes,
            frequency: all.frequency.map_or(49, |f| f.0),
            off_cpu_threshold: all
                .off_cpu_threshold
                .map_or(Duration::from_millis(1), |t| t.0),
            budget: match all.budget.unwrap_or(DEFAULT_BUDGET) {
                Budget::Share(share) => Some(share),
                Budget::Off => None,
            },
            budget_period: all
                .budget_period
                .map_or(governor::PERIOD, |period| period.0),
            stall_limit: all.stall_limit.map(|p| p.0),
            kernel_debug: all.kernel_debug.unwrap_or(false),
            btf: all.btf,
            own_telemetry: all.own_telemetry.unwrap_or(true),
            filter: all.filter.into(),
            containers: containers::resolve(all.containers, node)?,
            otlp,
            prometheus: prometheus::resolve(all.prometheus)?,
            sinks: Sinks {
                summary: all.sinks.summary,
                idle: all.sinks.idle.unwrap_or(false),
            },
            spans: Spans {
                tcp: all.spans.tcp.unwrap_or(true),
                block: all.spans.block.unwrap_or(true),
                slow_io: all.spans.slow_io.map_or(SLOW_BLOCK, |p| p.0),
                rate: all.spans.rate.map_or(10, |n| n.0),
                burst: all.spans.burst.map_or(50, |n| n.0),
            },
            requests: Requests::resolve(all.requests)?,
            tables: Tables::resolve(&all.tables)?,
            log: all.log.into(),
            record: all.record,
        })
    }
}

/// What the environment says outside of OTLP.
fn environment_layer(get: impl Fn(&str) -> Option<String>) -> anyhow::Result<Layer> {
    let mut layer = Layer::default();
    let key = "OBSERVER_LOG";
    if let Some(text) = get(key).filter(|text| !text.trim().is_empty()) {
        let filter = text
            .parse()
            .map_err(|error| anyhow::anyhow!("{key}: {error}"))?;
        layer.log.level = Some(filter);
    }
    let text = |key| get(key).filter(|text| !text.trim().is_empty());
    layer.requests.traces_sampler = text("OTEL_TRACES_SAMPLER");
    layer.requests.traces_sampler_arg = text("OTEL_TRACES_SAMPLER_ARG");
    let key = "OTEL_METRIC_EXPORT_INTERVAL";
    if let Some(text) = get(key).filter(|text| !text.trim().is_empty()) {
        let millis: u64 = text
            .trim()
            .parse()
            .map_err(|_| anyhow::anyhow!("{key}: `{text}` is not a number of milliseconds"))?;
        layer.interval = (millis > 0).then(|| Period(Duration::from_millis(millis)));
    }
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> Layer {
        toml::from_str(text).expect("a correct layer")
    }

    fn resolve(file: &str, interval: Option<&str>, flags: &str) -> anyhow::Result<Config> {
        let get = |key: &str| {
            (key == "OTEL_METRIC_EXPORT_INTERVAL")
                .then(|| interval.map(str::to_owned))
                .flatten()
        };
        Config::resolve(layer(file), get, layer(flags))
    }

    /// Checks the order: defaults < file < environment < flags.
    #[test]
    fn layers_lie_on_each_other() {
        let seconds = |file, environment, flags| {
            let config = resolve(file, environment, flags).expect("correct");
            config.interval.as_secs()
        };
        let (file, flags) = ("interval='2s'", "interval='4s'");
        assert_eq!(seconds("", None, ""), 10);
        assert_eq!(seconds(file, None, ""), 2);
        assert_eq!(seconds(file, Some("3000"), ""), 3);
        assert_eq!(seconds(file, Some("3000"), flags), 4);
    }

    /// Checks that the variable is a number of milliseconds, empty and zero
    /// meaning unset.
    #[test]
    fn environment_is_checked() {
        for wrong in ["10s", "-5", "1.5"] {
            let error = resolve("", Some(wrong), "").expect_err(wrong).to_string();
            assert!(
                error.starts_with("OTEL_METRIC_EXPORT_INTERVAL: "),
                "{error}"
            );
        }
        for unset in ["", " ", "0"] {
            let config = resolve("", Some(unset), "").expect("unset");
            assert_eq!(config.interval.as_secs(), 10);
        }
    }

    /// Checks that OTLP settings stay apart, so that the environment fits between.
    #[test]
    fn otlp_layers_stay_apart() {
        let config =
            resolve("[otlp]\nendpoint='a'", None, "[otlp]\nprotocol='grpc'").expect("correct");
        assert_eq!(config.otlp.file.endpoint.as_deref(), Some("a"));
        assert_eq!(config.otlp.flags.endpoint, None);
        assert_eq!(config.otlp.flags.protocol.as_deref(), Some("grpc"));
    }

    /// Checks that probes are each there once, and that names are cut as the kernel
    /// cuts them.
    #[test]
    fn values_are_normalized() {
        let config = resolve("probes=['tcp','syscalls','tcp']\n[filter]\ncomm=['a-very-long-program', 'aaaaaaaaaaaaaaé']", None, "")
            .expect("correct");
        assert_eq!(config.probes, [Family::Syscalls, Family::Tcp]);
        assert_eq!(config.filter.comms, ["a-very-long-pro", "aaaaaaaaaaaaaa"]);
        assert!(resolve("probes=[]", None, "").is_err());
    }
}
