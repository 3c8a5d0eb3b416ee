//! The command line: which commands there are and what they take. The options
//! themselves are defined in [`crate::config::layer`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::layer::{FilterLayer, Layer, LogLayer, RecordLayer};
use crate::config::units::{Period, Threshold};

/// See what a Linux host does, without touching its applications.
///
/// Observer watches syscalls, TCP, disks, scheduling and CPU from inside the
/// kernel (eBPF, read-only) and exports metrics, spans and profiles over OTLP;
/// without an endpoint it prints a summary.
#[derive(Debug, Parser)]
#[command(
    name = "observer",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(super) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(super) log: LogLayer,
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Observe until interrupted: export over OTLP, or print a summary each interval
    Run(Box<RunArgs>),
    /// Record CPU stacks once: flamegraph, pprof or folded stacks
    Record(Box<RecordArgs>),
    /// Print requests as they end: who, what, how long, and where the time went
    Trace(Box<TraceArgs>),
    /// Say what this kernel and these privileges allow, and how to get the rest
    ///
    /// Takes the options of `observer run`, and tries each program that it would attach with them.
    /// Exit status: 0 everything is there, 1 something is degraded, 2 it can't run.
    Check(Box<CheckArgs>),
}

/// Arguments of `observer run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Read options from this TOML file [env: OBSERVER_CONFIG]; flags and OTEL_* win over it
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// All else is a layer of the configuration.
    #[command(flatten)]
    pub(super) layer: Layer,
}

impl RunArgs {
    /// What the flags say.
    pub(super) fn layer(&self, log: LogLayer) -> Layer {
        Layer {
            log,
            ..self.layer.clone()
        }
    }
}

/// Arguments of `observer record`.
#[derive(Args, Debug)]
pub(super) struct RecordArgs {
    /// Read options from this TOML file [env: OBSERVER_CONFIG]; flags and OTEL_* win over it
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) record: RecordLayer,
    /// Whom to record.
    #[command(flatten)]
    pub(super) filter: FilterLayer,
    /// Start this command and record it and its children; exits with its status
    #[arg(last = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

impl RecordArgs {
    /// What the flags say.
    pub(super) fn layer(&self, log: LogLayer) -> Layer {
        Layer {
            log,
            record: self.record.clone(),
            filter: self.filter.clone(),
            ..Layer::default()
        }
    }
}

/// Arguments of `observer trace`.
#[derive(Args, Debug)]
pub(super) struct TraceArgs {
    /// Read options from this TOML file [env: OBSERVER_CONFIG]; flags win over it
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Only this service's spans; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) service: Vec<String>,
    /// Only spans that took so long or longer, like 50ms
    #[arg(long, value_name = "DURATION")]
    pub(super) slower_than: Option<Threshold>,
    /// Print whole traces, with the spans over time, when they are over
    #[arg(short = 'v', long = "waterfall")]
    pub(super) waterfall: bool,
    /// End after this time [default: run until interrupted]
    #[arg(long, value_name = "DURATION")]
    pub(super) duration: Option<Period>,
    /// Whom to observe.
    #[command(flatten)]
    pub(super) filter: FilterLayer,
}

impl TraceArgs {
    /// What the flags say.
    pub(super) fn layer(&self, log: LogLayer) -> Layer {
        Layer {
            log,
            duration: self.duration,
            filter: self.filter.clone(),
            ..Layer::default()
        }
    }
}

/// Arguments of `observer check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// As `observer run` would be started.
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Checks that the definitions don't contradict each other.
    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Checks the contract: the options that must never be renamed.
    #[test]
    fn contract_is_kept() {
        let run = "observer run --config f --otlp-endpoint http://x:4317 --otlp-protocol grpc \
            --interval 10s --duration 30s --probes syscalls,tcp,block,cpu --frequency 49 --pid 1 \
            --pid 2 --comm a --comm b --cgroup /x --log-format json";
        let cli = Cli::try_parse_from(run.split_whitespace()).expect("the contract");
        let Command::Run(args) = cli.command else {
            panic!("not run");
        };
        assert_eq!(args.layer.filter.pid.map(|p| p.len()), Some(2));
        assert_eq!(args.layer.probes.map(|p| p.len()), Some(4));

        let record = "observer record --duration 10s --frequency 99 --pid 1 --comm a --cgroup /x \
            -o a.svg -o b.pb.gz -- cmd -x --duration 1";
        let cli = Cli::try_parse_from(record.split_whitespace()).expect("the contract");
        let Command::Record(args) = cli.command else {
            panic!("not record");
        };
        assert_eq!(args.command.len(), 4);
        assert_eq!(args.record.output.map(|o| o.len()), Some(2));

        let record = "observer record --route /users/{id} --route /a* --slower-than 100ms";
        let cli = Cli::try_parse_from(record.split_whitespace()).expect("the contract");
        let Command::Record(args) = cli.command else {
            panic!("not record");
        };
        assert_eq!(args.record.route.map(|r| r.len()), Some(2));
        let slower_than = args.record.slower_than.map(|t| t.0.as_millis());
        assert_eq!(slower_than, Some(100));
        let check = "observer check --json --probes requests --requests-by-descriptor true";
        assert!(Cli::try_parse_from(check.split_whitespace()).is_ok());

        let trace = "observer trace --service shop --service cart --slower-than 50ms -v --duration 5s --pid 1 \
            --comm a --cgroup /x";
        let cli = Cli::try_parse_from(trace.split_whitespace()).expect("the contract");
        let Command::Trace(args) = cli.command else {
            panic!("not trace");
        };
        assert!(args.waterfall);
        assert_eq!(args.service, ["shop", "cart"]);
        assert_eq!(args.slower_than.map(|t| t.0.as_millis()), Some(50));
        assert_eq!(args.layer(LogLayer::default()).duration, args.duration);
    }
}
