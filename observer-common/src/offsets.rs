//! Where the running kernel keeps the fields that the probes read.
//!
//! The daemon looks them up in the kernel's BTF and hands them over as one
//! read-only global. A few other numbers that differ between kernels
//! (enumerators, how many arguments a tracepoint has) travel with them.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// An offset of a field that this kernel doesn't have.
pub const MISSING: u32 = u32::MAX;

macro_rules! offsets {
    ($($field:ident: $ty:literal . $($path:literal)|+, $width:literal;)*) => {
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
            /// exists counts), bytes that are read there.
            pub const SPECS: &'static [Spec] = &[
                $(Spec {
                    name: stringify!($field),
                    structure: $ty,
                    paths: &[$($path),+],
                    width: $width,
                },)*
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
    /// Member paths over kernel versions, newest first, and over machines; `[n]` is an
    /// element of an array.
    pub paths: &'static [&'static str],
    /// Bytes that the kernel half reads there; a field that has fewer isn't what
    /// it takes it for. 0: nothing is read, its place or value is all.
    pub width: u32,
}

impl Offsets {
    /// Whether what is called `name` can be relied on in this kernel.
    pub fn has(&self, name: &str) -> bool {
        match name {
            // Before 6.12 they are macros, of which nothing is to be seen, and
            // their values are known. Where one is gone from an enum that is there,
            // nobody knows its value.
            "rqf_io_stat" | "rqf_flush_seq" if self.rqf_started == MISSING => true,
            // A request is asked for its disk itself, or its queue is.
            "queue_disk" if self.request_disk != MISSING => true,
            // On arm64 the processor's mode tells it.
            "task_thread_status" if self.has_link_register() => true,
            // No kernel without them tells the drops by them.
            "skb_not_dropped" | "skb_consumed" => true,
            // Nobody misses it where calls leave the return address on the stack.
            "pt_regs_lr" => true,
            _ => self.get(name).is_some_and(|offset| offset != MISSING),
        }
    }

    /// Whether this is the kernel of a machine on which calls leave the return address
    /// in a register: arm64. All that differs there follows from it.
    #[inline(always)]
    pub fn has_link_register(&self) -> bool {
        self.pt_regs_lr != MISSING
    }
}

