//! Per program: are its hook and the fields it reads in this kernel, and does the
//! kernel accept it? Tried by attaching them for a moment, as `observer run` does.

use observer_common::tally::RESERVED_CELLS;

use super::features::boot_newer;
use super::report::{Item, Report, Status};
use crate::kernel::btf::{KernelBtf, Misfit};
use crate::kernel::capabilities::Effective;
use crate::kernel::object;
use crate::kernel::object::optional::OPTIONAL;
use crate::kernel::preemption::Preemption;
use crate::kernel::{
    Attach, AttachError, Kernel, LoadOptions, ProgramSpec, RequestOptions, release,
};
use crate::probes::plan::{Plan, Purpose};
use crate::probes::sched;
use observer_common::family::{Family, Part};
use observer_common::offsets::Offsets;

/// Programs that `observer run` attaches with the given options.
const OF_RUN: &str = "probes";

/// Those that the other commands attach.
const OF_OTHERS: &str = "probes of record and trace";

/// Entries of each table while programs are only tried: few, to cost no memory,
/// beside those that are held in reserve.
const TRIAL_ENTRIES: u32 = 64;

/// Bytes of each ring buffer, likewise: a page.
const TRIAL_RING: u32 = 4096;

const REPORT: &str = "report it with the output of: observer run --log-level debug --duration 1s";

/// Looks up everything that the programs for `families` say they need, and tries
/// them, loaded with `options`.
pub fn programs(report: &mut Report, held: Effective, families: &[Family], options: LoadOptions) {
    let types = match &options.btf {
        Some(path) => KernelBtf::read(path),
        None => KernelBtf::load(),
    };
    // Why it can't be read was said where BTF itself was looked at.
    let Ok(types) = types else { return };
    let preemptible = Preemption::of_kernel(&types);
    report.add(preemption(&preemptible));
    let (offsets, misfits) = (types.offsets(), types.misfits());
    optional(report, families, &offsets, &misfits);
    let mut kernel = load(report, held, options);
    let daemon = Plan::of(families, Purpose::Daemon);
    let others = Plan::of(families, Purpose::Everything).without(&daemon);
    for (group, plan) in [(OF_RUN, daemon), (OF_OTHERS, others)] {
        if let Some(kernel) = &mut kernel {
            plan.attach(kernel);
        }
        let programs = plan.programs();
        for (probe, program) in
            programs.filter(|(_, program)| program.is_wanted(preemptible.tracepoints))
        {
            let lacking = no_hook(program, |name| types.has_tracepoint(name))
                .or_else(|| object::lacking(program, &offsets, &misfits));
            let name = format!("{}: {}", probe.family, program.name);
            let item = Item::ok(group, name, hook(program));
            let refused = kernel.as_ref().map(|kernel| failure(kernel, program));
            report.add(match (lacking, refused) {
                (Some(reason), _) | (None, Some(Some(reason))) => worse(item, program, &reason),
                (None, Some(None)) => item,
                (None, None) => untried(item, program),
            });
        }
    }
}

/// Reports fields that are missing without any program failing.
fn optional(report: &mut Report, families: &[Family], offsets: &Offsets, misfits: &[Misfit]) {
    for wanted in OPTIONAL {
        let is_chosen = |family: &Family| wanted.part == Part::Family(*family);
        let missing = wanted.missing(offsets).into_iter();
        let Some(reason) = object::unfit(missing, misfits) else {
            continue;
        };
        if families.iter().any(is_chosen) {
            let name = format!("{}: {}", wanted.part, wanted.fields.join(", "));
            let item = Item {
                kind: Some(reason.kind()),
                ..Item::ok("fields", name, "")
            };
            let lost = format!("{}: {reason}", wanted.lost);
            report.add(item.worse(Status::Degraded, lost, remedy(&reason)));
        }
    }
}

