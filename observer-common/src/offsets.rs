//! Where the running kernel keeps the fields that the probes read.
//!
//! The daemon looks them up in the kernel's BTF and hands them over as one
//! read-only global. A few other numbers that differ between kernels
//! (enumerators, how many arguments a tracepoint has) travel with them.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// An offset of a field that this kernel doesn't have.
pub const MISSING: u32 = u32::MAX;

macro_rules! offsets {
    ($($field:ident: $ty:literal . $($path:literal)|+ ;)*) => {
        /// Byte offsets, by structure and field; [`MISSING`] where absent.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
        pub struct Offsets {
            $(#[doc = concat!("`", $ty, "`: ", $($path, " "),+)] pub $field: u32,)*
        }

        impl Offsets {
            /// Nothing found.
            pub const MISSING: Self = Self { $($field: MISSING,)* };

            /// What to look up: name of the field in [`Offsets`], structure,
            /// member paths (dots go into nested structures; the first that
            /// exists counts).
            pub const SPECS: &'static [Spec] = &[
                $(Spec { name: stringify!($field), structure: $ty, paths: &[$($path),+] },)*
            ];

            /// The offsets in the order of [`Self::SPECS`].
            pub fn from_slice(values: &[u32]) -> Self {
                let mut values = values.iter().copied();
                Self { $($field: values.next().unwrap_or(MISSING),)* }
            }

            /// The offset called `name`.
            pub fn get(&self, name: &str) -> Option<u32> {
                match name { $(stringify!($field) => Some(self.$field),)* _ => None }
            }
        }
    };
}

/// One field to look up.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Name of the field in [`Offsets`].
    pub name: &'static str,
    /// The kernel's structure; `enum X` means that the value of an enumerator is
    /// wanted, `arguments X` how many a tracepoint has, `bit X` an offset in bits.
    pub structure: &'static str,
    /// Member paths over kernel versions, newest first.
    pub paths: &'static [&'static str],
}

