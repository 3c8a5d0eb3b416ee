//! Per probe family: are its hooks and the fields it reads in this kernel?

use observer_common::offsets::{MISSING, Offsets};

use super::report::{Item, Report, Status};
use crate::kernel::btf::KernelBtf;
use crate::kernel::{Attach, ProgramSpec};
use crate::probes;

/// Looks up everything that the families say they need.
pub fn families(report: &mut Report) {
    // Why it can't be read was said where BTF itself was looked at.
    let Ok(btf) = KernelBtf::load() else { return };
    let offsets = btf.offsets();
    for probe in probes::all() {
        let spec = probe.spec();
        for program in spec.programs {
            let missing = missing(
                program,
                |name| btf.has_tracepoint(name),
                |name| offsets.get(name).is_some_and(|offset| offset != MISSING),
            );
            report.add(item(spec.family, program, &missing));
        }
    }
}

fn item(family: &str, program: &ProgramSpec, missing: &[String]) -> Item {
    let hook = match program.attach {
        Attach::Tracepoint(name) => format!("tracepoint {name}"),
        Attach::Iterator(name) => format!("iterator over {name}"),
        Attach::Manual => "perf event".to_owned(),
    };
    let item = Item::ok("probes", format!("{family}: {}", program.name), hook);
    if missing.is_empty() {
        return item;
    }
    item.worse(
        Status::Degraded,
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
        let item = item("cpu", &PROGRAM, &found);
        assert_eq!(item.status, Status::Degraded);
        assert!(item.lost.is_some_and(|lost| lost.starts_with("insight")));
    }

    /// Checks that every family's needs are names that can be looked up at all.
    #[test]
    fn needs_can_be_looked_up() {
        for probe in probes::all() {
            for program in probe.spec().programs {
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
}
