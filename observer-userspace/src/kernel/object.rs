//! Loading the kernel object, attaching its programs.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use aya::maps::{HashMap as BpfHashMap, Map, MapData, PerCpuArray, Queue};
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, Iter, PerfEvent, Program, UProbe};
use aya::{Btf, Ebpf, EbpfLoader, Pod};
use observer_common::config::{Config, FILTER_CGROUP, FILTER_COMM, FILTER_PID};
use observer_common::cpu::SAMPLE_ENTRIES;
use observer_common::loss::{LOSSES, Loss};
use observer_common::offsets::{MISSING, Offsets};
use observer_common::plain::Plain;
use observer_common::requests::{CAPTURE, REQUEST_RING_BYTES};
use observer_common::tally::{COUNTER_CELLS, HISTOGRAM_CELLS, RESERVED_CELLS};
use observer_common::workload::{DEFAULT_WORKLOADS, OTHER, Workload, WorkloadKey};

use super::btf::KernelBtf;
use super::spec::{Attach, ProbeSpec, ProbeState, ProgramSpec};
use super::syscall_classes;
use crate::memory;

/// The committed kernel object.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("OBSERVER_BPF_OBJECT"));

/// The families' ring buffers whose size is the user's choice. (That of stacks
/// isn't: the kernel half knows it.)
const RINGS: [&str; 2] = ["TCP_RING", "BLOCK_RING"];

/// Tells which socket a system call is about; since 6.3.
const SOCKET_TRACEPOINT: &str = "sock_send_length";

/// Sockets that can be followed at once where they are found from descriptors.
const ADDRESSES: u32 = 65_536;

/// Inode number of the initial PID namespace (`PROC_PID_INIT_INO`,
/// include/linux/proc_ns.h).
const INITIAL_PIDS: u64 = 0xeffffffc;

/// This process as the kernel half sees it; 0 where its own namespace calls it
/// otherwise.
fn own_tgid() -> u32 {
    let namespace = std::fs::metadata("/proc/self/ns/pid");
    let is_initial = namespace.is_ok_and(|ns| ns.ino() == INITIAL_PIDS);
    if is_initial { std::process::id() } else { 0 }
}

/// Sessions and sockets of TLS, which take megabytes.
const TLS_MAPS: [&str; 2] = ["TLS_SESSIONS", "TLS_SOCKETS"];

/// Which threads are traced. Entries of one kind add up, kinds narrow each
/// other; no entry at all means everything.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// Processes (thread-group ids).
    pub pids: Vec<u32>,
    /// Are later children of `pids` meant too?
    pub with_children: bool,
    /// Names of processes (comm of the thread-group leader, 15 bytes count).
    pub comms: Vec<String>,
    /// kernfs ids of cgroups, those of v1 with [`observer_common::config::FILTER_V1`];
    /// what lies below counts too.
    pub cgroups: Vec<u64>,
}

/// How to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Who is traced.
    pub filters: Filters,
    /// Entries of the workload table.
    pub workloads: u32,
    /// Histogram cells.
    pub histogram_cells: u32,
    /// Counter cells.
    pub counter_cells: u32,
    /// The v1 controller whose hierarchy tells workloads apart, by its name in
    /// the kernel's `enum cgroup_subsys_id`, e.g. `memory_cgrp_id`.
    pub v1_subsystem: Option<String>,
    /// Block I/O slower than this many nanoseconds is reported one by one.
    pub slow_block_ns: u64,
    /// Tell of connections' ends one by one.
    pub connection_records: bool,
    /// At most so many of those: per second, and at once, for each workload.
    pub span_limit: Option<SpanLimit>,
    /// Tally scheduling by workload; not needed for profiles.
    pub sched_tallies: bool,
    /// Count time off CPU by stack, from this length on.
    pub off_cpu: Option<Duration>,
    /// Follow requests.
    pub requests: Option<RequestOptions>,
    /// Nanoseconds in which one wait of each CPU may say for which request it
    /// was; 0 = all may.
    pub link_period: u64,
    /// Entries of each of the two tables of CPU samples.
    pub sample_entries: u32,
    /// Bytes of each family's ring buffer of records; `None` for the kernel
    /// half's own sizes.
    pub ring_bytes: Option<u32>,
    /// The kernel half's own log lines.
    pub diagnostics: bool,
}

/// How many spans a workload may have.
#[derive(Clone, Copy, Debug)]
pub struct SpanLimit {
    /// Per second.
    pub rate: u32,
    /// At once.
    pub burst: u32,
}