/// The item of a program that wasn't tried, since the kernel half isn't loaded.
fn untried(item: Item, program: &ProgramSpec) -> Item {
    let detail = format!("{}; not tried", item.detail);
    let remedy = "mend what is missing above, and check again";
    Item { detail, ..item }.worse(Status::Unknown, program.lost_without, remedy)
}

/// What mends it.
fn remedy(reason: &AttachError) -> &'static str {
    match reason {
        AttachError::NoField(_) | AttachError::NoHook(_) => {
            "boot a kernel that has it; everything else works without"
        }
        AttachError::FieldSize(_) => {
            "boot another kernel, and report this with its version; everything else works without"
        }
        AttachError::NoPrivilege(_) => {
            "run it as root, or with CAP_BPF and CAP_PERFMON; a lockdown or a security module may \
             forbid it, too (dmesg says so)"
        }
        AttachError::NoDescriptor(_) => {
            "raise the limit of open files: ulimit -n 4096, or LimitNOFILE=4096 of a unit"
        }
        AttachError::Refused(_) | AttachError::Failed(_) => REPORT,
    }
}

/// The item of a program that can't be attached, with what mends that.
fn worse(item: Item, program: &ProgramSpec, reason: &AttachError) -> Item {
    let lost = format!("{}: {reason}", program.lost_without);
    let kind = Some(reason.kind());
    Item { kind, ..item }.worse(severity(program), lost, remedy(reason))
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
            let remedy = release::too_old().map_or(REPORT.to_owned(), |_| boot_newer());
            let lost = format!("everything: {error:#}");
            report.add(item.worse(Status::Missing, lost, remedy));
            None
        }
    }
}

/// Why a program that was attached just now isn't.
fn failure(kernel: &Kernel, program: &ProgramSpec) -> Option<AttachError> {
    let mut states = kernel.states().iter();
    states
        .find(|state| state.program.name == program.name)
        .and_then(|state| state.failure.clone())
}

/// Where a program is attached.
fn hook(program: &ProgramSpec) -> String {
    match program.attach {
        Attach::Tracepoint(name) | Attach::SecondLook(name) => format!("tracepoint {name}"),
        Attach::FirstTracepoint(names) => format!("tracepoint {}", names.join(" or ")),
        Attach::Iterator(name) => format!("iterator over {name}"),
        Attach::Manual => "perf event".to_owned(),
        Attach::UserFunction => "uprobes".to_owned(),
    }
}

/// Whether programs keep their CPU and their stack while they run, and by whom.
fn preemption(preemption: &Preemption) -> Item {
    let needed = preemption.tracepoints || preemption.user_functions;
    let detail = match preemption.functions {
        Some(_) if needed => "programs see to it that they aren't preempted",
        _ => "the kernel sees to it that programs aren't preempted",
    };
    let item = Item::ok("bpf", "preemption", detail);
    let lost = match (
        preemption.tracepoints_are_safe(),
        preemption.user_functions_are_safe(),
    ) {
        (true, true) => return item,
        (true, false) => "requests over TLS",
        (false, _) => {
            "what happens on a CPU while a thread that lost it is in the program for it \
             (`program_missed`, `syscall_missed`)"
        }
    };
    Item {
        detail: "programs can be preempted".to_owned(),
        ..item
    }
    .worse(
        Status::Degraded,
        lost,
        "have the kernel compile programs (sysctl net.core.bpf_jit_enable=1), or boot a \
         newer one",
    )
}

