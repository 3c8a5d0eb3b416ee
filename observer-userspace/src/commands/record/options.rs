//! What `observer record` is to record.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::request_filter::RequestFilter;
use crate::agent::options::cgroup_filters;
use crate::config::layer::RecordLayer;
use crate::config::values::RecordType;
use crate::config::{self, Config, Filter};
use crate::kernel::Filters;
use observer_export::new_file::Access;
use observer_export::profile_file::Output;

/// How long without `--duration` and without a command.
pub(super) const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// Samples per second and CPU.
const DEFAULT_FREQUENCY: u32 = 99;
/// Where to without `-o`.
const DEFAULT_OUTPUT: &str = "observer.svg";

#[derive(Clone, Debug)]
pub(super) struct RecordOptions {
    /// For how long; without it, until the command ends (or 10 s).
    pub(super) duration: Option<Duration>,
    /// Samples per second and CPU.
    pub(super) frequency: u32,
    /// Whom; everybody when empty and there is no command.
    pub(super) filters: Filters,
    /// Whom, as people read it.
    pub(super) whom: String,
    /// Which time the outputs show.
    pub(super) kind: RecordType,
    /// Whether waits that delay nothing are shown.
    pub(super) idle: bool,
    /// From which length on time off CPU counts.
    pub(super) off_cpu_threshold: Duration,
    /// Where the result goes.
    pub(super) outputs: Vec<Output>,
    /// Who may read that.
    pub(super) access: Access,
    /// Where time off CPU goes beside it.
    pub(super) off_cpu_outputs: Vec<Output>,
    /// A command to start and record with its children.
    pub(super) command: Vec<OsString>,
    /// Which requests it is about, if not about everything.
    pub(super) requests: Option<RequestFilter>,
    /// How requests are followed then.
    pub(super) following: config::Requests,
    /// Whether an interpreter's own functions are shown.
    pub(super) interpreter_frames: bool,
    /// Bytes that unwinding tables may take in the kernel.
    pub(super) table_bytes: u64,
}

impl RecordOptions {
    /// What configuration and command line say together.
    ///
    /// # Errors
    /// In one line, when an output has no known format or can't be written,
    /// or a cgroup isn't there.
    pub(super) fn new(config: &Config, command: Vec<OsString>) -> anyhow::Result<Self> {
        let record = &config.record;
        let mut names = record.output.clone().unwrap_or_default();
        if names.is_empty() {
            names.push(DEFAULT_OUTPUT.into());
        }
        let mut outputs = Vec::with_capacity(names.len());
        for name in &names {
            let text = name.to_str();
            let text =
                text.with_context(|| format!("can't write {}: it isn't UTF-8", name.display()))?;
            let output = Output::parse(text)?;
            output.check()?;
            outputs.push(output);
        }
        let kind = record.r#type.unwrap_or_default();
        let mut off_cpu_outputs = Vec::new();
        if record.off_cpu == Some(true) {
            anyhow::ensure!(
                kind != RecordType::OffCpu,
                "--off-cpu adds to another --type; --type off-cpu shows the same"
            );
            for output in &outputs {
                let beside = output.beside("off-cpu").context(
                    "--off-cpu writes beside each output, and standard output has no place there",
                )?;
                beside.check()?;
                off_cpu_outputs.push(beside);
            }
        }
        let filter = &config.filter;
        let everybody = command.is_empty()
            && filter.pids.is_empty()
            && filter.comms.is_empty()
            && filter.cgroups.is_empty();
        let requests = requests(record);
        let access = match record.output_mode {
            Some(mode) => Access::Mode(mode.0),
            // It tells of everybody's programs.
            None if everybody => Access::Owner,
            None => Access::Usual,
        };
        Ok(Self {
            access,
            whom: whom(filter, requests.as_ref(), &command),
            duration: record.duration.map(|period| period.0),
            frequency: record.frequency.map_or(DEFAULT_FREQUENCY, |f| f.0),
            filters: Filters {
                pids: filter.pids.clone(),
                with_children: !command.is_empty(),
                comms: filter.comms.clone(),
                cgroups: cgroup_filters(&filter.cgroups)?,
            },
            kind,
            idle: record.idle.unwrap_or(!everybody || requests.is_some()),
            off_cpu_threshold: record.off_cpu_threshold.unwrap_or_default().0,
            outputs,
            off_cpu_outputs,
            command,
            requests,
            following: config.requests.clone(),
            interpreter_frames: record.interpreter_frames.unwrap_or(false),
            table_bytes: config.tables.unwind_bytes,
        })
    }

    /// Whether stacks on CPU are sampled.
    pub(super) fn wants_on_cpu(&self) -> bool {
        self.kind != RecordType::OffCpu
    }

    /// Whether time off CPU is counted.
    pub(super) fn wants_off_cpu(&self) -> bool {
        self.kind != RecordType::OnCpu || !self.off_cpu_outputs.is_empty()
    }
}

/// Whom a recording is about, as people read it.
fn whom(filter: &Filter, requests: Option<&RequestFilter>, command: &[OsString]) -> String {
    let mut whom: Vec<String> = Vec::new();
    // Without its arguments, which may be secrets: pictures are shown around.
    if let Some(program) = command.first() {
        let name = Path::new(program).file_name().unwrap_or(program);
        whom.push(name.to_string_lossy().into_owned());
    }
    whom.extend(filter.pids.iter().map(|pid| format!("--pid {pid}")));
    whom.extend(filter.comms.iter().map(|comm| format!("--comm {comm}")));
    let cgroups = filter.cgroups.iter().map(|path| path.display());
    whom.extend(cgroups.map(|path| format!("--cgroup {path}")));
    if whom.is_empty() {
        whom.push("all processes".to_owned());
    }
    whom.extend(requests.map(ToString::to_string));
    whom.join(" ")
}

/// Which requests the recording is about; `None`: it is about everything.
fn requests(record: &RecordLayer) -> Option<RequestFilter> {
    let slower_than = record.slower_than.unwrap_or_default().0.as_nanos();
    let filter = RequestFilter {
        routes: record.route.clone().unwrap_or_default(),
        slower_than: u64::try_from(slower_than).unwrap_or(u64::MAX),
    };
    (filter != RequestFilter::default()).then_some(filter)
}
