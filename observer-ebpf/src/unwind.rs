//! Walking a process's stack without frame pointers, with the tables that the
//! daemon compiles from the files' unwinding information.
//!
//! The layout of tables, the search and the step are in
//! `observer_common::unwind`; here is what they need from the kernel: the
//! process's mappings, its registers, its memory.

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_ringbuf_output, bpf_task_pt_regs};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::loss::Loss;
use observer_common::offsets::MISSING;
use observer_common::unwind::{
    ASK_SHIFT, CHUNK_SHIFT, CHUNK_WORDS, Chunk, MAPPING_STEPS, MAPPINGS, MAX_USER_FRAMES, Machine,
    Mapping, Outcome, PROCESSES as MAX_PROCESSES, Process, RECENT_RULES, REQUEST_RING_BYTES,
    Recent, Registers, Request, Rule, SIGNAL, TABLE_ABSENT, TABLE_EMPTY, TABLE_NONE,
    TABLES as MAX_TABLES, search, step, step_by_frame_pointer, table_index,
};

use crate::kernel::{config, now, offset, read};
use crate::loss::lost;
use crate::stack::{CONTEXTS, Context, FRAMES, Scratch};

/// From a process to its mappings.
#[btf_map]
static PROCESSES: HashMap<u32, Process, { MAX_PROCESSES as usize }> = HashMap::new();
/// The mappings; written by the daemon.
#[btf_map]
static MAPPING_LIST: Array<Mapping, { MAPPINGS as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();
/// The tables, one array of chunks each, made by the daemon.
#[btf_map]
static TABLES: ArrayOfMaps<Array<Chunk, 1, { BPF_F_INNER_MAP as usize }>, { MAX_TABLES as usize }> =
    ArrayOfMaps::new();
/// When a table was last used, in units of 2^30 ns.
#[btf_map]
static TABLE_USED: Array<u32, { MAX_TABLES as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static RECENT: PerCpuArray<[Recent; RECENT_RULES], CONTEXTS> = PerCpuArray::new();
#[btf_map]
static UNWIND_REQUESTS: RingBuf<Request, { REQUEST_RING_BYTES as usize }> = RingBuf::new();

/// Words of `struct pt_regs` that are kept, a power of two.
const REGISTERS: usize = 32;
/// Bytes of x86_64's `struct pt_regs` (arch/x86/include/asm/ptrace.h).
const PT_REGS_BYTES: usize = 21 * 8;

/// A walk under way.
#[repr(C)]
pub struct Walk {
    at: Registers,
    /// The mapping of the last frame.
    mapping: Mapping,
    /// Registers of the innermost frame, as they lie in `pt_regs`.
    innermost: [u64; REGISTERS],
    process: Process,
    tgid: u32,
    /// Frames found so far.
    frames: u32,
    /// Where in the scratch's frames the walk's own begin.
    before: u32,
    /// The program counter is where the frame is, not one behind a call.
    exact: u32,
    /// `at` belongs to the innermost frame.
    is_innermost: u32,
    /// Set when something was missing on the way, though the walk went on.
    flaw: u32,
}

/// `FORCE_WAKEUP` of bpf_ringbuf_output.
const FORCE_WAKEUP: u64 = 2;
/// The 64-bit code segment of x86_64 is 0x33, the 32-bit one this.
const USER32_CS: u64 = 0x23;

/// What the walker reads: the current process.
struct Current<'a> {
    innermost: &'a [u64; REGISTERS],
    is_innermost: bool,
    /// The process isn't the current one: its stack was copied.
    is_copied: bool,
}

impl Machine for Current<'_> {
    #[inline(always)]
    fn read(&mut self, address: u64) -> Option<u64> {
        if self.is_copied {
            read_copy(address)
        } else {
            read_user(address)
        }
    }

    #[inline(always)]
    fn register(&mut self, number: u8) -> Option<u64> {
        if !self.is_innermost || number as usize >= REGISTERS {
            return None;
        }
        // SAFETY: below the array's length; volatile because the loader
        // patches it.
        let index = unsafe {
            core::ptr::read_volatile(
                core::ptr::addr_of!((*config()).dwarf_registers)
                    .cast::<u8>()
                    .add(number as usize & (REGISTERS - 1)),
            )
        };
        Some(self.innermost[index as usize & (REGISTERS - 1)])
    }
}

