//! What of BPF the kernel half builds on, and since when Linux has it.
//!
//! Versions are for people: distributions bring what is new to older kernels, so
//! whether it is there is asked of the kernel's own types.

use anyhow::{Result, bail};

use super::btf::KernelBtf;
use super::release::{OLDEST, release};

/// Major and minor version.
pub type Version = (u32, u32);

/// A function of the kernel's that programs call by number
/// (`enum bpf_func_id`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// Its number.
    pub number: i32,
    /// Its name, without `bpf_`.
    pub name: &'static str,
    /// The first version in which programs on tracepoints may call it.
    pub since: Version,
}

const fn helper(number: i32, name: &'static str, since: Version) -> Helper {
    Helper {
        number,
        name,
        since,
    }
}

/// All helpers that the kernel half calls.
pub const HELPERS: [Helper; 25] = [
    helper(1, "map_lookup_elem", (3, 19)),
    helper(2, "map_update_elem", (3, 19)),
    helper(3, "map_delete_elem", (3, 19)),
    helper(5, "ktime_get_ns", (4, 1)),
    helper(8, "get_smp_processor_id", (4, 1)),
    helper(14, "get_current_pid_tgid", (4, 2)),
    helper(67, "get_stack", (4, 18)),
    helper(87, "map_push_elem", (4, 20)),
    helper(88, "map_pop_elem", (4, 20)),
    helper(107, "sk_storage_get", (5, 11)),
    helper(112, "probe_read_user", (5, 5)),
    helper(113, "probe_read_kernel", (5, 5)),
    helper(127, "seq_write", (5, 7)),
    helper(130, "ringbuf_output", (5, 8)),
    helper(131, "ringbuf_reserve", (5, 8)),
    helper(132, "ringbuf_submit", (5, 8)),
    helper(133, "ringbuf_discard", (5, 8)),
    helper(134, "ringbuf_query", (5, 8)),
    helper(137, "skc_to_tcp_sock", (5, 9)),
    helper(141, "get_task_stack", (5, 9)),
    helper(156, "task_storage_get", (5, 13)),
    helper(157, "task_storage_delete", (5, 13)),
    helper(158, "get_current_task_btf", (5, 11)),
    helper(162, "sock_from_file", (5, 11)),
    helper(175, "task_pt_regs", (5, 15)),
];

/// Helpers that are younger than [`OLDEST`], each with the only programs that call
/// it: without these the others work.
pub const OPTIONAL_HELPERS: [(Helper, &[&str]); 2] = [
    (
        helper(178, "skc_to_unix_sock", (5, 16)),
        &["requests_sent", "requests_received"],
    ),
    (
        helper(191, "copy_from_user_task", (5, 18)),
        &["offcpu_threads"],
    ),
];

/// Kinds of maps, by their names in `enum bpf_map_type`, without `BPF_MAP_TYPE_`.
/// Storage with tasks and sockets is for tracing programs since these versions.
pub const MAPS: [(&str, Version); 10] = [
    ("HASH", (3, 19)),
    ("ARRAY", (3, 19)),
    ("PERCPU_ARRAY", (4, 6)),
    ("LRU_HASH", (4, 10)),
    ("ARRAY_OF_MAPS", (4, 12)),
    ("QUEUE", (4, 20)),
    ("STACK", (4, 20)),
    ("RINGBUF", (5, 8)),
    ("SK_STORAGE", (5, 11)),
    ("TASK_STORAGE", (5, 13)),
];

/// Programs that may sleep are loaded since this version; which hooks they have.
pub const SLEEPABLE_ITERATORS: (Version, &str) = ((5, 18), "iter.s/");

/// Refuses a kernel that lacks what nothing works without, in one sentence.
///
/// # Errors
///
/// When it lacks a helper.
pub fn ensure(types: &KernelBtf) -> Result<()> {
    let known = types.enumerators("bpf_func_id");
    let known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    match refusal(&known, &release()) {
        Some(refusal) => bail!(refusal),
        None => Ok(()),
    }
}

/// What to say to a kernel of this release with these helpers, by the names of their
/// enumerators, if it lacks one. (One whose types don't tell is tried.)
fn refusal(known: &[&str], release: &str) -> Option<String> {
    let is_there = |helper: &Helper| {
        let mut names = known
            .iter()
            .filter_map(|name| name.strip_prefix("BPF_FUNC_"));
        names.any(|name| name == helper.name)
    };
    if known.is_empty() {
        return None;
    }
    let missing = HELPERS.iter().filter(|helper| !is_there(helper));
    let missing = missing.max_by_key(|helper| helper.since)?;
    let (major, minor) = OLDEST;
    let (of_major, of_minor) = missing.since;
    Some(format!(
        "Linux {major}.{minor} or newer is needed, and this is {release}: it has no \
         bpf_{}, which came with {of_major}.{of_minor} and by which Observer finds what a \
         thread does; nothing was loaded",
        missing.name
    ))
}

#[cfg(test)]
mod tests;
