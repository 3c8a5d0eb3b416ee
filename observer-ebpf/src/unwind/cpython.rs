//! Walking the frames of CPython, which lie in memory of its own and not on the stack.
//!
//! What is read is the process's, and while it is read nobody changes it but other threads
//! of the process: so all is bounded, and whatever comes out is taken for an address that
//! the daemon checks before it believes it. Layouts: `observer_common::cpython`.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, LruHashMap};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use aya_ebpf::macros::btf_map;
use observer_common::cpython::{
    self, CODE_BEGIN, INTERPRETERS, Layout, MAX_FRAMES, MAX_STEPS, MAX_THREADS, NONE, OWNED_BY_C,
    WORDS, as_entry, identity, pack,
};
use observer_common::offsets::MISSING;
use observer_common::unwind::{ASK_SHIFT, Outcome};

use super::processes::ask_for_code;
use crate::kernel::{current, now, offset, read};
use crate::scratch::{FRAME_WORDS, FRAMES, PythonWalk, Scratch, scratch_of};
use crate::user::user;

/// By [`observer_common::unwind::Process::cpython`]; mapped by the daemon.
#[btf_map]
static CPYTHON_LAYOUTS: Array<Layout, { INTERPRETERS as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();

/// The state of a thread, as it was found last.
#[repr(C)]
#[derive(Clone, Copy)]
struct Known {
    /// `PyThreadState`; 0: it had none.
    state: u64,
    /// Of which [`Layout::list`].
    list: u32,
    /// When it had none: `bpf_ktime_get_ns() >> ASK_SHIFT`.
    missed: u32,
}

/// By the thread's number.
#[btf_map]
static CPYTHON_THREADS: LruHashMap<u32, Known, 8192> = LruHashMap::new();

/// Code of which the daemon was told.
#[repr(C)]
#[derive(Clone, Copy)]
struct CodeKey {
    code: u64,
    identity: u64,
    tgid: u32,
    list: u32,
}

#[btf_map]
static CPYTHON_CODE: LruHashMap<CodeKey, u32, 16384> = LruHashMap::new();

/// Result of [`cpython_step`]: there is one more frame.
const CONTINUE: u32 = u32::MAX;

/// The layout of the process that is walked.
#[inline(always)]
fn layout_of(scratch: &Scratch) -> Option<&'static Layout> {
    let process = &scratch.walk.process;
    let layout = CPYTHON_LAYOUTS.get(process.cpython & (INTERPRETERS - 1))?;
    // Else it was given to another since.
    (layout.list == process.list).then_some(layout)
}

/// Walks the Python frames of the current thread into the scratch of a context, behind
/// those that are there. Returns an [`Outcome`].
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cpython_frames(context: u32) -> u32 {
    let Some(scratch) = scratch_of(context) else {
        return Outcome::Complete as u32;
    };
    // SAFETY: a map value that only this walk uses.
    let walk = unsafe { &mut (*scratch).walk };
    walk.python.frames = 0;
    walk.python.before = walk.before + (walk.frames & MAX_FRAMES as u32);
    if walk.process.cpython == 0 {
        return Outcome::Complete as u32;
    }
    let end = cpython_thread(context);
    if end != CONTINUE {
        return end;
    }
    for _ in 0..MAX_STEPS {
        let end = cpython_step(context);
        if end != CONTINUE {
            return end;
        }
    }
    Outcome::CPythonTruncated as u32
}

/// Finds the innermost frame of the current thread; [`CONTINUE`] if there is one.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cpython_thread(context: u32) -> u32 {
    let Some(scratch) = scratch_of(context) else {
        return Outcome::Complete as u32;
    };
    // SAFETY: a map value that only this walk uses.
    let scratch = unsafe { &mut *scratch };
    let Some(layout) = layout_of(scratch) else {
        return Outcome::NoProcess as u32;
    };
    let task = current();
    let tid = read!(task, task_pid, u32);
    let inner = inner_number(task, tid);
    let time = (now() >> ASK_SHIFT) as u32;
    // SAFETY: copied at once.
    if let Some(&known) = unsafe { CPYTHON_THREADS.get(&tid) }
        && known.list == layout.list
    {
        if known.state == 0 && known.missed == time {
            return Outcome::Complete as u32;
        }
        // It may be freed, and be anything else by now; or the thread runs another interpreter,
        // for which it has another state.
        if known.state != 0
            && field(known.state, layout.native_thread_id) == Some(inner)
            && let Some(frame) = innermost(layout, known.state)
            && frame != 0
            && is_only(layout)
        {
            scratch.walk.python.frame = frame;
            return CONTINUE;
        }
    }
    let walk = &mut scratch.walk.python;
    walk.interpreter = user(layout.interpreters).unwrap_or(0);
    walk.state = 0;
    walk.thread = inner;
    let list = layout.list;
    let mut end = Outcome::CPythonThreads as u32;
    for _ in 0..MAX_THREADS {
        let step = cpython_search(context);
        if step != CONTINUE {
            end = step;
            break;
        }
    }
    let found = end == FOUND;
    let known = Known {
        state: if found { scratch.walk.python.state } else { 0 },
        list,
        missed: time,
    };
    let _ = CPYTHON_THREADS.insert(&tid, &known, 0);
    if found { CONTINUE } else { end }
}

