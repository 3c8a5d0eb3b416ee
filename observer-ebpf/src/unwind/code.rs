//! Code without a table.

mod arm64;

use observer_common::unwind::{Machine, Mapping, Outcome, Registers, step_by_frame_pointer};

use super::memory::Memory;
use crate::kernel::has_link_register;

/// The words of x86_64 code that tell how far a function is.
mod instruction {
    /// `push %rbp`
    pub const PUSH_FP: u64 = 0x55;
    /// `ret`
    pub const RETURN: u64 = 0xc3;
    /// `ret $…`: with the arguments taken off the stack.
    pub const RETURN_AND_POP: u64 = 0xc2;
    /// `jg` over it, where the number of arguments varies.
    pub const JUMP_GREATER: u64 = 0x7f;
    /// `cmp $…,%rcx` before that: V8 has the number of arguments there.
    pub const COMPARE_COUNT: u64 = 0xf9_8348;
    /// `mov %rsp,%rbp`
    pub const MOVE_FP: u64 = 0xe5_8948;
    /// `push %rbp; mov %rsp,%rbp`
    pub const SET_UP: u32 = 0xe589_4855;
    /// `endbr64`
    pub const ENDBR: u64 = 0xfa1e_0ff3;
    /// `mov $15,%rax; …`: the rest of it is `syscall` (rt_sigreturn).
    pub const SIGRETURN: u64 = 0x0f00_0000_0fc0_c748;
    /// The same with 32-bit registers: `mov $15,%eax; syscall`.
    pub const SIGRETURN_SHORT: u64 = 0x05_0f00_0000_0fb8;
    /// `syscall`
    pub const SYSCALL: u64 = 0x050f;
    /// `test %rax,%rax`; without its first byte `test %eax,%eax`.
    pub const TEST_RESULT: u64 = 0xc0_8548;
}

/// Offsets in the `ucontext` that a signal handler's caller finds on its stack
/// (arch/x86/include/uapi/asm/sigcontext.h).
mod ucontext {
    pub const RBP: u64 = 120;
    pub const RSP: u64 = 160;
    pub const RIP: u64 = 168;
}

/// DWARF number of the register with a syscall's result (rax).
const RESULT: u8 = 0;

/// What a step found out beside the caller.
#[derive(Default)]
pub struct Found {
    /// A signal interrupted the caller, which called nobody.
    pub signal: bool,
    /// There may be a caller in between.
    pub may_miss_caller: bool,
}

/// A step where no table knows the code: compilers at run time use frame
/// pointers, and so does what little code has neither table nor compiler.
#[inline(always)]
pub fn without_table(
    at: &Registers,
    innermost: bool,
    machine: &mut Memory<'_>,
    mapping: &Mapping,
    found: &mut Found,
) -> Result<Registers, Outcome> {
    if has_link_register() {
        return arm64::without_table(at, innermost, machine, mapping, found);
    }
    let text = machine.read(at.pc).unwrap_or(0);
    if text & 0xff_ffff_ffff_ffff == instruction::SIGRETURN & 0xff_ffff_ffff_ffff
        || text & 0xff_ffff_ffff_ffff == instruction::SIGRETURN_SHORT
    {
        found.signal = true;
        // One after the other: the verifier refuses to see what was read copied where
        // nothing was.
        let Some(pc) = machine.read(at.sp + ucontext::RIP) else {
            return Err(Outcome::ReadFault);
        };
        let Some(sp) = machine.read(at.sp + ucontext::RSP) else {
            return Err(Outcome::ReadFault);
        };
        let Some(fp) = machine.read(at.sp + ucontext::RBP) else {
            return Err(Outcome::ReadFault);
        };
        return Ok(Registers { pc, sp, fp, lr: 0 });
    }
    if innermost {
        // C libraries describe `clone` up to its syscall only, as both who called
        // and who was born go on behind it. The latter's stack begins there.
        let tests = text & 0xff_ffff == instruction::TEST_RESULT
            || text & 0xffff == instruction::TEST_RESULT >> 8;
        let is_born = machine.register(RESULT) == Some(0);
        let returned =
            tests && machine.read(at.pc.wrapping_sub(8)).unwrap_or(0) >> 48 == instruction::SYSCALL;
        if returned && is_born {
            return Err(Outcome::Complete);
        }
        // Where the frame isn't set up yet, or is gone already.
        let nothing_pushed = returned
            || text & 0xff == instruction::PUSH_FP
            || returns(text)
            || text & 0xffff_ffff == instruction::ENDBR
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
        if text & 0xff_ffff == instruction::MOVE_FP {
            let (Some(fp), Some(pc)) = (machine.read(at.sp), machine.read(at.sp + 8)) else {
                return Err(Outcome::ReadFault);
            };
            let sp = at.sp + 16;
            return Ok(Registers { pc, sp, fp, lr: 0 });
        }
    }
    step_by_frame_pointer(at, machine)
}

/// Whether the frame is gone and nothing but the return is left. V8's functions
/// pop as many arguments as they have, after a look whether there are more.
#[inline(always)]
fn returns(text: u64) -> bool {
    let ends = |text: u64| {
        text & 0xff == instruction::RETURN_AND_POP
            || text & 0xff == instruction::JUMP_GREATER
                && text >> 16 & 0xff == instruction::RETURN_AND_POP
    };
    text & 0xff == instruction::RETURN
        || ends(text)
        || text & 0xff_ffff == instruction::COMPARE_COUNT && ends(text >> 32)
}

/// Whether the frame is set up a few instructions later: compilers at run time
/// check first whether the code is still valid, or the stack long enough. V8's
/// checks are 14 bytes.
#[inline(always)]
fn frame_ahead(text: u64, pc: u64, machine: &mut Memory<'_>) -> bool {
    let mut words = u128::from(text) | u128::from(machine.read(pc + 8).unwrap_or(0)) << 64;
    for _ in 0..13 {
        if words as u32 == instruction::SET_UP {
            return true;
        }
        words >>= 8;
    }
    // Only the beginning of what is there: another read would say little more.
    let rest = words as u32;
    rest == instruction::SET_UP & 0xff_ffff || rest >> 8 == instruction::SET_UP & 0xffff
}
