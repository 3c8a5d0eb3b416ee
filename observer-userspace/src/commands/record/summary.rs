//! What `observer record` says when it is done.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use observer_common::loss::Loss;

use super::options::RecordOptions;
use super::recorded::Recorded;
use super::selection::Selection;
use crate::probes::losses as causes;
use crate::stacks::costly;
use observer_export::profile_file::Output;
use observer_export::terminal::Shown;
use observer_signals::attribute::SharedResource;
use observer_signals::hottest::hottest;
use observer_signals::outside::cut_texts;
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
    let mut text = Shown::default();
    for line in summary(options, result, requests, losses) {
        text.push(line);
        text.end_line();
    }
    // If it is closed there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_str().as_bytes());
}

/// Its lines: what ends one is only said where it is shown.
fn summary(
    options: &RecordOptions,
    recorded: &Recorded,
    requests: Option<&Selection>,
    losses: &[(Loss, u64)],
) -> Vec<String> {
    let result = &recorded.shown;
    let profile = &result.profile;
    let total = profile.total();
    let seconds = profile.duration as f64 / 1e9;
    let named = percent(result.frames.named, result.frames.all);
    let mut out = vec![match profile.kind {
        ProfileKind::OnCpu => format!(
            "{total} samples in {seconds:.1} s at {} Hz: {:.2} s of CPU time; {named} of the frames have a symbol",
            options.frequency,
            total as f64 * profile.period as f64 / 1e9,
        ),
        ProfileKind::OffCpu => format!(
            "{:.2} s off CPU in {seconds:.1} s; {named} of the frames have a symbol",
            total as f64 / 1e9
        ),
        ProfileKind::Wall => format!(
            "{:.2} s of wall-clock time of all threads in {seconds:.1} s; {named} of the frames have a symbol",
            total as f64 / 1e9
        ),
    }];
    for hot in hottest(profile, FUNCTIONS, Some).iter().take(WORKLOADS) {
        let resource = profile.resources.get(hot.workload as usize);
        let name = resource.map_or("unknown", resource_name);
        let function = |(function, value): &(String, u64)| {
            format!(" {function} {}", percent(*value, hot.total))
        };
        let functions: Vec<String> = hot.functions.iter().map(function).collect();
        let share = percent(hot.total, total);
        out.push(format!("  {share:>6} {name}:{}", functions.join(";")));
    }
    if let Some(requests) = requests {
        out.push(requests.summary());
        out.extend(selected(options, requests));
    }
    for profile in std::iter::once(profile).chain(recorded.off_cpu.iter().map(|r| &r.profile)) {
        out.extend(reasons(profile));
        out.extend(outcomes(profile));
    }
    if !recorded.left_out.is_empty() {
        let all: u64 = recorded.left_out.values().sum();
        out.push(format!(
            "idle time is left out: {:.2} s ({}); --idle shows it",
            all as f64 / 1e9,
            by_reason(&recorded.left_out)
        ));
    }
    out.extend(lost(recorded, losses));
    if total == 0 {
        out.push(nothing(options, profile.kind));
    }
    if recorded.is_empty() {
        out.push("nothing is written: files that were there are as they were".to_owned());
        return out;
    }
    for output in options.outputs.iter().chain(&options.off_cpu_outputs) {
        if let Output::File(path, _) = output {
            out.push(format!("written: {}", path.display()));
        }
    }
    out
}

/// Says that there is nothing, and of whom.
fn nothing(options: &RecordOptions, kind: ProfileKind) -> String {
    let did = match kind {
        ProfileKind::OnCpu => "used a CPU",
        ProfileKind::OffCpu if options.idle => "was off CPU",
        ProfileKind::OffCpu => "was delayed",
        ProfileKind::Wall => "was there",
    };
    format!("no samples: nothing of {} {did}", options.whom)
}

/// What was lost, by cause.
fn lost(recorded: &Recorded, losses: &[(Loss, u64)]) -> Vec<String> {
    let kernel = losses.iter();
    let kernel = kernel.map(|(cause, count)| (cause.name(), cause.meaning(), *count));
    let costly = causes::FILE_TOO_COSTLY;
    let own = [(costly.name, costly.meaning, costly::count())];
    let all = kernel.chain(recorded.shown.losses.causes()).chain(own);
    let mut lost: Vec<String> = all
        .filter(|(.., count)| *count > 0)
        .map(|(cause, meaning, count)| format!("lost: {count} {cause} ({meaning})"))
        .collect();
    if lost.is_empty() {
        lost.push("nothing was lost".to_owned());
    }
    let cut = cut_texts();
    if cut > 0 {
        lost.push(format!("cut: {cut} ({})", causes::TEXT_CUT.meaning));
    }
    lost
}

/// What became of the samples of a recording that is about some requests.
fn selected(options: &RecordOptions, requests: &Selection) -> Vec<String> {
    let mut out = Vec::new();
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
        let mut line = format!(
            "{} while serving them, {} left out",
            amount(of.kept),
            amount(of.left_out)
        );
        if of.undecided > 0 {
            let amount = amount(of.undecided);
            // Writing to a String can't fail.
            let _ = write!(line, ", {amount} of requests whose end wasn't seen");
        }
        out.push(line);
    }
    out
}

/// What the time off CPU was spent on, most first; nothing for other profiles.
fn reasons(profile: &Profile) -> Option<String> {
    let mut sums: BTreeMap<Reason, u64> = BTreeMap::new();
    for sample in &profile.samples {
        if let Some(wait) = sample.wait {
            *sums.entry(wait.reason).or_default() += sample.value;
        }
    }
    if sums.is_empty() {
        return None;
    }
    Some(format!("off CPU: {}", by_reason(&sums)))
}

/// Nanoseconds by reason, most first.
fn by_reason(sums: &BTreeMap<Reason, u64>) -> String {
    let mut sums: Vec<_> = sums.iter().collect();
    sums.sort_by_key(|(_, ns)| std::cmp::Reverse(**ns));
    let shown: Vec<String> = sums
        .iter()
        .map(|(reason, ns)| format!("{} {:.2} s", reason.as_str(), **ns as f64 / 1e9))
        .collect();
    shown.join(", ")
}

/// How many stacks are whole, and what the others lack.
fn outcomes(profile: &Profile) -> Option<String> {
    let total: u64 = profile.outcomes.iter().map(|(_, value)| value).sum();
    if total == 0 {
        return None;
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
    Some(out)
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Whom a resource is about.
fn resource_name(resource: &SharedResource) -> &str {
    resource.get_str("service.name").unwrap_or("unknown")
}
