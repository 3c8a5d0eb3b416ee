//! `[record]`.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use crate::config::layered::{Layered, layered};
use crate::config::units::{FileMode, Frequency, Period, Threshold, from_texts};
use crate::config::values::RecordType;
use observer_requests::redact::Glob;

layered! {
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
        /// Who may read what is written, in octal, like 0644 [default: 0600 for a profile of the whole
        /// host, else as the umask says]
        #[arg(long, value_name = "MODE")]
        pub output_mode: Option<FileMode>,
        /// Which time: on-cpu (samples), off-cpu (nanoseconds in which threads waited for something or
        /// for a CPU), wall (nanoseconds of both) [default: on-cpu]
        #[arg(long = "type", id = "type", value_name = "TYPE")]
        pub r#type: Option<RecordType>,
        /// Record the time off CPU as well, and write it beside each output: `x.svg` and
        /// `x.off-cpu.svg`
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        pub off_cpu: Option<bool>,
        /// Show time off CPU in which nothing was delayed, too: threads of pools, event loops and
        /// timers that wait for work [default: true if one is asked about by --pid, --comm,
        /// --cgroup, a route or a command, false for the whole host]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        pub idle: Option<bool>,
        /// Show an interpreter's own functions between those of the program that it runs (CPython's,
        /// between Python functions)
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        pub interpreter_frames: Option<bool>,
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
}
