//! Options as one source gives them: all optional, to be laid over each other.
//!
//! Each option is defined once, here: its flag, its key in the file (the
//! section is the struct) and its help. Defaults are in [`super`].

use std::path::PathBuf;

use clap::Args;
use observer_common::requests::Protocol;
use serde::{Deserialize, Deserializer};

use super::units::{Budget, Frequency, Period, Positive, Size, Threshold, from_texts};
use super::values::{ChosenFamily, Header, LogFilter, LogFormat, RecordType, RequestProtocol};
use crate::requests::redact::{Glob, Rule};
use crate::requests::routes::Pattern;

/// Everything that a configuration file can say.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layer {
    /// Time between two exports or summaries [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub interval: Option<Period>,
    /// End after this time [default: run until interrupted]
    #[arg(long, value_name = "DURATION")]
    pub duration: Option<Period>,
    /// What to observe, separated by commas [default: all of
    /// syscalls,tcp,block,cpu,sched,offcpu,requests]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 1)]
    pub probes: Option<Vec<ChosenFamily>>,
    /// Stack samples per second and CPU [default: 49]
    #[arg(long, value_name = "HZ")]
    pub frequency: Option<Frequency>,
    /// A thread's time off CPU is profiled from this on [default: 1ms]
    #[arg(long, value_name = "DURATION")]
    pub off_cpu_threshold: Option<Threshold>,
    /// Observe less where Observer itself, kernel half and daemon, would cost more than
    /// this much of the host's CPU; `off` for never [default: 1%]
    #[arg(long, value_name = "PERCENT")]
    pub budget: Option<Budget>,
    /// How often the budget is looked after.
    #[arg(long, value_name = "DURATION", hide = true)]
    pub budget_period: Option<Period>,
    /// Print the kernel half's own diagnostics (costs performance)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub kernel_debug: Option<bool>,
    /// Take the kernel's types from this file, for tests
    #[arg(long, value_name = "FILE", hide = true)]
    pub btf: Option<PathBuf>,
    /// Export the daemon's own cost, fill levels and losses [default: true]
    #[arg(long, value_name = "BOOL")]
    pub own_telemetry: Option<bool>,
    /// `[filter]`
    #[command(flatten)]
    pub filter: FilterLayer,
    /// `[otlp]`
    #[command(flatten)]
    pub otlp: OtlpLayer,
    /// `[sinks]`
    #[command(flatten)]
    pub sinks: SinkLayer,
    /// `[spans]`
    #[command(flatten)]
    pub spans: SpanLayer,
    /// `[requests]`
    #[command(flatten)]
    pub requests: RequestLayer,
    /// `[tables]`
    #[command(flatten)]
    pub tables: TableLayer,
    /// `[log]`; among the flags these belong to every command.
    #[arg(skip)]
    pub log: LogLayer,
    /// `[record]`; the flags of another command.
    #[arg(skip)]
    pub record: RecordLayer,
}

/// Whom to observe.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(
    next_help_heading = "Filters (different kinds narrow each other, several of one kind add up)"
)]
pub struct FilterLayer {
    /// Only this process; may be repeated
    #[arg(long, value_name = "N")]
    pub pid: Option<Vec<Positive>>,
    /// Only processes of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    pub comm: Option<Vec<String>>,
    /// Only this cgroup and those below it; may be repeated
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<Vec<PathBuf>>,
}

