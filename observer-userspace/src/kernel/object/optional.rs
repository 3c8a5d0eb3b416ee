//! Fields without which all programs work, but see less: each with what that is.

use observer_common::family::{Family, Part};
use observer_common::offsets::Offsets;

/// Fields that are wanted together.
#[derive(Clone, Copy, Debug)]
pub struct Optional {
    /// Who wants them.
    pub part: Part,
    /// Their names in [`Offsets`].
    pub fields: &'static [&'static str],
    /// What is lost where one isn't there, as half a sentence.
    pub lost: &'static str,
}

const fn of(family: Family, fields: &'static [&'static str], lost: &'static str) -> Optional {
    Optional {
        part: Part::Family(family),
        fields,
        lost,
    }
}

/// All of them.
pub const OPTIONAL: [Optional; 16] = [
    of(
        Family::Syscalls,
        &["task_thread_status"],
        "the names of system calls of 32-bit programs",
    ),
    of(
        Family::Syscalls,
        &["pt_regs_syscall"],
        "the names of system calls whose beginning wasn't seen",
    ),
    of(
        Family::Cpu,
        &["pt_regs_ip", "pt_regs_sp", "pt_regs_bp", "pt_regs_mode"],
        "user stacks of code without frame pointers",
    ),
    of(
        Family::Cpu,
        &["task_mm"],
        "why the stacks of threads that are ending are empty",
    ),
    of(
        Family::Cpu,
        &["task_thread_pid", "pid_level", "pid_numbers"],
        "Python frames of processes in PID namespaces of their own",
    ),
    of(
        Family::Sched,
        &["task_in_execve"],
        "whether a process that is renamed runs another program: it is assumed",
    ),
    of(
        Family::OffCpu,
        &["task_in_iowait"],
        "which waits off CPU are for a disk",
    ),
    of(
        Family::OffCpu,
        &["mm_lock"],
        "that waits are looked at, as long as a process keeps its memory map locked",
    ),
    of(
        Family::Block,
        &["req_fua", "req_preflush"],
        "who asked for flushes of a disk's cache",
    ),
    of(
        Family::Tcp,
        &["icsk_pending"],
        "which retransmits are tail-loss probes: they are said to be by timeout",
    ),
    of(
        Family::Requests,
        &["sock_net_inum"],
        "which connections belong together where several network namespaces have the same addresses",
    ),
    of(
        Family::Requests,
        &["unix_peer"],
        "which ends of a Unix socket belong together",
    ),
    of(
        Family::Requests,
        &["tcp_copied_seq", "tcp_write_seq"],
        "that both ends of a connection follow the same requests, where only a share is followed",
    ),
    of(
        Family::Requests,
        &["task_major_faults"],
        "how much of a request's time its thread waited for memory from a disk",
    ),
    of(
        Family::Net,
        &["skb_reasons"],
        "for which reasons the kernel drops packets (Linux 5.17 and newer tell them)",
    ),
    of(
        Family::Net,
        &["skb_gso_segs"],
        "how many packets on the wire were dropped of those that GRO and GSO had put together: such are counted as one",
    ),
];

impl Optional {
    /// Which of them can't be relied on.
    pub fn missing(&self, offsets: &Offsets) -> Vec<&'static str> {
        let fields = self.fields.iter().copied();
        fields.filter(|field| !offsets.has(field)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::plan::{Plan, Purpose};

    /// Fields of which others tell: of sockets behind descriptors (before 6.3), of
    /// cgroups of the first version, of who dirtied a page; the older place
    /// of a disk; what a kernel's names tell; how many
    /// arguments an event has where it is one; and what only one kind of machine has.
    const ELSEWHERE: [&str; 20] = [
        "pt_regs_lr",
        "pt_regs_cx",
        "pt_regs_first",
        "task_files",
        "files_fdt",
        "fdtable_max",
        "fdtable_fd",
        "file_inode",
        "file_private",
        "inode_mode",
        "css_set_subsys",
        "bio_vec_page",
        "page_mapping",
        "page_compound_head",
        "request_disk",
        "rqf_started",
        "block_start_arguments",
        "kfree_skb_arguments",
        "skb_not_dropped",
        "skb_consumed",
    ];

    /// Checks that whatever is looked up is needed by a program, or that somebody
    /// says what is lost without it.
    #[test]
    fn no_field_is_missed_silently() {
        let plan = Plan::of(&Family::ALL, Purpose::Everything);
        let needed: Vec<&str> = plan
            .programs()
            .flat_map(|(_, program)| program.needs)
            .copied()
            .collect();
        let optional: Vec<&str> = OPTIONAL.iter().flat_map(|of| of.fields).copied().collect();
        for spec in Offsets::SPECS {
            let name = spec.name;
            let known =
                needed.contains(&name) || optional.contains(&name) || ELSEWHERE.contains(&name);
            assert!(known, "nobody says what is lost without {name}");
        }
        for name in optional.iter().chain(&ELSEWHERE) {
            assert!(Offsets::MISSING.get(name).is_some(), "there is no {name}");
        }
    }
}