/// A word of the current process's memory.
#[inline(always)]
fn read_user(address: u64) -> Option<u64> {
    let mut value = 0_u64;
    // SAFETY: writes eight bytes to the stack; the helper checks the address.
    let failed =
        unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, address as *const _) } != 0;
    if failed { None } else { Some(value) }
}

/// Bytes of a page, as stacks are copied.
pub const STACK_PAGE: usize = 4096;
/// Pages that are copied at most.
pub const STACK_PAGES: usize = 8;
const COPY_WORDS: usize = STACK_PAGES * STACK_PAGE / 8;

/// The youngest part of the stack of a process that isn't the current one.
#[repr(C)]
pub struct StackCopy {
    /// Where it begins: an address in the process, at the begin of a page.
    pub start: u64,
    /// How much there is.
    pub bytes: u64,
    /// What is there.
    pub words: [u64; COPY_WORDS],
}

#[btf_map]
static STACK_COPY: Array<StackCopy, 1> = Array::new();

/// The copy that [`Context::Iterator`] walks.
#[inline(always)]
pub fn stack_copy() -> Option<*mut StackCopy> {
    STACK_COPY.get_ptr_mut(0)
}

/// A word of the copied stack.
#[inline(always)]
fn read_copy(address: u64) -> Option<u64> {
    let copy = STACK_COPY.get(0)?;
    let at = address.wrapping_sub(copy.start);
    if at >= copy.bytes || at & 7 != 0 {
        return None;
    }
    Some(copy.words[(at as usize >> 3) & (COPY_WORDS - 1)])
}

/// Where the user stack of a thread in the kernel ends; 0 without one.
#[inline(always)]
pub fn user_stack_pointer(task: *const u8) -> u64 {
    if offset!(pt_regs_sp) == MISSING {
        return 0;
    }
    // SAFETY: callers have a task that the verifier trusts.
    let regs = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const u8;
    if regs.is_null() {
        return 0;
    }
    read!(regs, pt_regs_sp, u64)
}

/// Walks the user stack of `task`, which must be the current one unless its
/// stack was copied for [`Context::Iterator`], into the scratch behind its first `before` frames. Returns how many frames there are
/// and what the walk came to.
#[inline(always)]
pub fn walk(
    context: Context,
    scratch: &mut Scratch,
    before: u32,
    task: *const u8,
) -> (u32, Outcome) {
    // SAFETY: the current task is trusted.
    let regs = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const u8;
    if regs.is_null() {
        return (0, Outcome::NoUser);
    }
    let walk = &mut scratch.walk;
    // SAFETY: the array is larger than pt_regs.
    let failed = unsafe {
        aya_ebpf::helpers::generated::bpf_probe_read_kernel(
            walk.innermost.as_mut_ptr().cast(),
            PT_REGS_BYTES as u32,
            regs.cast(),
        )
    } != 0;
    if failed {
        return (0, Outcome::NoUser);
    }
    let word = |offset: u32| walk.innermost[(offset as usize / 8) & (REGISTERS - 1)];
    let at = Registers {
        pc: word(offset!(pt_regs_ip)),
        sp: word(offset!(pt_regs_sp)),
        fp: word(offset!(pt_regs_bp)),
        lr: 0,
    };
    let segment = word(offset!(pt_regs_cs)) & 0xffff;
    if at.pc == 0 || at.sp == 0 {
        return (0, Outcome::NoUser); // a worker of the kernel's in the process
    }
    walk.at = at;
    walk.mapping = Mapping {
        start: 0,
        end: 0,
        base: 0,
        table: TABLE_NONE,
        list: 0,
    };
    walk.tgid = read!(task, task_tgid, u32);
    walk.frames = 1;
    walk.before = before;
    walk.exact = 1;
    walk.is_innermost = 1;
    walk.flaw = 0;
    // SAFETY: copied at once.
    walk.process = match unsafe { PROCESSES.get(&walk.tgid) } {
        Some(process) => *process,
        None => Process {
            first: 0,
            count: 0,
            list: 0,
            asked: 0,
        },
    };
    scratch.frames[(before as usize) & (FRAMES - 1)] = at.pc;
    if segment == USER32_CS {
        walk.flaw = Outcome::ForeignAbi as u32;
        return (1, Outcome::ForeignAbi);
    }
    if walk.process.list == 0 {
        walk.flaw = Outcome::NoProcess as u32;
        ask(walk.tgid, Outcome::NoProcess, at.pc);
    }
    let end = match context {
        Context::Iterator => unwind_frames_copied(),
        _ => unwind_frames(context as u32),
    };
    let walk = &scratch.walk;
    let outcome = if end == CONTINUE || end == Outcome::Truncated as u32 {
        Outcome::Truncated as u32
    } else if walk.flaw != 0 {
        walk.flaw
    } else {
        end
    };
    (
        walk.frames & MAX_USER_FRAMES as u32,
        // The numbers above are all outcomes.
        Outcome::from_number(outcome as u8).unwrap_or(Outcome::BadFrame),
    )
}

