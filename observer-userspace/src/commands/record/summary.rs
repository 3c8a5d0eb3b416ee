//! What `observer record` says when it is done.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use observer_common::loss::Loss;

use super::options::RecordOptions;
use super::recorded::Recorded;
use super::selection::Selection;
use observer_export::profile_file::Output;
use observer_signals::attribute::SharedResource;
use observer_signals::hottest::hottest;
use observer_signals::profile::{Profile, ProfileKind};
use observer_signals::wait::Reason;

/// Workloads and functions named.
const WORKLOADS: usize = 3;
const FUNCTIONS: usize = 5;

/// Prints it to standard error.
pub(super) fn print(
    options: &RecordOptions,
    result: &Recorded,
    requests: Option<&Selection>,
    losses: &[(Loss, u64)],
) {
    let text = summary(options, result, requests, losses);
    // If it is closed there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn summary(
    options: &RecordOptions,
    recorded: &Recorded,
    requests: Option<&Selection>,
    losses: &[(Loss, u64)],
) -> String {
    let result = &recorded.shown;
    let profile = &result.profile;
    let total = profile.total();
    let seconds = profile.duration as f64 / 1e9;
    let named = percent(result.frames.named, result.frames.all);
    let mut out = match profile.kind {
        ProfileKind::OnCpu => format!(
            "{total} samples in {seconds:.1} s at {} Hz: {:.2} s of CPU time; {named} of the frames have a symbol\n",
            options.frequency,
            total as f64 * profile.period as f64 / 1e9,
        ),
        ProfileKind::OffCpu => format!(
            "{:.2} s off CPU in {seconds:.1} s; {named} of the frames have a symbol\n",
            total as f64 / 1e9
        ),
        ProfileKind::Wall => format!(
            "{:.2} s of wall-clock time of all threads in {seconds:.1} s; {named} of the frames have a symbol\n",
            total as f64 / 1e9
        ),
    };
    // Writing to a String can't fail.
    for hot in hottest(profile, FUNCTIONS, Some).iter().take(WORKLOADS) {
        let resource = profile.resources.get(hot.workload as usize);
        let name = resource.map_or("unknown", resource_name);
        let _ = write!(out, "  {:>6} {name}:", percent(hot.total, total));
        for (function, value) in &hot.functions {
            let _ = write!(out, " {function} {};", percent(*value, hot.total));
        }
        out.pop();
        out.push('\n');
    }
    if let Some(requests) = requests {
        let _ = writeln!(out, "{}", requests.summary());
        out += &selected(options, requests);
    }
    for profile in std::iter::once(profile).chain(recorded.off_cpu.iter().map(|r| &r.profile)) {
        out += &reasons(profile);
        out += &outcomes(profile);
    }
    let mut lost = false;
    for (cause, count) in losses {
        lost = true;
        let _ = writeln!(out, "lost: {count} {} ({})", cause.name(), cause.meaning());
    }
    for (cause, meaning, count) in result.losses.causes() {
        if count > 0 {
            lost = true;
            let _ = writeln!(out, "lost: {count} {cause} ({meaning})");
        }
    }
    if !lost {
        out.push_str("nothing was lost\n");
    }
    if total == 0 {
        let did = match profile.kind {
            ProfileKind::OnCpu => "used a CPU",
            ProfileKind::OffCpu => "was off CPU",
            ProfileKind::Wall => "was there",
        };
        let _ = writeln!(out, "no samples: nothing that was to be recorded {did}");
    }
    for output in options.outputs.iter().chain(&options.off_cpu_outputs) {
        if let Output::File(path, _) = output {
            let _ = writeln!(out, "written: {}", path.display());
        }
    }
    out
}

/// What became of the samples of a recording that is about some requests.
fn selected(options: &RecordOptions, requests: &Selection) -> String {
    let mut out = String::new();
    let kinds = [
        (ProfileKind::OnCpu, options.wants_on_cpu()),
        (ProfileKind::OffCpu, options.wants_off_cpu()),
    ];
    for (kind, _) in kinds.iter().filter(|(_, wanted)| *wanted) {
        let of = requests.selected(*kind);
        let amount = |value: u64| match kind {
            ProfileKind::OnCpu => format!("{value} samples"),
            _ => format!("{:.2} s off CPU", value as f64 / 1e9),
        };
        // Writing to a String can't fail.
        let _ = write!(
            out,
            "{} while serving them, {} left out",
            amount(of.kept),
            amount(of.left_out)
        );
        if of.undecided > 0 {
            let amount = amount(of.undecided);
            let _ = write!(out, ", {amount} of requests whose end wasn't seen");
        }
        out.push('\n');
    }
    out
}

/// What the time off CPU was spent on, most first; nothing for other profiles.
fn reasons(profile: &Profile) -> String {
    let mut sums: BTreeMap<Reason, u64> = BTreeMap::new();
    for sample in &profile.samples {
        if let Some(wait) = sample.wait {
            *sums.entry(wait.reason).or_default() += sample.value;
        }
    }
    if sums.is_empty() {
        return String::new();
    }
    let mut sums: Vec<(Reason, u64)> = sums.into_iter().collect();
    sums.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    let shown: Vec<String> = sums
        .iter()
        .map(|(reason, ns)| format!("{} {:.2} s", reason.as_str(), *ns as f64 / 1e9))
        .collect();
    format!("off CPU: {}\n", shown.join(", "))
}

/// How many stacks are whole, and what the others lack.
fn outcomes(profile: &Profile) -> String {
    let total: u64 = profile.outcomes.iter().map(|(_, value)| value).sum();
    if total == 0 {
        return String::new();
    }
    let (whole, other): (Vec<_>, Vec<_>) = profile
        .outcomes
        .iter()
        .partition(|(outcome, _)| outcome.is_complete());
    let whole = whole.iter().map(|(_, value)| value).sum();
    let mut other: Vec<_> = other;
    other.sort_by_key(|(_, value)| std::cmp::Reverse(*value));
    let what = match profile.kind {
        ProfileKind::OnCpu => "samples",
        ProfileKind::OffCpu => "time off CPU",
        ProfileKind::Wall => "time",
    };
    let mut out = format!(
        "{} of the {what} with complete stacks",
        percent(whole, total)
    );
    for (outcome, value) in other {
        // Writing to a String can't fail.
        let _ = write!(out, ", {} {}", percent(value, total), outcome.name());
    }
    out + "\n"
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Whom a resource is about.
fn resource_name(resource: &SharedResource) -> &str {
    resource.get_str("service.name").unwrap_or("unknown")
}