/// Why a program has nothing to be attached to in the kernel's types, if so.
fn no_hook(program: &ProgramSpec, has_tracepoint: impl Fn(&str) -> bool) -> Option<AttachError> {
    let is_there = match program.attach {
        Attach::Tracepoint(name) | Attach::SecondLook(name) => has_tracepoint(name),
        Attach::FirstTracepoint(names) => names.iter().any(|name| has_tracepoint(name)),
        _ => true,
    };
    (!is_there).then(|| AttachError::NoHook(hook(program)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::preemption::Functions;

    const PROGRAM: ProgramSpec = ProgramSpec {
        name: "program",
        attach: Attach::Tracepoint("some_event"),
        needs: &["task_state", "task_pid"],
        lost_without: "insight",
    };

    /// Checks that missing hooks and fields are named as the kernel names them,
    /// with what is lost and what mends it.
    #[test]
    fn missing_needs_are_named() {
        assert_eq!(no_hook(&PROGRAM, |_| true), None);
        let hook = no_hook(&PROGRAM, |_| false);
        let expected = AttachError::NoHook("tracepoint some_event".to_owned());
        assert_eq!(hook, Some(expected));
        let field = object::lacking(&PROGRAM, &Offsets::MISSING, &[]).expect("two fields");
        let expected = "task_struct.__state or state, no task_struct.pid";
        assert_eq!(field, AttachError::NoField(expected.to_owned()));
        let item = worse(Item::ok(OF_RUN, "cpu: program", ""), &PROGRAM, &field);
        assert_eq!(
            (item.status, item.kind),
            (Status::Degraded, Some("no_field"))
        );
        let lost = item.lost.expect("what is lost");
        assert!(lost.starts_with("insight: ") && lost.contains("task_struct.pid"));
        assert!(item.remedy.expect("a remedy").contains("boot a kernel"));
        let misfit = Misfit {
            name: "task_pid",
            field: "task_struct.pid".to_owned(),
            has: 2,
            read: 4,
        };
        let size = object::lacking(&PROGRAM, &Offsets::MISSING, &[misfit]);
        let expected = "task_struct.pid of 2 bytes, where 4 are read";
        assert_eq!(size, Some(AttachError::FieldSize(expected.to_owned())));
    }

    /// Checks that each kind of failure has a remedy that fits, and that without
    /// `sched_switch` nothing works.
    #[test]
    fn kinds_have_remedies() {
        let remedy = |reason| {
            let item = worse(Item::ok(OF_RUN, "cpu: program", ""), &PROGRAM, &reason);
            item.remedy.expect("a remedy")
        };
        assert!(remedy(AttachError::NoPrivilege(String::new())).contains("CAP_BPF"));
        assert!(remedy(AttachError::Refused(String::new())).contains("--log-level debug"));
        let switch = ProgramSpec {
            name: "sched_switch",
            ..PROGRAM
        };
        let reason = AttachError::Failed(String::new());
        let item = worse(
            Item::ok(OF_RUN, "sched: sched_switch", ""),
            &switch,
            &reason,
        );
        assert_eq!(item.status, Status::Missing);
        let item = untried(Item::ok(OF_RUN, "cpu: program", "hook"), &PROGRAM);
        assert_eq!(
            (item.status, &*item.detail),
            (Status::Unknown, "hook; not tried")
        );
    }

    /// Checks that a kernel on which programs lose their CPU is said to lose events,
    /// and one on which they keep it isn't.
    #[test]
    fn preemption_is_said() {
        let by_kernel = Preemption::default();
        assert_eq!(preemption(&by_kernel).status, Status::Ok);
        let unsafe_tracepoints = Preemption {
            tracepoints: true,
            ..by_kernel
        };
        let item = preemption(&unsafe_tracepoints);
        assert_eq!(item.status, Status::Degraded);
        assert!(
            item.lost
                .is_some_and(|lost| lost.contains("program_missed"))
        );
        let functions = Some(Functions {
            disable: 1,
            enable: 2,
            save: 3,
            restore: 4,
        });
        let by_programs = Preemption {
            functions,
            ..unsafe_tracepoints
        };
        assert_eq!(preemption(&by_programs).status, Status::Ok);
        let unsafe_stacks = Preemption {
            user_functions: true,
            ..by_kernel
        };
        let lost = preemption(&unsafe_stacks).lost;
        assert_eq!(lost.as_deref(), Some("requests over TLS"));
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