impl SpanLimit {
    /// Nanoseconds for one span, and how many of these may be taken in advance.
    fn nanoseconds(self) -> (u64, u64) {
        // One in three days is none.
        let interval = 1_000_000_000u64.checked_div(u64::from(self.rate));
        let interval = interval.unwrap_or(1 << 48).max(1);
        let advance = interval.saturating_mul(u64::from(self.burst.saturating_sub(1)));
        (interval, advance.min(1 << 62))
    }
}

/// How to follow requests.
#[derive(Clone, Copy, Debug)]
pub struct RequestOptions {
    /// Bytes captured of a message whose head is complete.
    pub capture: u32,
    /// Bit n: protocol n is followed.
    pub protocols: u32,
    /// Size of their ring: a power of two.
    pub ring_bytes: u32,
    /// Find sockets from descriptors even where the kernel tells of them.
    pub by_descriptor: bool,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            capture: CAPTURE,
            protocols: u32::MAX,
            ring_bytes: REQUEST_RING_BYTES,
            by_descriptor: false,
        }
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            filters: Filters::default(),
            workloads: DEFAULT_WORKLOADS,
            histogram_cells: HISTOGRAM_CELLS,
            counter_cells: COUNTER_CELLS,
            v1_subsystem: None,
            slow_block_ns: 50_000_000,
            connection_records: true,
            span_limit: None,
            sched_tallies: true,
            off_cpu: None,
            requests: None,
            link_period: 0,
            sample_entries: SAMPLE_ENTRIES,
            ring_bytes: None,
            diagnostics: false,
        }
    }
}

/// A key or value of a map, or a global, as aya takes and gives them.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Bytes<T: Plain>(pub T);

// SAFETY: a plain value has no padding and no pointer, and whatever bits are
// read are one.
unsafe impl<T: Plain> Pod for Bytes<T> {}

/// The loaded kernel half.
pub struct Kernel {
    ebpf: Ebpf,
    /// Needed as long as programs are attached; see [`Kernel::forget_types`].
    btf: Option<Btf>,
    offsets: Offsets,
    by_descriptor: bool,
    /// See [`Kernel::block_operations`].
    block_operations: Vec<(String, u32)>,
    states: Vec<ProbeState>,
    /// Of programs on tracepoints that are attached.
    links: HashMap<&'static str, BtfTracePointLinkId>,
}

