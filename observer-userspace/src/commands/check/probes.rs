//! Per program: are its hook and the fields it reads in this kernel, and does the
//! kernel accept it? Tried by attaching them for a moment, as `observer run` does.

use observer_common::offsets::{MISSING, Offsets};
use observer_common::tally::RESERVED_CELLS;

use super::report::{Item, Report, Status};
use crate::config::values::Family;
use crate::kernel::btf::KernelBtf;
use crate::kernel::capabilities::Effective;
use crate::kernel::{Attach, Kernel, LoadOptions, ProgramSpec, RequestOptions};
use crate::probes::plan::{Plan, Purpose};
use crate::probes::sched;

/// Programs that `observer run` attaches with the given options.
const OF_RUN: &str = "probes";

/// Those that the other commands attach.
const OF_OTHERS: &str = "probes of record and trace";

/// Entries of each table while programs are only tried: few, to cost no memory,
/// beside those that are held in reserve.
const TRIAL_ENTRIES: u32 = 64;

/// Bytes of each ring buffer, likewise: a page.
const TRIAL_RING: u32 = 4096;

/// How much of the kernel's own explanation is shown: what follows is the
/// verifier's log, hundreds of lines.
const REASON_LIMIT: usize = 160;

/// Looks up everything that the programs for `families` say they need, and tries
/// them, loaded with `options`.
pub fn programs(report: &mut Report, held: Effective, families: &[Family], options: LoadOptions) {
    // Why it can't be read was said where BTF itself was looked at.
    let Ok(btf) = KernelBtf::load() else { return };
    let offsets = btf.offsets();
    let mut kernel = load(report, held, options);
    let daemon = Plan::of(families, Purpose::Daemon);
    let others = Plan::of(families, Purpose::Everything).without(&daemon);
    for (group, plan) in [(OF_RUN, daemon), (OF_OTHERS, others)] {
        if let Some(kernel) = &mut kernel {
            plan.attach(kernel);
        }
        for (probe, program) in plan.programs() {
            let missing = missing(
                program,
                |name| btf.has_tracepoint(name),
                |name| offsets.get(name).is_some_and(|offset| offset != MISSING),
            );
            let found = item(group, probe.family, program, &missing);
            let failure = kernel.as_ref().and_then(|kernel| failure(kernel, program));
            report.add(match failure {
                Some(reason) if missing.is_empty() => found.worse(
                    severity(program),
                    format!("{}: {}", program.lost_without, in_short(&reason)),
                    "report it with the output of: observer run --log-level debug --duration 1s",
                ),
                _ => found,
            });
        }
    }
}

/// How grave it is that the program can't be attached.
fn severity(program: &ProgramSpec) -> Status {
    if sched::SPEC.is_seen_by(program.name) {
        Status::Missing
    } else {
        Status::Degraded
    }
}

/// The kernel half, loaded with small tables; `None` if that isn't possible,
/// which is reported unless it is for lack of privileges.
fn load(report: &mut Report, held: Effective, options: LoadOptions) -> Option<Kernel> {
    let options = LoadOptions {
        workloads: TRIAL_ENTRIES,
        histogram_cells: RESERVED_CELLS + TRIAL_ENTRIES,
        counter_cells: RESERVED_CELLS + TRIAL_ENTRIES,
        sample_entries: TRIAL_ENTRIES,
        ring_bytes: Some(TRIAL_RING),
        requests: options.requests.map(|requests| RequestOptions {
            ring_bytes: TRIAL_RING,
            ..requests
        }),
        ..options
    };
    if held.ensure_required().is_err() {
        return None;
    }
    let item = Item::ok(OF_RUN, "kernel half", "loaded for a moment");
    match Kernel::load(&options) {
        Ok(kernel) => {
            report.add(item);
            Some(kernel)
        }
        Err(error) => {
            report.add(item.worse(
                Status::Missing,
                format!("everything: {}", in_short(&format!("{error:#}"))),
                "report it with the output of: observer run --log-level debug --duration 1s",
            ));
            None
        }
    }
}

/// Why the kernel refused a program that was attached just now.
fn failure(kernel: &Kernel, program: &ProgramSpec) -> Option<String> {
    let mut states = kernel.states().iter();
    states
        .find(|state| state.program.name == program.name)
        .and_then(|state| state.failure.clone())
}

/// The first line, within limits.
fn in_short(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    match line.char_indices().nth(REASON_LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn item(group: &'static str, family: &str, program: &ProgramSpec, missing: &[String]) -> Item {
    let hook = match program.attach {
        Attach::Tracepoint(name) => format!("tracepoint {name}"),
        Attach::FirstTracepoint(names) => format!("tracepoint {}", names.join(" or ")),
        Attach::Iterator(name) => format!("iterator over {name}"),
        Attach::Manual => "perf event".to_owned(),
        Attach::UserFunction => "uprobes".to_owned(),
    };
    let item = Item::ok(group, format!("{family}: {}", program.name), hook);
    if missing.is_empty() {
        return item;
    }
    item.worse(
        severity(program),
        format!(
            "{}: this kernel has no {}",
            program.lost_without,
            missing.join(", no ")
        ),
        "boot a kernel that has it; everything else works without",
    )
}

/// What of a program's needs isn't there, as a person would look for it.
fn missing(
    program: &ProgramSpec,
    has_tracepoint: impl Fn(&str) -> bool,
    has_field: impl Fn(&str) -> bool,
) -> Vec<String> {
    let hook = match program.attach {
        Attach::Tracepoint(name) if !has_tracepoint(name) => Some(format!("tracepoint {name}")),
        Attach::FirstTracepoint(names) if !names.iter().any(|name| has_tracepoint(name)) => {
            Some(format!("tracepoint {}", names.join(" or ")))
        }
        _ => None,
    };
    let fields = program
        .needs
        .iter()
        .filter(|name| !has_field(name))
        .map(|name| {
            Offsets::SPECS
                .iter()
                .find(|spec| spec.name == *name)
                .map_or_else(
                    || format!("field {name}"),
                    |spec| format!("{}.{}", spec.structure, spec.paths.join(" or ")),
                )
        });
    hook.into_iter().chain(fields).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: ProgramSpec = ProgramSpec {
        name: "program",
        attach: Attach::Tracepoint("some_event"),
        needs: &["task_state", "task_pid"],
        lost_without: "insight",
    };

    /// Checks that missing hooks and fields are named as the kernel names them.
    #[test]
    fn missing_needs_are_named() {
        assert!(missing(&PROGRAM, |_| true, |_| true).is_empty());
        let found = missing(&PROGRAM, |_| false, |name| name != "task_state");
        assert_eq!(
            found,
            ["tracepoint some_event", "task_struct.__state or state"]
        );
        let item = item(OF_RUN, "cpu", &PROGRAM, &found);
        assert_eq!(item.status, Status::Degraded);
        assert!(item.lost.is_some_and(|lost| lost.starts_with("insight")));
    }

    /// Checks that a verifier's log doesn't fill the screen.
    #[test]
    fn reasons_are_short() {
        assert_eq!(in_short("refused\nline 2"), "refused");
        let short = in_short(&"é".repeat(1000));
        assert_eq!(short.chars().count(), REASON_LIMIT + 1);
    }

    /// Checks that every family's needs are names that can be looked up at all.
    #[test]
    fn needs_can_be_looked_up() {
        for (_, program) in Plan::of(&Family::ALL, Purpose::Everything).programs() {
            for need in program.needs {
                assert!(
                    Offsets::MISSING.get(need).is_some(),
                    "{}: {need}",
                    program.name
                );
            }
        }
    }
}