/// Where to send OTLP; unset values come from the OTEL_EXPORTER_OTLP_* variables.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "OTLP export (unset: the OTEL_EXPORTER_OTLP_* variables)")]
pub struct OtlpLayer {
    /// Send metrics, spans and profiles there [default: only print a summary]
    #[arg(long = "otlp-endpoint", id = "otlp-endpoint", value_name = "URL")]
    pub endpoint: Option<String>,
    /// grpc or http/protobuf [default: grpc for port 4317, else http/protobuf]
    #[arg(long = "otlp-protocol", id = "otlp-protocol", value_name = "PROTOCOL")]
    pub protocol: Option<String>,
    /// Send this header with every request; may be repeated
    #[arg(long = "otlp-header", id = "otlp-header", value_name = "NAME=VALUE")]
    #[serde(deserialize_with = "headers_from_table")]
    pub headers: Option<Vec<Header>>,
    /// gzip or none [default: none]
    #[arg(
        long = "otlp-compression",
        id = "otlp-compression",
        value_name = "NAME"
    )]
    pub compression: Option<String>,
    /// How long one request may take [default: 10s]
    #[arg(long = "otlp-timeout", id = "otlp-timeout", value_name = "DURATION")]
    pub timeout: Option<Period>,
    /// Trust this CA (PEM) instead of the system's
    #[arg(
        long = "otlp-certificate",
        id = "otlp-certificate",
        value_name = "FILE"
    )]
    pub certificate: Option<PathBuf>,
    /// Present this certificate (PEM) to the endpoint
    #[arg(
        long = "otlp-client-certificate",
        id = "otlp-client-certificate",
        value_name = "FILE"
    )]
    pub client_certificate: Option<PathBuf>,
    /// The key (PEM) of the client certificate
    #[arg(long = "otlp-client-key", id = "otlp-client-key", value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// cumulative, delta or lowmemory [default: cumulative]
    #[arg(
        long = "otlp-temporality",
        id = "otlp-temporality",
        value_name = "NAME"
    )]
    pub temporality: Option<String>,
    /// Export metrics [default: true]
    #[arg(long = "otlp-metrics", id = "otlp-metrics", value_name = "BOOL")]
    pub metrics: Option<bool>,
    /// Export spans [default: true]
    #[arg(long = "otlp-traces", id = "otlp-traces", value_name = "BOOL")]
    pub traces: Option<bool>,
    /// Export profiles [default: true]
    #[arg(long = "otlp-profiles", id = "otlp-profiles", value_name = "BOOL")]
    pub profiles: Option<bool>,
    /// Memory for data that the endpoint hasn't taken yet [default: 32MiB]
    #[arg(long = "otlp-queue-size", id = "otlp-queue-size", value_name = "SIZE")]
    pub queue_size: Option<Size>,
}

/// Ways out beside OTLP.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Other ways out")]
pub struct SinkLayer {
    /// Print a summary each interval [default: only without an OTLP endpoint]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub summary: Option<bool>,
}

/// Which spans to make.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Spans")]
pub struct SpanLayer {
    /// One span per TCP connection, at its end [default: true]
    #[arg(long = "span-tcp", id = "span-tcp", value_name = "BOOL")]
    pub tcp: Option<bool>,
    /// One span per slow block operation [default: true]
    #[arg(long = "span-block", id = "span-block", value_name = "BOOL")]
    pub block: Option<bool>,
    /// A block operation is slow from this on [default: 50ms]
    #[arg(long = "span-slow-io", id = "span-slow-io", value_name = "DURATION")]
    pub slow_io: Option<Period>,
    /// At most so many spans per second and workload [default: 10]
    #[arg(long = "span-rate", id = "span-rate", value_name = "N")]
    pub rate: Option<Positive>,
    /// So many spans may come at once before the rate applies [default: 50]
    #[arg(long = "span-burst", id = "span-burst", value_name = "N")]
    pub burst: Option<Positive>,
}

