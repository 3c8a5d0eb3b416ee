//! What is attached, and in which order.
//!
//! A probe says which others it needs ([`ProbeSpec::requires`]); this is the one
//! place that makes a list of that. It stands above the probes and not in
//! `kernel`, which knows none of them.

use anyhow::{Result, bail};
use observer_common::family::{Family, Part};

use super::{block, cpu, net, offcpu, pressure, requests, sched, syscalls, tcp};
use crate::kernel::{Kernel, ProbeSpec, ProgramSpec};

/// What programs are attached for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `run` and `trace`. Whatever is chosen, scheduling keeps each CPU's slot,
    /// from which all families learn who runs.
    Daemon,
    /// `record`: nothing but what the chosen families need.
    Recording {
        /// Whether later children of the recorded processes are recorded, too.
        children: bool,
    },
    /// To measure or try them: the programs of all modes, also of those that
    /// stand in for each other.
    Everything,
}

/// Probes in the order in which they are attached, each once.
#[derive(Clone, Debug)]
pub struct Plan(Vec<&'static ProbeSpec>);

/// What a family needs from the kernel, beside what that requires.
pub fn spec(family: Family) -> &'static ProbeSpec {
    match family {
        Family::Sched => &sched::SPEC,
        Family::Syscalls => &syscalls::SPEC,
        Family::Cpu => &cpu::SPEC,
        Family::OffCpu => &offcpu::SPEC,
        Family::Block => &block::SPEC,
        Family::Tcp => &tcp::SPEC,
        Family::Requests => &requests::SPEC,
        Family::Net => &net::SPEC,
        Family::Pressure => &pressure::SPEC,
    }
}

/// Where the family stands in the order: what others build on comes first.
fn rank(family: Family) -> u8 {
    match family {
        Family::Sched => 0,
        Family::Syscalls => 1,
        Family::Cpu => 2,
        Family::OffCpu => 3,
        Family::Block => 4,
        Family::Tcp => 5,
        // It would leave connections alone whose bytes it can't find because
        // syscalls aren't seen yet.
        Family::Requests => 6,
        Family::Net => 7,
        Family::Pressure => 8,
    }
}

impl Plan {
    /// What is attached to observe these families, in whatever order they are
    /// given.
    pub fn of(families: &[Family], purpose: Purpose) -> Self {
        let mut families = families.to_vec();
        families.sort_by_key(|family| rank(*family));
        let specs: Vec<_> = families.into_iter().map(spec).collect();
        Self::of_probes(&specs, purpose)
    }

    /// What is attached to have these probes, in the order in which they are
    /// given.
    pub fn of_probes(chosen: &[&'static ProbeSpec], purpose: Purpose) -> Self {
        let before: &[&'static ProbeSpec] = match purpose {
            Purpose::Daemon => &[&sched::SPEC],
            Purpose::Recording { children: true } => &[&sched::FOLLOW],
            Purpose::Recording { children: false } => &[],
            Purpose::Everything => &[&sched::FOLLOW, &sched::SPEC],
        };
        let mut plan = Self(Vec::new());
        for probe in before.iter().chain(chosen) {
            plan.add(probe, chosen, purpose);
        }
        plan
    }

    /// Appends a probe behind all that it requires.
    fn add(&mut self, probe: &'static ProbeSpec, chosen: &[&'static ProbeSpec], purpose: Purpose) {
        let is_same = |other: &&'static ProbeSpec| std::ptr::eq(*other, probe);
        if self.0.iter().any(is_same) {
            return;
        }
        let better = chosen
            .iter()
            .find(|other| Some(other.family) == probe.covered_by.map(Part::Family));
        if let Some(better) = better.filter(|_| purpose != Purpose::Everything) {
            return self.add(better, chosen, purpose);
        }
        for required in probe.requires {
            self.add(required, chosen, purpose);
        }
        self.0.push(probe);
    }

    /// What is in this plan and not in the other.
    pub fn without(&self, other: &Self) -> Self {
        let is_new = |probe: &&'static ProbeSpec| !other.0.iter().any(|o| std::ptr::eq(*o, *probe));
        Self(self.0.iter().copied().filter(is_new).collect())
    }

    /// All programs with the probe that each belongs to, in their order.
    pub fn programs(&self) -> impl Iterator<Item = (&'static ProbeSpec, &'static ProgramSpec)> {
        let probes = self.0.iter().copied();
        probes.flat_map(|probe| probe.programs.iter().map(move |program| (probe, program)))
    }

    /// Attaches all programs. Each that can't be attached is logged with what is
    /// lost by that, and kept in [`Kernel::states`]; the others go on.
    pub fn attach(&self, kernel: &mut Kernel) {
        for probe in &self.0 {
            let before = kernel.states().len();
            let any = kernel.attach(probe);
            for state in kernel.states().iter().skip(before) {
                if let Some(failure) = &state.failure {
                    tracing::warn!(
                        probe = %state.family,
                        program = state.program.name,
                        "{} is not attached: {failure}; lost without it: {}",
                        state.program.name,
                        state.program.lost_without,
                    );
                }
            }
            if any
                && let Some(prepare) = probe.prepare
                && let Err(error) = prepare(kernel)
            {
                tracing::warn!(probe = %probe.family, "{}: {error:#}", probe.observes);
            }
        }
    }
}

