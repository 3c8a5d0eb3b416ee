//! Which threads are traced: by process, by name, by cgroup.

use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::config::{FILTER_CGROUP, FILTER_COMM, FILTER_PID, FILTER_V1};

use crate::kernel::{offset, read, read_at, setting};

/// How far up a cgroup filter looks.
const MAX_CGROUP_DEPTH: u32 = 16;

/// Process → 1 if its children are meant too.
#[btf_map]
static FILTER_PIDS: HashMap<u32, u32, 16384> = HashMap::new();
#[btf_map]
static FILTER_COMMS: HashMap<[u8; 16], u32, 256> = HashMap::new();
#[btf_map]
static FILTER_CGROUPS: HashMap<u64, u32, 1024> = HashMap::new();

/// Whether a filter by process leaves this one out.
#[inline(always)]
pub fn excludes_process(tgid: u32) -> bool {
    // SAFETY: not kept.
    setting!(filters) & FILTER_PID != 0 && unsafe { FILTER_PIDS.get(&tgid) }.is_none()
}

/// Whether a filter by name leaves this one out.
#[inline(always)]
pub fn excludes_comm(comm: &[u8; 16]) -> bool {
    // SAFETY: not kept.
    setting!(filters) & FILTER_COMM != 0 && unsafe { FILTER_COMMS.get(comm) }.is_none()
}

/// kernfs id of a cgroup.
#[inline(always)]
pub fn cgroup_id(cgroup: *const u8) -> u64 {
    let node = read!(cgroup, cgroup_kn, *const u8);
    read!(node, kernfs_node_id, u64)
}

/// Whether no filter by cgroup leaves these out.
#[inline(always)]
pub fn passes_cgroup_filter(cgroup_v2: *const u8, css_set: *const u8) -> bool {
    if setting!(filters) & FILTER_CGROUP == 0 || below_filtered(cgroup_v2, 0) {
        return true;
    }
    if setting!(cgroup_v1) == 0 {
        return false;
    }
    let css = read!(css_set, css_set_subsys, *const u8);
    below_filtered(read!(css, css_cgroup, *const u8), FILTER_V1)
}

/// Is this cgroup, or one above it, wanted? `hierarchy` is 0 or [`FILTER_V1`].
#[inline(always)]
fn below_filtered(cgroup: *const u8, hierarchy: u64) -> bool {
    let mut cgroup = cgroup;
    for _ in 0..MAX_CGROUP_DEPTH {
        // SAFETY: not kept.
        if unsafe { FILTER_CGROUPS.get(&(cgroup_id(cgroup) | hierarchy)) }.is_some() {
            return true;
        }
        // A cgroup's own css comes with the offset of `self` in it.
        let up = offset!(cgroup_self) + offset!(css_parent);
        // SAFETY: the verifier checks the access.
        let parent: *const u8 = unsafe { read_at(cgroup, up) };
        if parent.is_null() {
            return false;
        }
        cgroup = read!(parent, css_cgroup, *const u8);
        if cgroup.is_null() {
            return false;
        }
    }
    false
}

/// A process with a followed parent is followed too (`record -- CMD`).
///
/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`
/// (include/trace/events/sched.h). All kernels.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn identity_fork(ctx: BtfTracePointContext) -> i32 {
    let parent: *const u8 = ctx.arg(0);
    let child: *const u8 = ctx.arg(1);
    let (parent, child) = (read!(parent, task_tgid, u32), read!(child, task_tgid, u32));
    if parent != child {
        // SAFETY: copied at once.
        if let Some(&inherit) = unsafe { FILTER_PIDS.get(&parent) }
            && inherit != 0
        {
            let _ = FILTER_PIDS.insert(&child, &inherit, 0);
        }
    }
    0
}

/// A followed process is forgotten when its leader ends: its id may be reused.
///
/// `sched_process_exit(struct task_struct *p)`
/// (include/trace/events/sched.h). All kernels; `bool group_dead` follows where it is newer (6.18 has it).
#[btf_tracepoint(function = "sched_process_exit")]
pub fn identity_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let tgid = read!(task, task_tgid, u32);
    if read!(task, task_pid, u32) == tgid {
        let _ = FILTER_PIDS.remove(&tgid);
    }
    0
}