/// What to see of requests, and what to tell of them.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Requests")]
pub struct RequestLayer {
    /// Which traces to keep: always_on, always_off, traceidratio, or parentbased_ and one of these;
    /// errors and the slowest 1 % are kept in any case, but for always_off
    /// [env: OTEL_TRACES_SAMPLER] [default: parentbased_always_on]
    #[arg(long = "traces-sampler", id = "traces-sampler", value_name = "NAME")]
    pub traces_sampler: Option<String>,
    /// The ratio of traceidratio, from 0 to 1 [env: OTEL_TRACES_SAMPLER_ARG] [default: 1]
    #[arg(
        long = "traces-sampler-arg",
        id = "traces-sampler-arg",
        value_name = "RATIO"
    )]
    pub traces_sampler_arg: Option<String>,
    /// At most so many traces per second and workload [default: 1000, or no limit where a sampler
    /// is chosen]
    #[arg(long = "requests-rate", id = "requests-rate", value_name = "N")]
    pub rate: Option<Positive>,
    /// So many traces may come at once before the rate applies [default: five times the rate]
    #[arg(long = "requests-burst", id = "requests-burst", value_name = "N")]
    pub burst: Option<Positive>,
    /// Protocols to follow.
    #[arg(
        long = "requests-protocols",
        help = format!(
            "Protocols to follow, separated by commas [default: all of {}]",
            Protocol::NAMES
        ),
        id = "requests-protocols",
        value_name = "NAMES",
        value_delimiter = ',',
        num_args = 1
    )]
    pub protocols: Option<Vec<RequestProtocol>>,
    /// Look into OpenSSL and BoringSSL for what is encrypted [default: true]
    #[arg(long = "requests-tls", id = "requests-tls", value_name = "BOOL")]
    pub tls: Option<bool>,
    /// Find sockets by their descriptors even where the kernel tells of them, as is done before
    /// 6.3 (costs performance) [default: false]
    #[arg(
        long = "requests-by-descriptor",
        id = "requests-by-descriptor",
        value_name = "BOOL",
        hide = true
    )]
    pub by_descriptor: Option<bool>,
    /// Of 2^N exchanges follow one, from 32 on none, and count the others [default: 0]
    #[arg(
        long = "requests-share",
        id = "requests-share",
        value_name = "N",
        hide = true
    )]
    pub share: Option<u32>,
    /// Bytes to take of a message's beginning, 4KiB at most [default: 512]
    #[arg(
        long = "requests-capture",
        id = "requests-capture",
        value_name = "SIZE"
    )]
    pub capture: Option<Size>,
    /// Ring buffer of requests; a power of two [default: 2MiB]
    #[arg(long = "requests-ring", id = "requests-ring", value_name = "SIZE")]
    pub ring: Option<Size>,
    /// Hide this, too: a path with `*` where the secret is (`/reset/*`), or a word (`*secret*`);
    /// may be repeated
    #[arg(
        long = "requests-redact",
        id = "requests-redact",
        value_name = "PATTERN"
    )]
    #[serde(deserialize_with = "from_texts")]
    pub redact: Option<Vec<Rule>>,
    /// Don't hide the values of these parameters of query strings; may be repeated, with `*`
    #[arg(
        long = "requests-query-key",
        id = "requests-query-key",
        value_name = "NAME"
    )]
    #[serde(deserialize_with = "from_texts")]
    pub query_keys: Option<Vec<Glob>>,
    /// Routes that are known (`/api/{tenant}/users/{id}`); may be repeated, the first that matches
    /// wins over what is guessed
    #[arg(long = "requests-route", id = "requests-route", value_name = "ROUTE")]
    #[serde(deserialize_with = "from_texts")]
    pub routes: Option<Vec<Pattern>>,
}

/// How much memory the tables in the kernel take.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Tables in the kernel")]
pub struct TableLayer {
    /// Workloads to tell apart; the rest is counted as `other` [default: 1024]
    #[arg(long = "table-workloads", id = "table-workloads", value_name = "N")]
    pub workloads: Option<Positive>,
    /// Histogram cells in the kernel: one for each series and CPU
    /// [default: 1024 a CPU, 8192 at least]
    #[arg(long = "table-cells", id = "table-cells", value_name = "N")]
    pub cells: Option<Positive>,
    /// Ring buffer of one probe family; a power of two of at least 4KiB [default: 256KiB]
    #[arg(long = "table-ring", id = "table-ring", value_name = "SIZE")]
    pub ring: Option<Size>,
    /// Unwinding tables of all executable files together; those not used for
    /// the longest time make room [default: 128MiB]
    #[arg(long = "table-unwind", id = "table-unwind", value_name = "SIZE")]
    pub unwind: Option<Size>,
}