/// Result of [`unwind_step`]: there is one more frame.
const CONTINUE: u32 = u32::MAX;

/// Goes as far as it goes; [`CONTINUE`] if there are more frames. Global to the
/// verifier, so that what follows isn't checked once for each number of frames.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unwind_frames(context: u32) -> u32 {
    // One step more than there is room for frames: the last may be the root.
    for _ in 0..MAX_USER_FRAMES {
        let end = unwind_step(context);
        if end != CONTINUE {
            return end;
        }
    }
    CONTINUE
}

/// The same for [`Context::Iterator`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unwind_frames_copied() -> u32 {
    // One step more than there is room for frames: the last may be the root.
    for _ in 0..MAX_USER_FRAMES {
        let end = unwind_step_copied();
        if end != CONTINUE {
            return end;
        }
    }
    CONTINUE
}

/// One frame further; [`CONTINUE`], or the [`Outcome`] that ended the walk.
///
/// A function that is global to the verifier: it is checked once, not once per
/// frame. Hence it finds its state by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unwind_step(context: u32) -> u32 {
    match crate::stack::scratch_of(context) {
        Some(scratch) => step_in(scratch, Some(context)),
        None => Outcome::BadFrame as u32,
    }
}

/// The same for [`Context::Iterator`], with a copied stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unwind_step_copied() -> u32 {
    match crate::stack::iterator_scratch() {
        Some(scratch) => step_in(scratch, None),
        None => Outcome::BadFrame as u32,
    }
}

/// `context` is `None` for [`Context::Iterator`].
#[inline(always)]
fn step_in(scratch: *mut Scratch, context: Option<u32>) -> u32 {
    // SAFETY: a map value that only this walk uses.
    let scratch = unsafe { &mut *scratch };
    let walk = &mut scratch.walk;
    let at = walk.at;
    // A return address may be the first of the next function.
    let place = if walk.exact != 0 { at.pc } else { at.pc - 1 };
    let mut machine = Current {
        innermost: &walk.innermost,
        is_innermost: walk.is_innermost != 0,
        is_copied: context.is_none(),
    };
    let mut rule = Rule {
        cfa: 0,
        register: 0,
        places: 0,
        flags: 0,
        cfa_offset: 0,
        ra_offset: 0,
        fp_offset: 0,
    };
    if walk.process.list != 0 {
        if (place < walk.mapping.start || place >= walk.mapping.end)
            && !find_mapping(&walk.process, place, &mut walk.mapping)
        {
            ask(walk.tgid, Outcome::NoMapping, place);
            if walk.is_innermost == 0 {
                return Outcome::NoMapping as u32;
            }
            walk.flaw = Outcome::NoMapping as u32;
            walk.mapping.table = TABLE_NONE;
        }
        match walk.mapping.table {
            TABLE_NONE | TABLE_EMPTY => {}
            table => {
                let address = place.wrapping_sub(walk.mapping.base);
                if table == TABLE_ABSENT || !find_rule(context, table, address, &mut rule) {
                    ask(walk.tgid, Outcome::NoTable, place);
                    walk.flaw = Outcome::NoTable as u32;
                }
            }
        }
    }
    let mut next = step(&rule, &at, &mut machine);
    let mut signal = rule.flags & SIGNAL != 0;
    if let Err(Outcome::NoRow) = next {
        next = without_table(&at, machine.is_innermost, &mut machine, &mut signal);
    }
    match next {
        Ok(_) if walk.frames >= MAX_USER_FRAMES as u32 => Outcome::Truncated as u32,
        Ok(registers) => {
            walk.at = registers;
            walk.exact = signal as u32;
            walk.is_innermost = 0;
            let frames = walk.frames & MAX_USER_FRAMES as u32;
            let index = (walk.before + frames) as usize & (FRAMES - 1);
            walk.frames = frames + 1;
            scratch.frames[index] = registers.pc;
            CONTINUE
        }
        Err(outcome) => outcome as u32,
    }
}