/// Result of [`cpython_search`]: it is that state.
const FOUND: u32 = u32::MAX - 1;

/// Looks at the next state of a thread; [`CONTINUE`] if there may be more, [`FOUND`], or how
/// the search ends.
///
/// Global to the verifier: it is checked once, not once per thread.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cpython_search(context: u32) -> u32 {
    let Some(scratch) = scratch_of(context) else {
        return Outcome::CPythonFault as u32;
    };
    // SAFETY: a map value that only this walk uses.
    let scratch = unsafe { &mut *scratch };
    let Some(layout) = layout_of(scratch) else {
        return Outcome::NoProcess as u32;
    };
    let walk = &mut scratch.walk.python;
    if walk.state == 0 {
        if walk.interpreter == 0 {
            return Outcome::Complete as u32; // it isn't Python's
        }
        walk.state = field(walk.interpreter, layout.threads_head).unwrap_or(0);
        walk.interpreter = field(walk.interpreter, layout.interpreter_next).unwrap_or(0);
        return CONTINUE;
    }
    if field(walk.state, layout.native_thread_id) == Some(walk.thread)
        && let Some(frame) = innermost(layout, walk.state)
        && frame != 0
    {
        walk.frame = frame;
        return FOUND;
    }
    walk.state = field(walk.state, layout.thread_next).unwrap_or(0);
    CONTINUE
}

/// Whether the process has one interpreter.
#[inline(always)]
fn is_only(layout: &Layout) -> bool {
    let newest = user(layout.interpreters).unwrap_or(0);
    field(newest, layout.interpreter_next) == Some(0)
}

/// A word of a structure of the process.
#[inline(always)]
fn field(address: u64, offset: u32) -> Option<u64> {
    user(address.wrapping_add(offset as u64))
}

/// The innermost frame of a thread's state.
#[inline(always)]
fn innermost(layout: &Layout, state: u64) -> Option<u64> {
    let frame = field(state, layout.current_frame)?;
    if layout.cframe_current == NONE {
        return Some(frame);
    }
    field(frame, layout.cframe_current)
}

/// What a task is called in its own PID namespace.
#[inline(always)]
fn inner_number(task: *const u8, tid: u32) -> u64 {
    if offset!(task_thread_pid) == MISSING
        || offset!(pid_level) == MISSING
        || offset!(pid_numbers) == MISSING
    {
        return tid as u64;
    }
    /// Bytes of `struct upid`, which begins with the number (include/linux/pid.h).
    const UPID: u64 = 16;
    let pid = read!(task, task_thread_pid, *const u8);
    let level = read!(pid, pid_level, u32) & 63;
    let mut number = 0_u32;
    let at = pid as u64 + offset!(pid_numbers) as u64 + level as u64 * UPID;
    // SAFETY: writes four bytes to the stack; the helper checks the address.
    let failed = unsafe { bpf_probe_read_kernel((&raw mut number).cast(), 4, at as *const _) } != 0;
    if failed { tid as u64 } else { number as u64 }
}