/// Says why nothing of what a probe observes can be seen, if that is so.
///
/// # Errors
/// When none of the programs is attached by which it sees.
pub fn ensure_seen(kernel: &Kernel, probe: &ProbeSpec) -> Result<()> {
    if kernel.sees(probe) {
        return Ok(());
    }
    let mut states = kernel.states().iter();
    let of_probe = states.find(|state| probe.is_seen_by(state.program.name));
    let (program, reason) = match of_probe {
        Some(state) => (state.program.name, state.failure.as_ref()),
        None => (probe.family.as_str(), None),
    };
    let reason = reason.map_or("it was not attached".to_owned(), ToString::to_string);
    bail!(
        "there is no way to see {}: {program}: {reason}; `observer check` says more",
        probe.observes
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Attach;

    fn names(families: &[Family], purpose: Purpose) -> Vec<&'static str> {
        let plan = Plan::of(families, purpose);
        plan.programs().map(|(_, program)| program.name).collect()
    }

    /// Checks that the order in which families are given doesn't matter, that
    /// each program is there once, and the order of some that depend on it.
    #[test]
    fn order_is_the_plans() {
        let all = names(&Family::ALL, Purpose::Daemon);
        let mut reversed = Family::ALL;
        reversed.reverse();
        assert_eq!(names(&reversed, Purpose::Daemon), all);
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len());
        let at = |name| all.iter().position(|program| *program == name);
        assert_eq!(at("identity_threads"), Some(0));
        for (first, then) in [
            ("identity_rename", "sched_switch"),
            ("sched_switch", "syscalls_enter"),
            ("syscalls_exit", "requests_sent"),
            ("unwind_fork", "cpu_sample"),
            ("block_complete", "block_issue"),
        ] {
            assert!(
                at(first).is_some() && at(first) < at(then),
                "{first}, {then}"
            );
        }
    }

    /// Checks that a program that stands in for a family's is attached where
    /// that family isn't chosen, and only there, or to try everything.
    #[test]
    fn stand_ins_give_way() {
        let requests = names(&[Family::Requests], Purpose::Daemon);
        assert_eq!(
            requests[..11],
            [
                "identity_threads",
                "identity_sweep",
                "identity_program",
                "identity_rename",
                "sched_switch",
                "sched_wakeup",
                "sched_wakeup_new",
                "offcpu_exit",
                "offcpu_exit2",
                "offcpu_enter",
                "offcpu_enter2"
            ]
        );
        let both = names(&[Family::Requests, Family::Syscalls], Purpose::Daemon);
        assert!(both.contains(&"syscalls_exit") && !both.contains(&"offcpu_exit"));
        let tried = names(&[Family::Requests, Family::Syscalls], Purpose::Everything);
        assert!(tried.contains(&"syscalls_exit") && tried.contains(&"offcpu_exit"));
    }

    /// Checks that a recording has what its kinds of time need, and no more.
    #[test]
    fn recordings_have_what_they_need() {
        let alone = Purpose::Recording { children: false };
        let unwinding = ["unwind_fork", "unwind_exec", "unwind_exit"];
        let on_cpu = names(&[Family::Cpu], alone);
        assert_eq!(on_cpu, [&unwinding[..], &["cpu_sample"]].concat());
        let with_children = names(&[Family::Cpu], Purpose::Recording { children: true });
        assert_eq!(with_children[..2], ["identity_fork", "identity_exit"]);
        let off_cpu = names(&[Family::OffCpu], alone);
        for needed in [
            "identity_threads",
            "sched_switch",
            "offcpu_enter",
            "offcpu_threads",
        ] {
            assert!(off_cpu.contains(&needed), "{needed}");
        }
        assert!(!off_cpu.contains(&"cpu_sample") && !off_cpu.contains(&"requests_sent"));
    }

    /// Checks that whatever the daemon or a recording attaches is among
    /// everything, and that what is left is what only recordings attach.
    #[test]
    fn everything_is_everything() {
        let everything = Plan::of(&Family::ALL, Purpose::Everything);
        let daemon = Plan::of(&Family::ALL, Purpose::Daemon);
        let rest = everything.without(&daemon);
        let rest: Vec<_> = rest.programs().map(|(_, program)| program.name).collect();
        assert_eq!(
            rest,
            [
                "identity_fork",
                "identity_exit",
                "offcpu_exit",
                "offcpu_exit2",
                "offcpu_enter",
                "offcpu_enter2"
            ]
        );
        assert_eq!(daemon.without(&everything).programs().count(), 0);
    }

    /// Checks that a second look stands right behind the first on its tracepoint, which is
    /// how it knows what the first has seen, and that only some kernels want it.
    #[test]
    fn second_looks_stand_behind_the_first() {
        let plan = Plan::of(&Family::ALL, Purpose::Everything);
        let mut before = None;
        let mut second_looks = 0;
        for (_, program) in plan.programs() {
            if let Attach::SecondLook(hook) = program.attach {
                assert_eq!(before, Some(Attach::Tracepoint(hook)), "{}", program.name);
                assert!(program.is_wanted(true) && !program.is_wanted(false));
                second_looks += 1;
            } else {
                assert!(program.is_wanted(false), "{}", program.name);
            }
            before = Some(program.attach);
        }
        assert_eq!(second_looks, 4);
    }

    /// Checks that all by which probes see are programs that their plan has.
    #[test]
    fn eyes_are_programs_of_the_plan() {
        for family in Family::ALL {
            let programs = names(&[family], Purpose::Daemon);
            for eye in spec(family).seen_by {
                assert!(programs.contains(eye), "{family}: {eye}");
            }
        }
    }
}