/// The words of x86_64 code that tell how far a function is.
mod code {
    /// `push %rbp`
    pub const PUSH_FP: u64 = 0x55;
    /// `ret`
    pub const RETURN: u64 = 0xc3;
    /// `mov %rsp,%rbp`
    pub const MOVE_FP: u64 = 0xe5_8948;
    /// `push %rbp; mov %rsp,%rbp`
    pub const SET_UP: u32 = 0xe589_4855;
    /// `endbr64`
    pub const ENDBR: u64 = 0xfa1e_0ff3;
    /// `mov $15,%rax; …`: the rest of it is `syscall` (rt_sigreturn).
    pub const SIGRETURN: u64 = 0x0f_0000_000f_c0c7_48;
    /// The same with 32-bit registers: `mov $15,%eax; syscall`.
    pub const SIGRETURN_SHORT: u64 = 0x05_0f00_0000_0fb8;
}

/// Offsets in the `ucontext` that a signal handler's caller finds on its stack
/// (arch/x86/include/uapi/asm/sigcontext.h).
mod ucontext {
    pub const RBP: u64 = 120;
    pub const RSP: u64 = 160;
    pub const RIP: u64 = 168;
}

/// A step where no table knows the code: compilers at run time use frame
/// pointers, and so does what little code has neither table nor compiler.
#[inline(always)]
fn without_table(
    at: &Registers,
    innermost: bool,
    machine: &mut Current<'_>,
    signal: &mut bool,
) -> Result<Registers, Outcome> {
    let text = machine.read(at.pc).unwrap_or(0);
    if text & 0xff_ffff_ffff_ffff == code::SIGRETURN & 0xff_ffff_ffff_ffff
        || text & 0xff_ffff_ffff_ffff == code::SIGRETURN_SHORT
    {
        *signal = true;
        let (Some(pc), Some(sp), Some(fp)) = (
            machine.read(at.sp + ucontext::RIP),
            machine.read(at.sp + ucontext::RSP),
            machine.read(at.sp + ucontext::RBP),
        ) else {
            return Err(Outcome::ReadFault);
        };
        return Ok(Registers { pc, sp, fp, lr: 0 });
    }
    if innermost {
        // Where the frame isn't set up yet, or is gone already.
        let nothing_pushed = text & 0xff == code::PUSH_FP
            || text & 0xff == code::RETURN
            || text & 0xffff_ffff == code::ENDBR
            || frame_ahead(text, at.pc, machine);
        if nothing_pushed {
            let Some(pc) = machine.read(at.sp) else {
                return Err(Outcome::ReadFault);
            };
            let sp = at.sp + 8;
            return Ok(Registers {
                pc,
                sp,
                fp: at.fp,
                lr: 0,
            });
        }
        if text & 0xff_ffff == code::MOVE_FP {
            let (Some(fp), Some(pc)) = (machine.read(at.sp), machine.read(at.sp + 8)) else {
                return Err(Outcome::ReadFault);
            };
            let sp = at.sp + 16;
            return Ok(Registers { pc, sp, fp, lr: 0 });
        }
    }
    step_by_frame_pointer(at, machine)
}

/// Whether the frame is set up a few instructions later: compilers at run time
/// check first whether the code is still valid, or the stack long enough.
#[inline(always)]
fn frame_ahead(text: u64, pc: u64, machine: &mut Current<'_>) -> bool {
    let mut words = u128::from(text) | u128::from(machine.read(pc + 8).unwrap_or(0)) << 64;
    for _ in 0..13 {
        if words as u32 == code::SET_UP {
            return true;
        }
        words >>= 8;
    }
    false
}