/// One frame further; [`CONTINUE`], or the [`Outcome`] that ended the walk.
///
/// Global to the verifier: it is checked once, not once per frame. Hence it finds its state
/// by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cpython_step(context: u32) -> u32 {
    let Some(scratch) = scratch_of(context) else {
        return Outcome::CPythonFault as u32;
    };
    // SAFETY: a map value that only this walk uses.
    let scratch = unsafe { &mut *scratch };
    let Some(layout) = layout_of(scratch) else {
        return Outcome::NoProcess as u32;
    };
    let walk = &mut scratch.walk.python;
    if walk.frame == 0 {
        return Outcome::Complete as u32;
    }
    const BYTES: u32 = (cpython::FRAME_WORDS * 8) as u32;
    // SAFETY: the array is larger; the helper checks the address.
    let failed = unsafe {
        let to = walk.words.as_mut_ptr().cast();
        bpf_probe_read_user(to, BYTES, walk.frame as *const _)
    } != 0;
    if failed {
        return Outcome::CPythonFault as u32;
    }
    let frames = walk.frames & MAX_FRAMES as u32;
    let index = walk.before + frames * WORDS as u32;
    walk.frame = word(walk, layout.previous);
    if layout.is_entry == NONE && byte(walk, layout.owner) == OWNED_BY_C {
        // C's own: what it called is the frame before.
        if frames != 0 {
            let called = &mut scratch.frames[(index - WORDS as u32) as usize & (FRAMES - 1)];
            *called = as_entry(*called);
        }
        return CONTINUE;
    }
    if frames >= MAX_FRAMES as u32 {
        return Outcome::CPythonTruncated as u32;
    }
    let code = word(walk, layout.code);
    let first = code.wrapping_add(layout.instructions as u64);
    let distance = word(walk, layout.instruction).wrapping_sub(first);
    let is_entry = layout.is_entry != NONE && byte(walk, layout.is_entry) != 0;
    walk.frames = frames + 1;
    let identity = identity_of(walk, layout, code);
    scratch.frames[(index + 1) as usize & (FRAMES - 1)] = identity;
    scratch.frames[index as usize & (FRAMES - 1)] = pack(code, distance, is_entry);
    CONTINUE
}

/// What identifies the code at an address; 0 if it can't be read.
#[inline(always)]
fn identity_of(walk: &mut PythonWalk, layout: &Layout, code: u64) -> u64 {
    const BYTES: u32 = (cpython::CODE_WORDS * 8) as u32;
    // SAFETY: the array is as large; the helper checks the address.
    let failed = unsafe {
        let at = code.wrapping_add(CODE_BEGIN as u64) as *const _;
        bpf_probe_read_user(walk.code.as_mut_ptr().cast(), BYTES, at)
    } != 0;
    if failed {
        return 0;
    }
    let word = |offset: u32| walk.code[((offset - CODE_BEGIN) >> 3) as usize & (FRAME_WORDS - 1)];
    let first_line = word(layout.first_line) >> ((layout.first_line & 4) * 8);
    identity(
        word(CODE_BEGIN),
        word(layout.file),
        word(layout.qualified_name),
        word(layout.line_table),
        first_line as u32,
    )
}

/// A word of the frame that was read.
#[inline(always)]
fn word(walk: &PythonWalk, offset: u32) -> u64 {
    walk.words[(offset >> 3) as usize & (FRAME_WORDS - 1)]
}

/// A byte of it.
#[inline(always)]
fn byte(walk: &PythonWalk, offset: u32) -> u64 {
    word(walk, offset) >> ((offset & 7) * 8) & 0xff
}

/// Asks for the names of the code of `count` frames, from the `before`th of the scratch of
/// a context on, unless that was done before.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cpython_ask(context: u32, before: u32, count: u32) -> u32 {
    let mut asked = 0;
    for i in 0..MAX_FRAMES as u32 {
        if i >= count {
            break;
        }
        asked |= cpython_ask_of(context, before + i * WORDS as u32, asked);
    }
    asked
}

/// Asks for the name of the code of a frame; 1 if that is news.
///
/// Likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cpython_ask_of(context: u32, at: u32, asked: u32) -> u32 {
    let Some(scratch) = scratch_of(context) else {
        return 0;
    };
    // SAFETY: a map value that only this walk uses.
    let scratch = unsafe { &mut *scratch };
    let key = CodeKey {
        code: cpython::code(scratch.frames[at as usize & (FRAMES - 1)]),
        identity: scratch.frames[(at + 1) as usize & (FRAMES - 1)],
        tgid: scratch.walk.tgid,
        list: scratch.walk.process.list,
    };
    if CPYTHON_CODE.insert(&key, &1, BPF_NOEXIST as u64).is_err() {
        return 0;
    }
    if ask_for_code(key.tgid, key.code, asked == 0) {
        return 1;
    }
    let _ = CPYTHON_CODE.remove(&key);
    0
}
