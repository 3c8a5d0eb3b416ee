//! Whether arm64's link register has the return address of code that no table describes.

use super::process::Mapping;
use super::step::{Machine, Registers};

/// Where a function's return address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// In the record that the frame pointer points to.
    Saved,
    /// In the link register: the function has no frame, the frame pointer is its caller's.
    Live,
    /// In either of them.
    Unknown,
}

/// Instructions (Arm Architecture Reference Manual, C6.2).
mod instruction {
    /// `bti c`
    pub const LANDING: u32 = 0xd503_245f;
    /// `paciasp`
    pub const SIGN: u32 = 0xd503_233f;
    /// `stp x29, x30, [sp, #-…]!`
    pub const PUSH_FRAME: u32 = 0xa980_7bfd;
    /// Its bits without those of the size.
    pub const PUSH_FRAME_MASK: u32 = 0xffc0_7fff;
    /// `blr`, and its forms that authenticate (`blraa` and others).
    pub const CALL_REGISTER: u32 = 0xd63f_0000;
    /// Their bits without those of the registers and the key.
    pub const CALL_REGISTER_MASK: u32 = 0xfeff_f000;
    /// `bl`, in the upper six bits.
    pub const CALL: u32 = 0b10_0101;
    /// `b`, likewise.
    pub const BRANCH: u32 = 0b00_0101;
    /// `adrp x16, …`, with which entries of linkage tables and veneers begin.
    pub const STUB: u32 = 0x9000_0010;
    /// Its bits without those of the page.
    pub const STUB_MASK: u32 = 0x9f00_001f;
}

/// Whether an instruction is one with which functions make their frame.
#[inline(always)]
pub const fn pushes_frame(instruction: u32) -> bool {
    instruction == instruction::SIGN
        || instruction & instruction::PUSH_FRAME_MASK == instruction::PUSH_FRAME
}

/// Looks for the return address of the code at `at`, whose link register is known, where
/// the frame pointer's record has `saved`, or there is none and it is 0.
///
/// After a call of its own a function's link register points behind that call; in a
/// function without a frame it points behind the call of that function. So the call is
/// looked at. A function that was jumped to by another, as last thing that it did, is
/// taken for the latter.
#[inline(always)]
pub fn link<M: Machine>(at: &Registers, saved: u64, mapping: &Mapping, machine: &mut M) -> Link {
    let address = machine.return_address(at.lr);
    if address == 0 || address & 3 != 0 || address == saved {
        return Link::Saved;
    }
    let call_at = address.wrapping_sub(4);
    let Some(call) = machine.read(call_at) else {
        return Link::Unknown;
    };
    let call = call as u32;
    let is_direct = call >> 26 == instruction::CALL;
    if !is_direct && call & instruction::CALL_REGISTER_MASK != instruction::CALL_REGISTER {
        return Link::Saved; // used for something else
    }
    let within = |address: u64| mapping.start <= address && address < mapping.end;
    if within(at.pc) && !within(call_at) {
        return Link::Live;
    }
    if !is_direct {
        return Link::Unknown;
    }
    // 26 bits with a sign, in words.
    let distance = i64::from((call << 6) as i32 >> 4) as u64;
    let callee = call_at.wrapping_add(distance);
    let Some(text) = machine.read(callee) else {
        return Link::Unknown;
    };
    let first = match text as u32 {
        instruction::LANDING => (text >> 32) as u32,
        other => other,
    };
    if first >> 26 == instruction::BRANCH || first & instruction::STUB_MASK == instruction::STUB {
        return Link::Unknown; // leads elsewhere
    }
    let lies_behind = callee > at.pc;
    // A function that has the call in itself had to save the link register before.
    let calls_itself = callee <= call_at && call_at < at.pc;
    if lies_behind || calls_itself || pushes_frame(first) {
        return Link::Saved;
    }
    if call_at < callee {
        return Link::Live; // the callee begins between the call and here
    }
    Link::Unknown
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
