//! The names of the kernel object's maps, globals and programs. aya's macros take
//! the kernel half's from its identifiers; everybody else takes them from here, so
//! that a typo doesn't compile, and a test compares both.

macro_rules! names {
    ($($constant:ident = $name:literal;)*) => {
        $(#[doc = concat!("`", $name, "`")] pub const $constant: &str = $name;)*

        /// All of these.
        pub const ALL: &[&str] = &[$($constant,)*];
    };
}

/// Maps and globals that the daemon uses.
pub mod maps {
    names! {
        ASYNCIO_LOOPS = "ASYNCIO_LOOPS";
        ASYNCIO_ON = "ASYNCIO_ON";
        BLOCK_RING = "BLOCK_RING";
        CONFIG = "CONFIG";
        COUNTERS = "COUNTERS";
        COUNTER_FREE = "COUNTER_FREE";
        COUNTER_INDEX = "COUNTER_INDEX";
        COUNTER_RESERVE = "COUNTER_RESERVE";
        CPYTHON_LAYOUTS = "CPYTHON_LAYOUTS";
        FILTER_CGROUPS = "FILTER_CGROUPS";
        FILTER_COMMS = "FILTER_COMMS";
        FILTER_PIDS = "FILTER_PIDS";
        HISTOGRAMS = "HISTOGRAMS";
        HISTOGRAM_FREE = "HISTOGRAM_FREE";
        HISTOGRAM_INDEX = "HISTOGRAM_INDEX";
        HISTOGRAM_RESERVE = "HISTOGRAM_RESERVE";
        LOSS = "LOSS";
        MAPPING_LIST = "MAPPING_LIST";
        OFFSETS = "OFFSETS";
        PROCESSES = "PROCESSES";
        PROGRAMS = "PROGRAMS";
        REQUESTS = "REQUESTS";
        REQUESTS_ON = "REQUESTS_ON";
        REQUEST_ADDRESSES = "REQUEST_ADDRESSES";
        REQUEST_RING = "REQUEST_RING";
        REQUEST_SETS = "REQUEST_SETS";
        RING_SHARES = "RING_SHARES";
        SAMPLES_0 = "SAMPLES_0";
        SAMPLES_1 = "SAMPLES_1";
        SAMPLE_EPOCH = "SAMPLE_EPOCH";
        SAMPLE_SHARES = "SAMPLE_SHARES";
        STACK_RING = "STACK_RING";
        TABLES = "TABLES";
        TABLE_USED = "TABLE_USED";
        TCP_RING = "TCP_RING";
        TCP_SOCKETS = "TCP_SOCKETS";
        TLS_SESSIONS = "TLS_SESSIONS";
        TLS_SOCKETS = "TLS_SOCKETS";
        TUNABLES = "TUNABLES";
        UNWIND_REQUESTS = "UNWIND_REQUESTS";
        WORKLOADS = "WORKLOADS";
        WORKLOAD_IDS = "WORKLOAD_IDS";
        WORKLOAD_RING = "WORKLOAD_RING";
    }
}

/// Programs: all that the object has.
pub mod programs {
    names! {
        BLOCK_COMPLETE = "block_complete";
        BLOCK_DIRTY = "block_dirty";
        BLOCK_DONE = "block_done";
        BLOCK_ISSUE = "block_issue";
        BLOCK_START = "block_start";
        CPU_SAMPLE = "cpu_sample";
        GO_ROUND_TRIP = "go_round_trip";
        GO_SERVE = "go_serve";
        GO_WRITE = "go_write";
        IDENTITY_EXIT = "identity_exit";
        IDENTITY_FORK = "identity_fork";
        IDENTITY_PROGRAM = "identity_program";
        IDENTITY_RENAME = "identity_rename";
        IDENTITY_SWEEP = "identity_sweep";
        IDENTITY_THREADS = "identity_threads";
        NET_DROP = "net_drop";
        NET_HOLDERS = "net_holders";
        NET_RECEIVED = "net_received";
        NET_SENT = "net_sent";
        OFFCPU_ENTER = "offcpu_enter";
        OFFCPU_ENTER2 = "offcpu_enter2";
        OFFCPU_EXIT = "offcpu_exit";
        OFFCPU_EXIT2 = "offcpu_exit2";
        OFFCPU_THREADS = "offcpu_threads";
        REQUESTS_EXEC = "requests_exec";
        REQUESTS_RECEIVED = "requests_received";
        REQUESTS_SENT = "requests_sent";
        REQUESTS_STATE = "requests_state";
        SCHED_SWITCH = "sched_switch";
        SCHED_WAKEUP = "sched_wakeup";
        SCHED_WAKEUP_NEW = "sched_wakeup_new";
        SYSCALLS_ENTER = "syscalls_enter";
        SYSCALLS_ENTER2 = "syscalls_enter2";
        SYSCALLS_EXIT = "syscalls_exit";
        SYSCALLS_EXIT2 = "syscalls_exit2";
        TCP_DESTROY = "tcp_destroy";
        TCP_HOLDERS = "tcp_holders";
        TCP_MOVED = "tcp_moved";
        TCP_ORPHANS = "tcp_orphans";
        TCP_RESET_IN = "tcp_reset_in";
        TCP_RESET_OUT = "tcp_reset_out";
        TCP_RETRANSMIT = "tcp_retransmit";
        TCP_SOCKETS = "tcp_sockets";
        TCP_STATE = "tcp_state";
        TCP_SYNACK = "tcp_synack";
        TLS_FREE = "tls_free";
        TLS_HANDSHAKE = "tls_handshake";
        TLS_READ = "tls_read";
        TLS_READ_EX = "tls_read_ex";
        TLS_RETURNED = "tls_returned";
        TLS_WRITE = "tls_write";
        TLS_WRITE_EX = "tls_write_ex";
        TLS_WRITE_FLAGS = "tls_write_flags";
        UNWIND_EXEC = "unwind_exec";
        UNWIND_EXIT = "unwind_exit";
        UNWIND_FORK = "unwind_fork";
    }
}