offsets! {
    task_pid: "task_struct" . "pid", 4;
    task_tgid: "task_struct" . "tgid", 4;
    // What the thread is called in its own PID namespace: `numbers[level].nr`.
    task_thread_pid: "task_struct" . "thread_pid", 8;
    pid_level: "pid" . "level", 4;
    pid_numbers: "pid" . "numbers", 0;
    task_flags: "task_struct" . "flags", 4;
    task_mm: "task_struct" . "mm", 8;
    mm_lock: "mm_struct" . "mmap_lock.count.counter", 8;
    task_comm: "task_struct" . "comm", 16;
    task_state: "task_struct" . "__state" | "state", 4;
    // In bits.
    task_in_iowait: "bit task_struct" . "in_iowait", 0;
    // In bits.
    task_in_execve: "bit task_struct" . "in_execve", 0;
    // 0 or 1; a byte since 7.2, before that an int, of which the first byte says it
    // all on the little-endian machines that this runs on.
    task_on_cpu: "task_struct" . "on_cpu", 1;
    task_cpu_time: "task_struct" . "se.sum_exec_runtime", 8;
    task_voluntary: "task_struct" . "nvcsw", 8;
    task_involuntary: "task_struct" . "nivcsw", 8;
    task_group_leader: "task_struct" . "group_leader", 8;
    task_cgroups: "task_struct" . "cgroups", 8;
    task_cred: "task_struct" . "cred", 8;
    cred_uid: "cred" . "euid.val" | "euid", 4;
    // x86 only: TS_COMPAT says that the 32-bit syscall table is in use.
    task_thread_status: "task_struct" . "thread_info.status", 4;
    // The registers of a program, as the kernel saved them: of x86_64
    // (arch/x86/include/asm/ptrace.h), then of arm64 (arch/arm64/include/asm/ptrace.h).
    // Where there is neither, user stacks are walked by frame pointers.
    pt_regs_ip: "pt_regs" . "ip" | "pc", 8;
    pt_regs_sp: "pt_regs" . "sp", 8;
    pt_regs_bp: "pt_regs" . "bp" | "regs[29]", 8;
    // arm64 only: the link register.
    pt_regs_lr: "pt_regs" . "regs[30]", 8;
    // Says whether it is a 32-bit program.
    pt_regs_mode: "pt_regs" . "cs" | "pstate", 2;
    // x86_64 only: where the instruction of a syscall leaves its return address.
    pt_regs_cx: "pt_regs" . "cx", 8;
    // The syscall under way, negative without one.
    pt_regs_syscall: "pt_regs" . "orig_ax" | "syscallno", 4;
    // Arguments of a syscall.
    pt_regs_first: "pt_regs" . "di" | "orig_x0", 8;
    pt_regs_second: "pt_regs" . "si" | "regs[1]", 8;
    pt_regs_third: "pt_regs" . "dx" | "regs[2]", 8;
    pt_regs_fourth: "pt_regs" . "r10" | "regs[3]", 8;
    pt_regs_fifth: "pt_regs" . "r8" | "regs[4]", 8;
    pt_regs_sixth: "pt_regs" . "r9" | "regs[5]", 8;
    // Of a function that a program calls: arguments by number, and its result
    // (System V ABI, AMD64 supplement, 3.2.3; Procedure Call Standard for the Arm
    // 64-bit Architecture, 6.8).
    call_first: "pt_regs" . "di" | "regs[0]", 8;
    call_second: "pt_regs" . "si" | "regs[1]", 8;
    call_fourth: "pt_regs" . "cx" | "regs[3]", 8;
    call_fifth: "pt_regs" . "r8" | "regs[4]", 8;
    call_result: "pt_regs" . "ax" | "regs[0]", 8;
    // Go's own convention (cmd/compile/abi-internal.md): the goroutine, and a function's
    // first and second argument.
    go_g: "pt_regs" . "r14" | "regs[28]", 8;
    go_first: "pt_regs" . "ax" | "regs[0]", 8;
    go_second: "pt_regs" . "bx" | "regs[1]", 8;
    task_files: "task_struct" . "files", 8;
    files_fdt: "files_struct" . "fdt", 8;
    fdtable_max: "fdtable" . "max_fds", 4;
    fdtable_fd: "fdtable" . "fd", 8;
    file_inode: "file" . "f_inode", 8;
    file_private: "file" . "private_data", 8;
    inode_mode: "inode" . "i_mode", 2;
    task_major_faults: "task_struct" . "maj_flt", 8;
    css_set_dfl_cgrp: "css_set" . "dfl_cgrp", 8;
    css_set_subsys: "css_set" . "subsys", 8;
    css_cgroup: "cgroup_subsys_state" . "cgroup", 8;
    css_parent: "cgroup_subsys_state" . "parent", 8;
    cgroup_self: "cgroup" . "self", 0;
    cgroup_kn: "cgroup" . "kn", 8;
    kernfs_node_id: "kernfs_node" . "id", 8;
    request_queue: "request" . "q", 8;
    // Until 5.17 a request knew its disk, since 5.15 its queue does.
    request_disk: "request" . "rq_disk", 8;
    request_part: "request" . "part", 8;
    request_bio: "request" . "bio", 8;
    request_cmd_flags: "request" . "cmd_flags", 4;
    request_rq_flags: "request" . "rq_flags", 4;
    request_data_len: "request" . "__data_len", 4;
    queue_disk: "request_queue" . "disk", 8;
    disk_major: "gendisk" . "major", 4;
    disk_first_minor: "gendisk" . "first_minor", 4;
    bio_io_vec: "bio" . "bi_io_vec", 8;
    bio_vec_page: "bio_vec" . "bv_page", 8;
    page_mapping: "page" . "mapping", 8;
    // See `block::first_page`.
    page_compound_head: "page" . "compound_info" | "compound_head", 8;
    // The first of its kind: tells whether this kernel names them at all.
    rqf_started: "enum rqf_flags" . "__RQF_STARTED", 0;
    rqf_io_stat: "enum rqf_flags" . "__RQF_IO_STAT", 0;
    rqf_flush_seq: "enum rqf_flags" . "__RQF_FLUSH_SEQ", 0;
    req_fua: "enum req_flag_bits" . "__REQ_FUA", 0;
    req_preflush: "enum req_flag_bits" . "__REQ_PREFLUSH", 0;
    block_start_arguments: "arguments block_io_start" . "", 0;
    block_insert_arguments: "arguments block_rq_insert" . "", 0;
    block_issue_arguments: "arguments block_rq_issue" . "", 0;
    sock_state: "sock_common" . "skc_state", 1;
    sock_family: "sock_common" . "skc_family", 2;
    sock_daddr: "sock_common" . "skc_daddr", 4;
    sock_saddr: "sock_common" . "skc_rcv_saddr", 4;
    sock_dport: "sock_common" . "skc_dport", 2;
    sock_v6_daddr: "sock_common" . "skc_v6_daddr", 16;
    sock_v6_saddr: "sock_common" . "skc_v6_rcv_saddr", 16;
    sock_flags: "sock_common" . "skc_flags", 8;
    sock_net: "sock_common" . "skc_net.net", 8;
    sock_num: "sock_common" . "skc_num", 2;
    sock_net_inum: "net" . "ns.inum", 4;
    sock_protocol: "sock" . "sk_protocol", 2;
    sock_type: "sock" . "sk_type", 2;
    unix_peer: "unix_sock" . "peer", 8;
    sock_err: "sock" . "sk_err", 4;
    sock_socket: "sock" . "sk_socket", 8;
    inet_sport: "inet_sock" . "inet_sport", 2;
    icsk_ca_state: "inet_connection_sock" . "icsk_ca_state", 1;
    icsk_pending: "inet_connection_sock" . "icsk_pending", 1;
    icsk_syn_queue: "inet_connection_sock" . "icsk_accept_queue.qlen.counter", 4;
    tcp_total_retrans: "tcp_sock" . "total_retrans", 4;
    tcp_srtt_us: "tcp_sock" . "srtt_us", 4;
    tcp_bytes_received: "tcp_sock" . "bytes_received", 8;
    tcp_bytes_acked: "tcp_sock" . "bytes_acked", 8;
    tcp_snd_nxt: "tcp_sock" . "snd_nxt", 4;
    tcp_snd_una: "tcp_sock" . "snd_una", 4;
    tcp_write_seq: "tcp_sock" . "write_seq", 4;
    tcp_copied_seq: "tcp_sock" . "copied_seq", 4;
    tcp_segs_out: "tcp_sock" . "segs_out", 4;
    tcp_delivered: "tcp_sock" . "delivered", 4;
    socket_sk: "socket" . "sk", 8;
    socket_file: "socket" . "file", 8;
    file_flags: "file" . "f_flags", 4;
    skb_sk: "sk_buff" . "sk", 8;
    skb_dev: "sk_buff" . "dev", 8;
    skb_iif: "sk_buff" . "skb_iif", 4;
    skb_protocol: "sk_buff" . "protocol", 2;
    skb_head: "sk_buff" . "head", 8;
    skb_end: "sk_buff" . "end", 4;
    skb_gso_segs: "skb_shared_info" . "gso_segs", 2;
    device_index: "net_device" . "ifindex", 4;
    device_net: "net_device" . "nd_net.net", 8;
    kfree_skb_arguments: "arguments kfree_skb" . "", 0;
    // Whether there are reasons at all, since 5.17.
    skb_reasons: "enum skb_drop_reason" . "SKB_DROP_REASON_NOT_SPECIFIED", 0;
    // Since 5.18.
    skb_not_dropped: "enum skb_drop_reason" . "SKB_NOT_DROPPED_YET", 0;
    // Since 6.3: before, what is consumed isn't shown at the same place.
    skb_consumed: "enum skb_drop_reason" . "SKB_CONSUMED", 0;
}
