//! Where stacks are captured: too large for a program's own stack.

use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::macros::btf_map;
use observer_common::cpu::{MAX_FRAMES, StackHeader};
use observer_common::unwind::{Mapping, Outcome, Process, Registers};

/// Room for frames: more than there can be, and a power of two, so that the
/// verifier sees that every length fits.
pub const FRAMES: usize = 4 * (MAX_FRAMES + 1);

/// Words of an interpreter's frame, and of its code, that are kept: a power of two.
pub const FRAME_WORDS: usize = 16;

/// A walk of an interpreter's frames under way.
#[repr(C)]
pub struct PythonWalk {
    /// Address of the next frame.
    pub frame: u64,
    /// The interpreter whose threads are looked at next.
    pub interpreter: u64,
    /// The state of a thread that is looked at next.
    pub state: u64,
    /// What the thread is called in its own PID namespace.
    pub thread: u64,
    /// What was read of it.
    pub words: [u64; FRAME_WORDS],
    /// What was read of its code.
    pub code: [u64; FRAME_WORDS],
    /// Where in the scratch's frames the walk's own begin.
    pub before: u32,
    /// Frames found so far.
    pub frames: u32,
}

/// Words of `struct pt_regs` that are kept, a power of two: all that a frame may be
/// computed from.
pub const REGISTERS: usize = 32;

/// A walk under way.
#[repr(C)]
pub struct Walk {
    /// Registers of the last frame.
    pub at: Registers,
    /// The mapping of the last frame.
    pub mapping: Mapping,
    /// Registers of the innermost frame, as they lie in `pt_regs`.
    pub innermost: [u64; REGISTERS],
    /// What is known of the process.
    pub process: Process,
    /// The process.
    pub tgid: u32,
    /// Frames found so far.
    pub frames: u32,
    /// Where in the scratch's frames the walk's own begin.
    pub before: u32,
    /// The program counter is where the frame is, not one behind a call.
    pub exact: u32,
    /// `at` belongs to the innermost frame.
    pub is_innermost: u32,
    /// Set when something was missing on the way, though the walk went on.
    pub flaw: u32,
    /// The walk of an interpreter's frames.
    pub python: PythonWalk,
}

/// What a walk came to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walked {
    /// User frames.
    pub user: u32,
    /// Frames of an interpreter, behind those.
    pub python: u32,
    /// An [`Outcome`](observer_common::unwind::Outcome).
    pub outcome: u32,
    /// Nothing.
    pub padding: u32,
}

impl Walked {
    /// Without frames of an interpreter.
    #[inline(always)]
    pub const fn only(user: u32, outcome: Outcome) -> Self {
        Self {
            user,
            python: 0,
            outcome: outcome as u32,
            padding: 0,
        }
    }
}

/// A stack in the making: a record to be, and the state of the walk.
#[repr(C)]
pub struct Scratch {
    /// The record's header.
    pub header: StackHeader,
    /// Kernel frames, then user frames, then an interpreter's, leaf first.
    pub frames: [u64; FRAMES],
    /// The walk of the user part.
    pub walk: Walk,
    /// What it came to.
    pub walked: Walked,
}

/// Who is at work: a timer's interrupt may come while a tracepoint's program
/// walks a stack on the same CPU, so each has a scratch of its own.
#[derive(Clone, Copy)]
pub enum Context {
    /// The sampler.
    Interrupt = 0,
    /// The current thread at a tracepoint, or on its way off the CPU.
    Thread = 1,
    /// The iterator that looks at other threads. It may sleep and be moved to
    /// another CPU meanwhile, so its scratch belongs to none.
    Iterator = 2,
}

/// How many of them belong to a CPU; a power of two.
pub const CONTEXTS: usize = 2;

#[btf_map]
static STACK_SCRATCH: PerCpuArray<Scratch, CONTEXTS> = PerCpuArray::new();

#[btf_map]
static ITERATOR_SCRATCH: Array<Scratch, 1> = Array::new();

/// The scratch of [`Context::Iterator`].
#[inline(always)]
pub fn iterator_scratch() -> Option<*mut Scratch> {
    ITERATOR_SCRATCH.get_ptr_mut(0)
}

/// The scratch of another [`Context`] by its number.
#[inline(always)]
pub fn scratch_of(context: u32) -> Option<*mut Scratch> {
    STACK_SCRATCH.get_ptr_mut(context & (CONTEXTS as u32 - 1))
}