/// Finds the mapping of an address among those of a process.
#[inline(always)]
fn find_mapping(process: &Process, address: u64, found: &mut Mapping) -> bool {
    let (mut low, mut high) = (0_u32, process.count);
    // Invariant: mappings before `low` begin at or before the address, those
    // from `high` on behind it.
    for _ in 0..MAPPING_STEPS {
        if low >= high {
            break;
        }
        let middle = low + ((high - low) >> 1);
        let Some(mapping) = MAPPING_LIST.get(process.first.wrapping_add(middle)) else {
            return false;
        };
        if mapping.start <= address {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low == 0 {
        return false;
    }
    let Some(mapping) = MAPPING_LIST.get(process.first.wrapping_add(low - 1)) else {
        return false;
    };
    // An entry of another list was reused: what is known of the process is old.
    if mapping.list != process.list || address < mapping.start || address >= mapping.end {
        return false;
    }
    *found = *mapping;
    if mapping.table < TABLE_EMPTY
        && let Some(used) = TABLE_USED.get_ptr_mut(table_index(mapping.table))
    {
        // SAFETY: a map value; any of several writers' times will do.
        unsafe { core::ptr::write_volatile(used, (now() >> 30) as u32) };
    }
    true
}

/// Finds the rule for an address relative to a table's base, if the table has
/// one. False when the table is gone.
#[inline(always)]
fn find_rule(context: Option<u32>, table: u32, address: u64, rule: &mut Rule) -> bool {
    if address >> 32 != 0 {
        return true;
    }
    let key = Recent::key(table, address as u32);
    let rules = context.and_then(|context| RECENT.get_ptr_mut(context & (CONTEXTS as u32 - 1)));
    let Some(rules) = rules else {
        return search_table(table, address as u32, rule);
    };
    // SAFETY: a map value that only this context uses, and an index below its
    // length.
    let recent = unsafe { &mut (*rules)[Recent::place(key)] };
    if recent.key == key {
        *rule = recent.rule;
        return true;
    }
    if !search_table(table, address as u32, rule) {
        return false;
    }
    recent.key = key;
    recent.rule = *rule;
    true
}

/// The same by looking into the table.
#[inline(always)]
fn search_table(table: u32, address: u32, rule: &mut Rule) -> bool {
    let index = table_index(table);
    let Some(rows) = TABLES.get(index) else {
        return false;
    };
    let word = |index: u32| {
        let chunk = rows.get(index >> CHUNK_SHIFT)?;
        Some(chunk[index as usize & (CHUNK_WORDS - 1)])
    };
    if let Some(index) = search(address, word)
        && let Some(chunk) = rows.get(index >> CHUNK_SHIFT)
    {
        // Rules lie at multiples of their size, so never across chunks.
        let at = index as usize & (CHUNK_WORDS - Rule::WORDS as usize);
        *rule = Rule::from_words([chunk[at], chunk[at + 1], chunk[at + 2], chunk[at + 3]]);
    }
    true
}

/// Lets the daemon know what is missing; not too often.
#[inline(always)]
fn ask(tgid: u32, reason: Outcome, address: u64) {
    let time = (now() >> ASK_SHIFT) as u32;
    if let Some(process) = PROCESSES.get_ptr_mut(&tgid) {
        // SAFETY: a map value; a race costs one request more.
        unsafe {
            if (*process).asked == time {
                return;
            }
            (*process).asked = time;
        }
    } else {
        let process = Process {
            first: 0,
            count: 0,
            list: 0,
            asked: time,
        };
        if PROCESSES
            .insert(&tgid, &process, BPF_NOEXIST as u64)
            .is_err()
        {
            lost(Loss::ProcessTableFull);
            return;
        }
    }
    let mut request = Request {
        tgid,
        reason: reason as u32,
        address,
    };
    // SAFETY: the ring is a map, the request initialized.
    let failed = unsafe {
        bpf_ringbuf_output(
            (&raw const UNWIND_REQUESTS).cast_mut().cast(),
            (&raw mut request).cast(),
            size_of::<Request>() as u64,
            FORCE_WAKEUP,
        )
    } != 0;
    if failed {
        lost(Loss::UnwindRequestLost);
    }
}

/// A child begins with its parent's mappings.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn unwind_fork(ctx: BtfTracePointContext) -> i32 {
    let parent: *const u8 = ctx.arg(0);
    let child: *const u8 = ctx.arg(1);
    let (parent, child) = (read!(parent, task_tgid, u32), read!(child, task_tgid, u32));
    if parent != child {
        // SAFETY: copied at once.
        if let Some(&process) = unsafe { PROCESSES.get(&parent) }
            && process.list != 0
        {
            if PROCESSES.insert(&child, &process, 0).is_err() {
                lost(Loss::ProcessTableFull);
            }
        } else {
            // Of another process that had this id, if there is any.
            let _ = PROCESSES.remove(&child);
        }
    }
    0
}

/// A process that starts another program has other mappings from now on.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn unwind_exec(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let _ = PROCESSES.remove(&read!(task, task_tgid, u32));
    0
}

/// A process is forgotten when its leader ends: its id may be reused. (Threads
/// that outlive it ask again.)
#[btf_tracepoint(function = "sched_process_exit")]
pub fn unwind_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let tgid = read!(task, task_tgid, u32);
    if read!(task, task_pid, u32) == tgid {
        let _ = PROCESSES.remove(&tgid);
    }
    0
}
