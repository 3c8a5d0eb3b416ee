//! Whether this kernel's programs can lose their CPU where they mustn't, and what
//! keeps it for them: see [`observer_common::preemption`].

use super::btf::KernelBtf;
use super::release;

/// The first version on which a program on a tracepoint can be preempted. Nothing
/// in the kernel's types tells of it. Where a distribution has brought it to an
/// older one, calls that it costs are counted in `syscall_missed`.
const TRACEPOINTS_PREEMPTIBLE: (u32, u32) = (7, 2);

/// The kernel's functions that begin and end what isn't preempted, by their numbers
/// in its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Functions {
    /// `bpf_preempt_disable`.
    pub disable: i32,
    /// `bpf_preempt_enable`.
    pub enable: i32,
    /// `bpf_local_irq_save`.
    pub save: i32,
    /// `bpf_local_irq_restore`.
    pub restore: i32,
}

/// Which programs have to keep their CPU by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preemption {
    /// Programs on tracepoints can be preempted.
    pub tracepoints: bool,
    /// Programs on functions of user programs may find somebody else's data on their
    /// stack, since it is the CPU's.
    pub user_functions: bool,
    /// With these they keep it; `None` if the kernel hasn't got them.
    pub functions: Option<Functions>,
}

/// What of a kernel's types that depends on.
pub trait Types {
    /// Whether a structure has this member.
    fn has_member(&self, structure: &str, member: &str) -> bool;
    /// The numbers of functions; `None` if one isn't there.
    fn functions(&self, names: [&str; 4]) -> Option<[u32; 4]>;
}

impl Types for KernelBtf {
    fn has_member(&self, structure: &str, member: &str) -> bool {
        Self::has_member(self, structure, member)
    }

    fn functions(&self, names: [&str; 4]) -> Option<[u32; 4]> {
        Self::functions(self, names)
    }
}

impl Preemption {
    /// That of the running kernel, which has these `types`.
    pub fn of_kernel(types: &impl Types) -> Self {
        let interpreted = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")
            .is_ok_and(|setting| setting.trim() == "0");
        Self::new(types, release::version(), !interpreted)
    }

    /// Whether programs on functions of user programs have their stack to themselves.
    pub fn user_functions_are_safe(&self) -> bool {
        !self.user_functions || self.functions.is_some()
    }

    /// Whether programs on tracepoints have their CPU to themselves.
    pub fn tracepoints_are_safe(&self) -> bool {
        !self.tracepoints || self.functions.is_some()
    }

    /// That of a kernel of this `version` with these `types`, which compiles programs
    /// or interprets them: then they have stacks of their own, and call no functions
    /// of the kernel.
    fn new(types: &impl Types, version: (u32, u32), compiles: bool) -> Self {
        let tracepoints = version >= TRACEPOINTS_PREEMPTIBLE;
        // Since 6.13.
        let user_functions = compiles && types.has_member("bpf_prog_aux", "priv_stack_ptr");
        let functions = if compiles && (tracepoints || user_functions) {
            functions(types)
        } else {
            None
        };
        Self {
            tracepoints,
            user_functions,
            functions,
        }
    }
}

/// The functions, if programs may call what ours call between them: the verifier
/// that knows which global functions may sleep (`bpf_subprog_info.might_sleep`, 6.15)
/// allows the others.
fn functions(types: &impl Types) -> Option<Functions> {
    if !types.has_member("bpf_subprog_info", "might_sleep") {
        return None;
    }
    let numbers = types.functions([
        "bpf_preempt_disable",
        "bpf_preempt_enable",
        "bpf_local_irq_save",
        "bpf_local_irq_restore",
    ])?;
    let [disable, enable, save, restore] = numbers.map(u32::cast_signed);
    Some(Functions {
        disable,
        enable,
        save,
        restore,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel with these members, and all functions if `.1`.
    struct Fake(&'static [&'static str], bool);

    impl Types for Fake {
        fn has_member(&self, structure: &str, member: &str) -> bool {
            self.0.contains(&format!("{structure}.{member}").as_str())
        }

        fn functions(&self, _: [&str; 4]) -> Option<[u32; 4]> {
            self.1.then_some([11, 12, 13, 14])
        }
    }

    const STACKS: &str = "bpf_prog_aux.priv_stack_ptr";
    const CALLS: &str = "bpf_subprog_info.might_sleep";

    /// Checks what programs of these kernels have to do: 6.12 nothing; 6.18 those on
    /// user functions; 7.3 all; one whose verifier allows no calls in between
    /// can't, and neither can one that interprets programs.
    #[test]
    fn kernels_differ() {
        let functions = Some(Functions {
            disable: 11,
            enable: 12,
            save: 13,
            restore: 14,
        });
        let of = |fake, version| Preemption::new(&fake, version, true);
        assert_eq!(of(Fake(&[], true), (6, 12)), Preemption::default());
        let user_functions = Preemption {
            user_functions: true,
            functions,
            ..Preemption::default()
        };
        assert_eq!(of(Fake(&[STACKS, CALLS], true), (6, 18)), user_functions);
        let all = Preemption {
            tracepoints: true,
            ..user_functions
        };
        assert_eq!(of(Fake(&[STACKS, CALLS], true), (7, 3)), all);
        for (fake, version) in [
            (Fake(&[STACKS], true), (6, 13)),
            (Fake(&[STACKS, CALLS], false), (7, 3)),
        ] {
            assert_eq!(of(fake, version).functions, None);
        }
        let interpreted = Preemption {
            tracepoints: true,
            ..Preemption::default()
        };
        let types = Fake(&[STACKS, CALLS], true);
        assert_eq!(Preemption::new(&types, (7, 3), false), interpreted);
    }

    /// Checks that this kernel's functions are found, by their own names.
    #[test]
    fn functions_are_found() {
        let types = KernelBtf::load().expect("this kernel shows its types");
        let [first, second] =
            KernelBtf::functions(&types, ["schedule", "do_exit"]).expect("every kernel has these");
        assert_ne!(first, second);
        assert_eq!(KernelBtf::functions(&types, ["schedule", "no_such"]), None);
        assert!(types.has_member("task_struct", "pid"));
        assert!(!types.has_member("task_struct", "no_such"));
    }
}