impl Kernel {
    /// Loads the kernel object: maps are made, nothing is attached yet.
    ///
    /// # Errors
    ///
    /// Without BTF, without privileges, or when a map can't be made.
    pub fn load(options: &LoadOptions) -> Result<Self> {
        let types = KernelBtf::load()?;
        let mut offsets = types.offsets();
        let filters = &options.filters;
        let requests = options.requests.unwrap_or_default();
        let by_descriptor = options.requests.is_some()
            && (requests.by_descriptor || types.tracepoint_id(SOCKET_TRACEPOINT).is_none());
        if cfg!(target_arch = "aarch64") && offsets.pt_regs_second != MISSING {
            // `regs[1]`.
            offsets.pt_regs_second += size_of::<u64>() as u32;
        }
        let (span_interval, span_advance) =
            options.span_limit.map_or((0, 0), SpanLimit::nanoseconds);
        let mut config = Config {
            filters: 0,
            diagnostics: options.diagnostics.into(),
            cgroup_v1: 0,
            slow_block_ns: options.slow_block_ns,
            connection_records: options.connection_records.into(),
            span_interval,
            span_advance,
            // A small number on every machine.
            connect: libc::SYS_connect as u32,
            sched_tallies: options.sched_tallies.into(),
            off_cpu: options.off_cpu.is_some().into(),
            off_cpu_threshold: options
                .off_cpu
                .map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)),
            requests: options.requests.is_some().into(),
            own_tgid: own_tgid(),
            capture: requests.capture,
            protocols: requests.protocols,
            shutdown: libc::SYS_shutdown as u32,
            // Woken whenever a quarter of it is full.
            request_ring_shift: requests.ring_bytes.max(4096).ilog2() - 2,
            by_descriptor: by_descriptor.into(),
            syscalls: syscall_classes::table(),
            link_period: options.link_period,
            dwarf_registers: dwarf_registers(),
        };
        for (present, flag) in [
            (!filters.pids.is_empty(), FILTER_PID),
            (!filters.comms.is_empty(), FILTER_COMM),
            (!filters.cgroups.is_empty(), FILTER_CGROUP),
        ] {
            if present {
                config.filters |= flag;
            }
        }
        if let Some(subsystem) = &options.v1_subsystem
            && let Some(index) = types.enumerator("cgroup_subsys_id", subsystem)
            && offsets.css_set_subsys != MISSING
        {
            // The kernel half reads `subsys[index]` as if it were a field.
            offsets.css_set_subsys += index * size_of::<u64>() as u32;
            config.cgroup_v1 = 1;
        }
        // Called `req_opf` until 6.0.
        let block_operations = ["req_op", "req_opf"]
            .iter()
            .flat_map(|name| types.enumerators(name))
            .collect();
        let btf = types.hooks()?;
        drop(types);
        memory::give_back();

        let (offset_bytes, config_bytes) = (Bytes(offsets), Bytes(config));
        let mut loader = EbpfLoader::new();
        if let Some(bytes) = options.ring_bytes {
            for ring in RINGS {
                loader.map_max_entries(ring, bytes);
            }
        }
        // A family that is off needs no room.
        let request_ring = match &options.requests {
            Some(requests) => requests.ring_bytes,
            None => 4096,
        };
        loader.map_max_entries("REQUEST_RING", request_ring);
        if options.requests.is_none() {
            for map in TLS_MAPS {
                loader.map_max_entries(map, 1);
            }
        }
        if by_descriptor {
            loader.map_max_entries("REQUEST_ADDRESSES", ADDRESSES);
        }
        let ebpf = loader
            .btf(Some(&btf))
            .allow_unsupported_maps()
            .override_global("OFFSETS", &offset_bytes, true)
            .override_global("CONFIG", &config_bytes, true)
            .map_max_entries("WORKLOADS", options.workloads)
            .map_max_entries("WORKLOAD_IDS", options.workloads)
            .map_max_entries("HISTOGRAMS", options.histogram_cells)
            .map_max_entries("HISTOGRAM_INDEX", options.histogram_cells)
            .map_max_entries("HISTOGRAM_FREE", options.histogram_cells)
            .map_max_entries("SAMPLES_0", options.sample_entries)
            .map_max_entries("SAMPLES_1", options.sample_entries)
            .map_max_entries("COUNTERS", options.counter_cells)
            .map_max_entries("COUNTER_INDEX", options.counter_cells)
            .map_max_entries("COUNTER_FREE", options.counter_cells)
            .load(OBJECT)
            .context("cannot load the kernel object")?;
        let mut kernel = Self {
            ebpf,
            btf: Some(btf),
            offsets,
            by_descriptor,
            block_operations,
            states: Vec::new(),
            links: HashMap::new(),
        };
        kernel.fill_free_lists(options)?;
        kernel.fill_filters(filters)?;
        Ok(kernel)
    }

    fn fill_free_lists(&mut self, options: &LoadOptions) -> Result<()> {
        let reserved = RESERVED_CELLS;
        for (free, reserve, cells) in [
            (
                "HISTOGRAM_FREE",
                "HISTOGRAM_RESERVE",
                options.histogram_cells,
            ),
            ("COUNTER_FREE", "COUNTER_RESERVE", options.counter_cells),
        ] {
            if cells <= reserved {
                bail!(
                    "{cells} cells are too few: at least {} are needed",
                    reserved + 1
                );
            }
            self.fill_queue(free, 0..cells - reserved)?;
            self.fill_queue(reserve, cells - reserved..cells)?;
        }
        // OTHER is nobody's own.
        self.fill_queue("WORKLOAD_IDS", OTHER + 1..options.workloads)
    }

    fn fill_queue(&mut self, name: &'static str, values: std::ops::Range<u32>) -> Result<()> {
        let mut queue: Queue<_, u32> = Queue::try_from(self.map_mut(name)?)?;
        for value in values {
            queue
                .push(value, 0)
                .with_context(|| format!("cannot fill the map {name}"))?;
        }
        Ok(())
    }

    fn fill_filters(&mut self, filters: &Filters) -> Result<()> {
        let mut pids: BpfHashMap<_, u32, u32> = BpfHashMap::try_from(self.map_mut("FILTER_PIDS")?)?;
        for pid in &filters.pids {
            pids.insert(pid, u32::from(filters.with_children), 0)
                .context("too many --pid")?;
        }
        let mut comms: BpfHashMap<_, [u8; 16], u32> =
            BpfHashMap::try_from(self.map_mut("FILTER_COMMS")?)?;
        for comm in &filters.comms {
            // The kernel keeps 15 bytes and a NUL (TASK_COMM_LEN).
            let mut key = [0; 16];
            for (to, from) in key[..15].iter_mut().zip(comm.bytes()) {
                *to = from;
            }
            comms.insert(key, 1, 0).context("too many --comm")?;
        }
        let mut cgroups: BpfHashMap<_, u64, u32> =
            BpfHashMap::try_from(self.map_mut("FILTER_CGROUPS")?)?;
        for cgroup in &filters.cgroups {
            cgroups.insert(cgroup, 1, 0).context("too many --cgroup")?;
        }
        Ok(())
    }

    /// Attaches a family's programs, each for itself: what fails is remembered
    /// with its reason ([`Kernel::states`]) and the others go on. True if any
    /// is attached.
    pub fn attach(&mut self, spec: &ProbeSpec) -> bool {
        let mut any = false;
        for program in spec.programs {
            let result = self.attach_program(program);
            any |= result.is_ok();
            self.states.push(ProbeState {
                family: spec.family,
                program: *program,
                failure: result.err().map(|error| format!("{error:#}")),
            });
        }
        any
    }

    fn attach_program(&mut self, spec: &ProgramSpec) -> Result<()> {
        for need in spec.needs {
            if self
                .offsets
                .get(need)
                .is_none_or(|offset| offset == MISSING)
            {
                bail!("this kernel's BTF has no field {}", field_name(need));
            }
        }
        let Self {
            ebpf, btf, links, ..
        } = self;
        let btf = btf
            .as_ref()
            .ok_or_else(|| anyhow!("attached after the types were dropped"))?;
        let program = ebpf
            .program_mut(spec.name)
            .ok_or_else(|| anyhow!("the kernel object has no program {}", spec.name))?;
        match spec.attach {
            Attach::FirstTracepoint(tracepoints) => {
                let program: &mut BtfTracePoint = program.try_into()?;
                let mut failures = Vec::new();
                for tracepoint in tracepoints {
                    match program.load(tracepoint, btf) {
                        Ok(()) => {
                            let link = program
                                .attach()
                                .with_context(|| format!("cannot attach to {tracepoint}"))?;
                            links.insert(spec.name, link);
                            return Ok(());
                        }
                        Err(error) => failures.push(format!("{:#}", anyhow!(error))),
                    }
                }
                bail!("cannot load {}: {}", spec.name, failures.join("; "));
            }
            Attach::Tracepoint(tracepoint) => {
                let program: &mut BtfTracePoint = program.try_into()?;
                program
                    .load(tracepoint, btf)
                    .with_context(|| format!("cannot load {}", spec.name))?;
                let link = program
                    .attach()
                    .with_context(|| format!("cannot attach to {tracepoint}"))?;
                links.insert(spec.name, link);
            }
            Attach::Iterator(kind) => {
                let program: &mut Iter = program.try_into()?;
                program
                    .load(kind, btf)
                    .with_context(|| format!("cannot load {}", spec.name))?;
            }
            Attach::Manual => {
                let program: &mut PerfEvent = program.try_into()?;
                program
                    .load()
                    .with_context(|| format!("cannot load {}", spec.name))?;
            }
            Attach::UserFunction => {
                let program: &mut UProbe = program.try_into()?;
                program
                    .load()
                    .with_context(|| format!("cannot load {}", spec.name))?;
            }
        }
        Ok(())
    }

    /// Whether this program was accepted: it is attached, or loaded where its
    /// probe attaches it.
    pub fn has(&self, program: &str) -> bool {
        let mut states = self.states.iter();
        states.any(|state| state.program.name == program && state.failure.is_none())
    }

    /// Whether anything of what the probe observes can be seen.
    pub fn sees(&self, probe: &ProbeSpec) -> bool {
        let mut states = self.states.iter();
        states.any(|state| state.failure.is_none() && probe.is_seen_by(state.program.name))
    }

    /// Whether sockets are found by their descriptors, at the end of a call.
    pub fn finds_sockets_by_descriptor(&self) -> bool {
        self.by_descriptor
    }

    /// Whether this program on a tracepoint is attached.
    pub fn is_attached(&self, program: &str) -> bool {
        self.links.contains_key(program)
    }

    /// Takes a program off its tracepoint; it stays loaded. Does nothing if it
    /// isn't attached.
    ///
    /// # Errors
    /// When the kernel object has no such program on a tracepoint.
    pub fn detach(&mut self, program: &str) -> Result<()> {
        let Some(link) = self.links.remove(program) else {
            return Ok(());
        };
        let found: &mut BtfTracePoint = self.loaded(program)?.try_into()?;
        found
            .detach(link)
            .with_context(|| format!("cannot detach {program}"))
    }

    /// Puts a program back that was detached.
    ///
    /// # Errors
    /// When the kernel object has no such program on a tracepoint, it isn't
    /// loaded, or the kernel refuses.
    pub fn attach_again(&mut self, program: &'static str) -> Result<()> {
        if self.is_attached(program) {
            return Ok(());
        }
        let found: &mut BtfTracePoint = self.loaded(program)?.try_into()?;
        let link = found
            .attach()
            .with_context(|| format!("cannot attach {program} again"))?;
        self.links.insert(program, link);
        Ok(())
    }

    fn loaded(&mut self, program: &str) -> Result<&mut Program> {
        self.ebpf
            .program_mut(program)
            .ok_or_else(|| anyhow!("the kernel object has no program {program}"))
    }

    /// Frees the memory of the kernel's types: nothing new can be attached after.
    pub fn forget_types(&mut self) {
        self.btf = None;
        memory::give_back();
    }

    /// What became of every program that was to be attached.
    pub fn states(&self) -> &[ProbeState] {
        &self.states
    }

    /// The offsets that were found.
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// This kernel's block operations: `REQ_OP_*` with its number. Those of
    /// zones have had several.
    pub fn block_operations(&self) -> &[(String, u32)] {
        &self.block_operations
    }

    /// A map of the kernel object.
    pub fn map_mut(&mut self, name: &'static str) -> Result<&mut Map> {
        self.ebpf
            .map_mut(name)
            .ok_or_else(|| anyhow!("the kernel object has no map {name}"))
    }

    /// Takes a map out of the kernel object, for somebody to own.
    pub fn take_map(&mut self, name: &'static str) -> Result<Map> {
        self.ebpf
            .take_map(name)
            .ok_or_else(|| anyhow!("the kernel object has no map {name} (left)"))
    }

    /// A program of the kernel object.
    pub fn program_mut(&mut self, name: &str) -> Option<&mut Program> {
        self.ebpf.program_mut(name)
    }

    /// All loaded programs by name.
    pub fn programs(&self) -> impl Iterator<Item = (&str, &Program)> {
        self.ebpf.programs()
    }

    /// All maps by name.
    pub fn maps(&self) -> impl Iterator<Item = (&str, &Map)> {
        self.ebpf.maps()
    }

    /// For aya-log, which finds its own map.
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// What the kernel half lost since the start, by cause.
    pub fn losses(&mut self) -> Result<Vec<(Loss, u64)>> {
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(self.map_mut("LOSS")?)?;
        let mut losses = Vec::with_capacity(LOSSES as usize);
        for cause in Loss::ALL {
            let values = map
                .get(&(*cause as u32), 0)
                .context("cannot read the map LOSS")?;
            losses.push((*cause, values.iter().sum()));
        }
        Ok(losses)
    }

    /// All workloads that the kernel assigned an id so far.
    pub fn workloads(&mut self) -> Result<Vec<(WorkloadKey, u32)>> {
        let map: BpfHashMap<_, Bytes<WorkloadKey>, Bytes<Workload>> =
            BpfHashMap::try_from(self.map_mut("WORKLOADS")?)?;
        Ok(map
            .iter()
            .filter_map(Result::ok)
            .map(|(key, workload)| (key.0, workload.0.id))
            .collect())
    }
}

/// The DWARF numbers of x86_64's registers (System V ABI, AMD64 supplement,
/// figure 3.36) as places in `struct pt_regs` (arch/x86/include/asm/ptrace.h).
fn dwarf_registers() -> [u8; 32] {
    const X86_64: [u8; 17] = [10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16];
    let mut registers = [0; 32];
    registers[..X86_64.len()].copy_from_slice(&X86_64);
    registers
}

/// The descriptor of a map that is an array.
pub fn array_fd(map: &Map) -> Result<BorrowedFd<'_>> {
    match map {
        Map::Array(data) => Ok(fd(data)),
        _ => bail!("not an array map"),
    }
}

fn fd(data: &MapData) -> BorrowedFd<'_> {
    data.fd().as_fd()
}

fn field_name(need: &str) -> String {
    Offsets::SPECS
        .iter()
        .find(|spec| spec.name == need)
        .map_or_else(
            || need.to_string(),
            |spec| format!("{}.{}", spec.structure, spec.paths[0]),
        )
}