/// What to log, to standard error.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Log (standard error)")]
pub struct LogLayer {
    /// error, warn, info, debug, trace or directives like `warn,observer_userspace=debug` [env: OBSERVER_LOG] [default: info]
    #[arg(
        long = "log-level",
        id = "log-level",
        value_name = "LEVEL",
        global = true
    )]
    pub level: Option<LogFilter>,
    /// text, json, or auto: text on a terminal, else json
    #[arg(
        long = "log-format",
        id = "log-format",
        value_name = "FORMAT",
        global = true
    )]
    pub format: Option<LogFormat>,
}

/// What `observer record` does differently.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordLayer {
    /// How long to record [default: 10s, or until the command ends]
    #[arg(long, value_name = "DURATION")]
    pub duration: Option<Period>,
    /// Stack samples per second and CPU [default: 99]
    #[arg(long, value_name = "HZ")]
    pub frequency: Option<Frequency>,
    /// Write there: .svg flamegraph, .pb.gz pprof, .folded or .txt stacks, - for folded on
    /// standard output; may be repeated [default: observer.svg]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Vec<PathBuf>>,
    /// Which time: on-cpu (samples), off-cpu (nanoseconds in which threads waited for something or
    /// for a CPU), wall (nanoseconds of both) [default: on-cpu]
    #[arg(long = "type", id = "type", value_name = "TYPE")]
    pub r#type: Option<RecordType>,
    /// Record the time off CPU as well, and write it beside each output: `x.svg` and
    /// `x.off-cpu.svg`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub off_cpu: Option<bool>,
    /// Leave shorter times off CPU out [default: 0, so that nothing is missing]
    #[arg(long, value_name = "DURATION")]
    pub off_cpu_threshold: Option<Threshold>,
    /// Only while threads serve requests of this route, like '/users/{id}'; * stands for any
    /// characters; may be repeated
    #[arg(long, value_name = "ROUTE")]
    #[serde(deserialize_with = "from_texts")]
    pub route: Option<Vec<Glob>>,
    /// Only while threads serve requests that take so long or longer, like 100ms
    #[arg(long, value_name = "DURATION")]
    pub slower_than: Option<Threshold>,
}

/// In the file headers are a table: `headers = { authorization = "Bearer …" }`.
fn headers_from_table<'de, D>(deserializer: D) -> Result<Option<Vec<Header>>, D::Error>
where
    D: Deserializer<'de>,
{
    let table = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
    let headers = table
        .into_iter()
        .map(|(name, value)| Header { name, value });
    Ok(Some(headers.collect()))
}

/// Lays one struct over another, field by field; forgetting one doesn't compile.
macro_rules! layered {
    ($name:ident { $($option:ident),* } $({ $($nested:ident),* })?) => {
        impl $name {
            /// `self` where it says something, else `below`.
            pub fn over(self, below: Self) -> Self {
                Self {
                    $($option: self.$option.or(below.$option),)*
                    $($($nested: self.$nested.over(below.$nested),)*)?
                }
            }
        }
    };
}

layered!(Layer {
    interval,
    duration,
    probes,
    frequency,
    off_cpu_threshold,
    budget,
    budget_period,
    kernel_debug,
    btf,
    own_telemetry
}
    { filter, otlp, sinks, spans, requests, tables, log, record });
layered!(FilterLayer { pid, comm, cgroup });
layered!(OtlpLayer {
    endpoint,
    protocol,
    headers,
    compression,
    timeout,
    certificate,
    client_certificate,
    client_key,
    temporality,
    metrics,
    traces,
    profiles,
    queue_size
});
layered!(SinkLayer { summary });
layered!(SpanLayer {
    tcp,
    block,
    slow_io,
    rate,
    burst
});
layered!(RequestLayer {
    traces_sampler,
    traces_sampler_arg,
    rate,
    burst,
    protocols,
    tls,
    by_descriptor,
    share,
    capture,
    ring,
    redact,
    query_keys,
    routes
});
layered!(TableLayer {
    workloads,
    cells,
    ring,
    unwind
});
layered!(LogLayer { level, format });
layered!(RecordLayer {
    duration,
    frequency,
    output,
    r#type,
    off_cpu,
    off_cpu_threshold,
    route,
    slower_than
});
