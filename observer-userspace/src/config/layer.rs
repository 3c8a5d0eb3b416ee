//! Options as one source gives them: all optional, to be laid over each other.
//!
//! Each option is named once, here and in the sections below: its flag, its key in the
//! file (the section is the struct) and its help. Defaults are in [`super`].

mod containers;
mod otlp;
mod prometheus;
mod record;
mod requests;

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

pub use containers::ContainerLayer;
pub use otlp::OtlpLayer;
pub use prometheus::PrometheusLayer;
pub use record::RecordLayer;
pub use requests::RequestLayer;

use super::layered::{Layered, layered};
use super::units::{Budget, Frequency, Period, Positive, Size, Threshold};
use super::values::{ChosenFamily, LogFilter, LogFormat};

layered! {
    /// Everything that a configuration file can say.
    #[derive(Args, Clone, Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    pub struct Layer {
        /// Time between two exports or summaries [default: 10s]
        #[arg(long, value_name = "DURATION")]
        pub interval: Option<Period>,
        /// End after this time, and with 1 if nothing arrived until then [default: run until interrupted]
        #[arg(long, value_name = "DURATION")]
        pub duration: Option<Period>,
        /// What to observe, separated by commas [default: all of
        /// syscalls,tcp,block,cpu,sched,offcpu,requests,net,pressure]
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
        /// End with status 1 when Observer's own loop stands still for so long, for a
        /// supervisor to start it anew [default: go on waiting]
        #[arg(long, value_name = "DURATION")]
        pub stall_limit: Option<Period>,
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
        /// `[containers]`
        #[command(flatten)]
        pub containers: ContainerLayer,
        /// `[otlp]`
        #[command(flatten)]
        pub otlp: OtlpLayer,
        /// `[prometheus]`
        #[command(flatten)]
        pub prometheus: PrometheusLayer,
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

    /// Ways out beside OTLP.
    #[derive(Args, Clone, Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    #[command(next_help_heading = "Other ways out")]
    pub struct SinkLayer {
        /// Print a summary each interval [default: only without an OTLP endpoint]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        pub summary: Option<bool>,
        /// Show in the summary what idle threads wait for, too [default: only delays]
        #[arg(long = "idle", id = "summary-idle", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        pub idle: Option<bool>,
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
}
