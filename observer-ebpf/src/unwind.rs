//! Walking a process's stack without frame pointers, with the tables that the
//! daemon compiles from the files' unwinding information.
//!
//! The layout of tables, the search and the step are in
//! `observer_common::unwind`; here is what they need from the kernel: the
//! process's mappings, its registers, its memory.

mod code;
mod cpython;
mod memory;
mod processes;
mod tables;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use observer_common::offsets::MISSING;
use observer_common::unwind::{
    MAX_USER_FRAMES, Mapping, Outcome, Registers, Rule, SIGNAL, TABLE_ABSENT, TABLE_EMPTY,
    TABLE_NONE, step,
};

use crate::kernel::{has_link_register, is_32_bit, offset, read, registers};
use crate::scratch::{Context, FRAMES, Scratch, Walked, iterator_scratch, scratch_of};
use code::{Found, without_table};
pub use cpython::cpython_ask;
use cpython::cpython_frames;
use memory::Memory;
pub use memory::{STACK_PAGE, STACK_PAGES, stack_copy, user_stack_pointer};
use processes::ask;
pub use processes::process;
use tables::{find_mapping, find_rule};

/// Bytes of x86_64's `struct pt_regs` (arch/x86/include/asm/ptrace.h), which lies at the
/// end of a kernel stack.
const PT_REGS_BYTES: u32 = 21 * 8;
/// Bytes of arm64's that have general registers and the stack pointer
/// (arch/arm64/include/asm/ptrace.h).
const PT_REGS_BYTES_ARM64: u32 = 32 * 8;

/// Walks the user stack of `task`, which must be the current one unless its
/// stack was copied for [`Context::Iterator`], into the scratch behind its first
/// `before` frames. What it came to is in the scratch, too.
#[inline(always)]
pub fn walk(context: Context, scratch: &mut Scratch, before: u32, task: *const u8) {
    // SAFETY: the current task is trusted.
    let regs = unsafe { registers(task) };
    // A thread that ends gives its memory up before the rest of its end.
    let is_gone = offset!(task_mm) != MISSING && read!(task, task_mm, u64) == 0;
    if regs.is_null() || is_gone {
        scratch.walked = Walked::only(0, Outcome::NoUser);
        return;
    }
    let walk = &mut scratch.walk;
    let bytes = if has_link_register() {
        PT_REGS_BYTES_ARM64
    } else {
        PT_REGS_BYTES
    };
    // SAFETY: the array is as large as the larger of them.
    let failed =
        unsafe { bpf_probe_read_kernel(walk.innermost.as_mut_ptr().cast(), bytes, regs.cast()) }
            != 0;
    if failed {
        scratch.walked = Walked::only(0, Outcome::NoUser);
        return;
    }
    let at = Registers {
        pc: read!(regs, pt_regs_ip, u64),
        sp: read!(regs, pt_regs_sp, u64),
        fp: read!(regs, pt_regs_bp, u64),
        lr: if has_link_register() {
            read!(regs, pt_regs_lr, u64)
        } else {
            0
        },
    };
    if at.pc == 0 || at.sp == 0 {
        scratch.walked = Walked::only(0, Outcome::NoUser);
        return; // a worker of the kernel's in the process
    }
    walk.at = at;
    walk.mapping = Mapping {
        table: TABLE_NONE,
        ..Mapping::default()
    };
    walk.tgid = read!(task, task_tgid, u32);
    walk.frames = 1;
    walk.before = before;
    walk.exact = 1;
    walk.is_innermost = 1;
    walk.flaw = 0;
    walk.process = process(walk.tgid);
    scratch.frames[(before as usize) & (FRAMES - 1)] = at.pc;
    if is_32_bit(regs) {
        walk.flaw = Outcome::ForeignAbi as u32;
        scratch.walked = Walked::only(1, Outcome::ForeignAbi);
        return;
    }
    if walk.process.list == 0 {
        walk.flaw = Outcome::NoProcess as u32;
        ask(walk.tgid, Outcome::NoProcess, at.pc);
    }
    match context {
        Context::Iterator => unwind_frames_copied(),
        _ => unwind_frames(context as u32),
    };
}

