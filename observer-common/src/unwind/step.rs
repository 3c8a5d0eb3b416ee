//! From one frame to its caller.

use super::outcome::Outcome;
use super::table::{FP, LINK, OTHER_STACK, Rule, SIGNAL, SP, cfa, place};
use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Set in [`Registers::sp`] where all that is known of the stack pointer is that it isn't
/// lower. On arm64, where it is a multiple of 16, frame pointers say no more: a frame's
/// size isn't told by where its two words lie (Procedure Call Standard for the Arm 64-bit
/// Architecture, 6.4.6).
pub const AT_LEAST: u64 = 1;

/// Registers that matter in every frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Registers {
    /// Program counter.
    pub pc: u64,
    /// Stack pointer; see [`AT_LEAST`].
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Link register, where the machine has one and it is known: in the innermost frame,
    /// and where a signal interrupted. Else 0.
    pub lr: u64,
}

/// What a step needs from outside.
pub trait Machine {
    /// The word at an address of the process.
    fn read(&mut self, address: u64) -> Option<u64>;

    /// A register of the innermost frame by DWARF number; `None` in others.
    fn register(&mut self, number: u8) -> Option<u64>;

    /// The address that a return address stands for, which may be signed.
    #[inline(always)]
    fn return_address(&self, word: u64) -> u64 {
        word
    }
}

/// One step by a rule: the caller's registers.
///
/// # Errors
/// The outcome with which the walk ends; [`Outcome::Complete`] at the outermost
/// frame, [`Outcome::NoRow`] when the rule knows nothing (frame pointers may).
#[inline(always)]
pub fn step<M: Machine>(
    rule: &Rule,
    at: &Registers,
    machine: &mut M,
) -> Result<Registers, Outcome> {
    let frame = frame(rule, at, machine)?;
    let pc_at = saved_at(rule.ra(), rule.ra_offset, frame, at);
    let pc = if pc_at != 0 {
        match machine.read(pc_at) {
            Some(value) => value,
            None => return Err(Outcome::ReadFault),
        }
    } else if rule.ra() == place::REGISTER {
        match machine.register(rule.ra_offset as u8) {
            Some(value) => value,
            None => return Err(Outcome::BadRule),
        }
    } else if at.lr != 0 {
        at.lr
    } else {
        // Only whoever was called last, or interrupted, can have it there.
        return Err(Outcome::BadRule);
    };
    let pc = machine.return_address(pc);
    let fp_at = saved_at(rule.fp(), rule.fp_offset, frame, at);
    let fp = if fp_at != 0 {
        match machine.read(fp_at) {
            Some(value) => value,
            None => return Err(Outcome::ReadFault),
        }
    } else {
        at.fp
    };
    if pc == 0 {
        return Err(Outcome::Complete);
    }
    let lr = if rule.flags & LINK == 0 {
        0
    } else {
        match machine.read(fp_at.wrapping_add(8)) {
            Some(value) => value,
            None => return Err(Outcome::ReadFault),
        }
    };
    // Any caller on the same stack lies above; signals may have another.
    let above = frame > at.sp || (pc_at == 0 && frame == at.sp);
    if rule.flags & (SIGNAL | OTHER_STACK) == 0 && !above {
        return Err(Outcome::BadFrame);
    }
    Ok(Registers {
        pc,
        sp: frame,
        fp,
        lr,
    })
}

/// The canonical frame address: the stack pointer as it was before the call.
#[inline(always)]
fn frame<M: Machine>(rule: &Rule, at: &Registers, machine: &mut M) -> Result<u64, Outcome> {
    let offset = rule.cfa_offset as i64 as u64;
    let frame = match rule.cfa {
        cfa::UNKNOWN => return Err(Outcome::NoRow),
        cfa::END => return Err(Outcome::Complete),
        cfa::REGISTER | cfa::DEREFERENCE => {
            let base = match rule.register {
                // Frame pointers go on.
                SP if at.sp & AT_LEAST != 0 => return Err(Outcome::NoRow),
                SP => at.sp,
                FP => at.fp,
                number => match machine.register(number) {
                    Some(value) => value,
                    None => return Err(Outcome::BadRule),
                },
            };
            base.wrapping_add(offset)
        }
        cfa::PLT => {
            let pushed = if at.pc & 15 >= u64::from(rule.parameter()) {
                8
            } else {
                0
            };
            at.sp.wrapping_add(offset).wrapping_add(pushed)
        }
        _ => return Err(Outcome::BadRule),
    };
    if rule.cfa != cfa::DEREFERENCE {
        return Ok(frame);
    }
    match machine.read(frame) {
        Some(value) => Ok(value.wrapping_add(8 * u64::from(rule.parameter()))),
        None => Err(Outcome::ReadFault),
    }
}

/// Where a register was saved, by one of [`place`]; 0 if not in memory.
#[inline(always)]
fn saved_at(place: u8, offset: i32, frame: u64, at: &Registers) -> u64 {
    let offset = offset as i64 as u64;
    match place {
        place::AT_CFA => frame.wrapping_add(offset),
        place::AT_SP => at.sp.wrapping_add(offset),
        place::AT_FP => at.fp.wrapping_add(offset),
        _ => 0,
    }
}

/// One step by frame pointers, for code without a table.
///
/// # Errors
/// [`Outcome::Complete`] when the frame pointer is 0, as the ABI wants it in the
/// outermost frame; else what is wrong.
#[inline(always)]
pub fn step_by_frame_pointer<M: Machine>(
    at: &Registers,
    machine: &mut M,
) -> Result<Registers, Outcome> {
    if at.fp == 0 {
        return Err(Outcome::Complete);
    }
    if at.fp < at.sp || at.fp & 7 != 0 {
        return Err(Outcome::NoRow);
    }
    let (Some(fp), Some(pc)) = (machine.read(at.fp), machine.read(at.fp.wrapping_add(8))) else {
        return Err(Outcome::ReadFault);
    };
    let pc = machine.return_address(pc);
    if pc == 0 {
        return Err(Outcome::Complete);
    }
    Ok(Registers {
        pc,
        sp: at.fp.wrapping_add(16),
        fp,
        lr: 0,
    })
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