offsets! {
    task_pid: "task_struct" . "pid";
    task_tgid: "task_struct" . "tgid";
    task_flags: "task_struct" . "flags";
    task_mm: "task_struct" . "mm";
    task_comm: "task_struct" . "comm";
    task_state: "task_struct" . "__state" | "state";
    // In bits.
    task_in_iowait: "bit task_struct" . "in_iowait";
    // 0 or 1; a byte since 7.2, before that an int, of which the first byte says it
    // all on the little-endian machines that this runs on.
    task_on_cpu: "task_struct" . "on_cpu";
    task_cpu_time: "task_struct" . "se.sum_exec_runtime";
    task_voluntary: "task_struct" . "nvcsw";
    task_involuntary: "task_struct" . "nivcsw";
    task_group_leader: "task_struct" . "group_leader";
    task_cgroups: "task_struct" . "cgroups";
    // x86 only: TS_COMPAT says that the 32-bit syscall table is in use.
    task_thread_status: "task_struct" . "thread_info.status";
    // x86_64; elsewhere user stacks are walked by frame pointers.
    pt_regs_ip: "pt_regs" . "ip";
    pt_regs_sp: "pt_regs" . "sp";
    pt_regs_bp: "pt_regs" . "bp";
    pt_regs_cs: "pt_regs" . "cs";
    // The syscall under way, negative without one.
    pt_regs_syscall: "pt_regs" . "orig_ax" | "syscallno";
    // The first two arguments of a syscall.
    pt_regs_first: "pt_regs" . "di" | "orig_x0";
    pt_regs_second: "pt_regs" . "si" | "regs";
    // Of a function that a program calls: arguments by number, and its result
    // (System V ABI, AMD64 supplement, 3.2.3).
    call_first: "pt_regs" . "di";
    call_second: "pt_regs" . "si";
    call_fourth: "pt_regs" . "cx";
    call_fifth: "pt_regs" . "r8";
    call_result: "pt_regs" . "ax";
    task_files: "task_struct" . "files";
    files_fdt: "files_struct" . "fdt";
    fdtable_max: "fdtable" . "max_fds";
    fdtable_fd: "fdtable" . "fd";
    file_inode: "file" . "f_inode";
    file_private: "file" . "private_data";
    inode_mode: "inode" . "i_mode";
    task_major_faults: "task_struct" . "maj_flt";
    css_set_dfl_cgrp: "css_set" . "dfl_cgrp";
    css_set_subsys: "css_set" . "subsys";
    css_cgroup: "cgroup_subsys_state" . "cgroup";
    css_parent: "cgroup_subsys_state" . "parent";
    cgroup_self: "cgroup" . "self";
    cgroup_kn: "cgroup" . "kn";
    kernfs_node_id: "kernfs_node" . "id";
    request_queue: "request" . "q";
    // Until 5.17 a request knew its disk, since 5.15 its queue does.
    request_disk: "request" . "rq_disk";
    request_part: "request" . "part";
    request_bio: "request" . "bio";
    request_cmd_flags: "request" . "cmd_flags";
    request_rq_flags: "request" . "rq_flags";
    request_data_len: "request" . "__data_len";
    queue_disk: "request_queue" . "disk";
    disk_major: "gendisk" . "major";
    disk_first_minor: "gendisk" . "first_minor";
    bio_io_vec: "bio" . "bi_io_vec";
    bio_vec_page: "bio_vec" . "bv_page";
    page_mapping: "page" . "mapping";
    page_compound_head: "page" . "compound_head";
    rqf_io_stat: "enum rqf_flags" . "__RQF_IO_STAT";
    rqf_flush_seq: "enum rqf_flags" . "__RQF_FLUSH_SEQ";
    req_fua: "enum req_flag_bits" . "__REQ_FUA";
    req_preflush: "enum req_flag_bits" . "__REQ_PREFLUSH";
    block_start_arguments: "arguments block_io_start" . "";
    block_insert_arguments: "arguments block_rq_insert" . "";
    block_issue_arguments: "arguments block_rq_issue" . "";
    sock_state: "sock_common" . "skc_state";
    sock_family: "sock_common" . "skc_family";
    sock_daddr: "sock_common" . "skc_daddr";
    sock_saddr: "sock_common" . "skc_rcv_saddr";
    sock_dport: "sock_common" . "skc_dport";
    sock_v6_daddr: "sock_common" . "skc_v6_daddr";
    sock_v6_saddr: "sock_common" . "skc_v6_rcv_saddr";
    sock_flags: "sock_common" . "skc_flags";
    sock_net: "sock_common" . "skc_net.net";
    sock_num: "sock_common" . "skc_num";
    sock_net_inum: "net" . "ns.inum";
    sock_protocol: "sock" . "sk_protocol";
    sock_type: "sock" . "sk_type";
    unix_peer: "unix_sock" . "peer";
    sock_err: "sock" . "sk_err";
    sock_socket: "sock" . "sk_socket";
    inet_sport: "inet_sock" . "inet_sport";
    icsk_ca_state: "inet_connection_sock" . "icsk_ca_state";
    icsk_pending: "inet_connection_sock" . "icsk_pending";
    icsk_syn_queue: "inet_connection_sock" . "icsk_accept_queue.qlen.counter";
    tcp_total_retrans: "tcp_sock" . "total_retrans";
    tcp_srtt_us: "tcp_sock" . "srtt_us";
    tcp_bytes_received: "tcp_sock" . "bytes_received";
    tcp_bytes_acked: "tcp_sock" . "bytes_acked";
    tcp_snd_nxt: "tcp_sock" . "snd_nxt";
    tcp_snd_una: "tcp_sock" . "snd_una";
    tcp_write_seq: "tcp_sock" . "write_seq";
    tcp_copied_seq: "tcp_sock" . "copied_seq";
    tcp_segs_out: "tcp_sock" . "segs_out";
    tcp_delivered: "tcp_sock" . "delivered";
    socket_sk: "socket" . "sk";
    socket_file: "socket" . "file";
    file_flags: "file" . "f_flags";
}