/// Result of [`unwind_step`]: there is one more frame.
const CONTINUE: u32 = u32::MAX;

/// Goes as far as it goes, and then through an interpreter's frames. Global to the
/// verifier, so that what follows isn't checked once for each number of frames.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unwind_frames(context: u32) -> u32 {
    let mut end = CONTINUE;
    // One step more than there is room for frames: the last may be the root.
    for _ in 0..MAX_USER_FRAMES {
        end = unwind_step(context);
        if end != CONTINUE {
            break;
        }
    }
    let python_end = cpython_frames(context);
    if let Some(scratch) = scratch_of(context) {
        // SAFETY: a map value that only this walk uses.
        come_to(unsafe { &mut *scratch }, end, python_end);
    }
    0
}

/// The same for [`Context::Iterator`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unwind_frames_copied() -> u32 {
    let mut end = CONTINUE;
    // One step more than there is room for frames: the last may be the root.
    for _ in 0..MAX_USER_FRAMES {
        end = unwind_step_copied();
        if end != CONTINUE {
            break;
        }
    }
    if let Some(scratch) = iterator_scratch() {
        // SAFETY: a map value that only this walk uses.
        let scratch = unsafe { &mut *scratch };
        scratch.walk.python.frames = 0;
        // What is current is the daemon.
        let python_end = match scratch.walk.process.cpython {
            0 => Outcome::Complete,
            _ => Outcome::CPythonNotWalked,
        };
        come_to(scratch, end, python_end as u32);
    }
    0
}

/// What a walk came to that ended so, and that of an interpreter's frames likewise.
#[inline(always)]
fn come_to(scratch: &mut Scratch, end: u32, python_end: u32) {
    let walk = &scratch.walk;
    let outcome = if end == CONTINUE || end == Outcome::Truncated as u32 {
        Outcome::Truncated as u32
    } else if walk.flaw != 0 {
        walk.flaw
    } else if end == Outcome::Complete as u32 {
        python_end
    } else {
        end
    };
    scratch.walked = Walked {
        user: walk.frames & MAX_USER_FRAMES as u32,
        python: walk.python.frames & MAX_USER_FRAMES as u32,
        outcome,
        padding: 0,
    };
}

/// One frame further; [`CONTINUE`], or the [`Outcome`] that ended the walk.
///
/// A function that is global to the verifier: it is checked once, not once per
/// frame. Hence it finds its state by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unwind_step(context: u32) -> u32 {
    match scratch_of(context) {
        Some(scratch) => step_in(scratch, Some(context)),
        None => Outcome::BadFrame as u32,
    }
}

/// The same for [`Context::Iterator`], with a copied stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unwind_step_copied() -> u32 {
    match iterator_scratch() {
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
    let mut machine = Memory {
        innermost: &walk.innermost,
        is_innermost: walk.is_innermost != 0,
        is_copied: context.is_none(),
    };
    // Nothing is known of the code, unless something is found.
    let mut rule = Rule::default();
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
    let mut found = Found {
        signal: rule.flags & SIGNAL != 0,
        ..Found::default()
    };
    if let Err(Outcome::NoRow) = next {
        let innermost = machine.is_innermost;
        next = without_table(&at, innermost, &mut machine, &walk.mapping, &mut found);
        if found.may_miss_caller && walk.flaw == 0 {
            walk.flaw = Outcome::NoRow as u32;
        }
    }
    match next {
        Ok(_) if walk.frames >= MAX_USER_FRAMES as u32 => Outcome::Truncated as u32,
        Ok(registers) => {
            walk.at = registers;
            walk.exact = found.signal as u32;
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
