//! Code without a table, on arm64.

use observer_common::unwind::{
    AT_LEAST, Link, Machine, Mapping, Outcome, Registers, link, pushes_frame, step_by_frame_pointer,
};

use super::Found;
use crate::unwind::memory::Memory;

/// Instructions that tell how far a function is (Arm Architecture Reference Manual, C6.2).
mod instruction {
    /// `ret`
    pub const RETURN: u32 = 0xd65f_03c0;
    /// `bti c`
    pub const LANDING: u32 = 0xd503_245f;
    /// `mov x29, sp`
    pub const MOVE_FP: u32 = 0x9100_03fd;
    /// `mov x8, #139; svc #0` (rt_sigreturn)
    pub const SIGRETURN: u64 = 0xd400_0001_d280_1168;
}

/// Offsets in the `rt_sigframe` that a signal handler's caller finds on its stack: a
/// `siginfo`, then a `ucontext` (arch/arm64/kernel/signal.c).
mod sigframe {
    pub const X29: u64 = 544;
    pub const X30: u64 = 552;
    pub const SP: u64 = 560;
    pub const PC: u64 = 568;
}

/// See [`super::without_table`].
#[inline(always)]
pub fn without_table(
    at: &Registers,
    innermost: bool,
    machine: &mut Memory<'_>,
    mapping: &Mapping,
    found: &mut Found,
) -> Result<Registers, Outcome> {
    let text = machine.read(at.pc).unwrap_or(0);
    if text == instruction::SIGRETURN && at.sp & AT_LEAST == 0 {
        found.signal = true;
        let (Some(pc), Some(sp), Some(fp), Some(lr)) = (
            machine.read(at.sp + sigframe::PC),
            machine.read(at.sp + sigframe::SP),
            machine.read(at.sp + sigframe::X29),
            machine.read(at.sp + sigframe::X30),
        ) else {
            return Err(Outcome::ReadFault);
        };
        return Ok(Registers { pc, sp, fp, lr });
    }
    // Also where a signal interrupted.
    let is_known = innermost || at.lr != 0;
    if is_known {
        let first = text as u32;
        // Where the frame isn't set up yet, or is gone already.
        let nothing_pushed =
            first == instruction::RETURN || first == instruction::LANDING || pushes_frame(first);
        let is_pushed = first == instruction::MOVE_FP;
        if nothing_pushed || is_pushed {
            let (fp, sp) = if nothing_pushed {
                (at.fp, at.sp)
            } else {
                let Some(fp) = machine.read(at.sp) else {
                    return Err(Outcome::ReadFault);
                };
                (fp, (at.sp + 16) | AT_LEAST)
            };
            let pc = machine.return_address(at.lr);
            if pc == 0 {
                return Err(Outcome::Complete);
            }
            return Ok(Registers { pc, sp, fp, lr: 0 });
        }
    }
    let caller = step_by_frame_pointer(at, machine);
    if is_known {
        let saved = caller.map_or(0, |caller| caller.pc);
        match link(at, saved, mapping, machine) {
            Link::Saved => {}
            Link::Live => {
                return Ok(Registers {
                    pc: machine.return_address(at.lr),
                    sp: at.sp | AT_LEAST,
                    fp: at.fp,
                    lr: 0,
                });
            }
            Link::Unknown => found.may_miss_caller = true,
        }
    }
    let caller = caller?;
    Ok(Registers {
        sp: caller.sp | AT_LEAST,
        ..caller
    })
}
