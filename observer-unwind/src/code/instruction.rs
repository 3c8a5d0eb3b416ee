//! x86_64 instructions, as far as stacks are concerned: how long one is, and
//! what it does to the stack pointer, the frame pointer and the flow of control.
//! What follows an opcode stands in [`super::operands`].

use super::operands::{Immediate, Operands, one_byte, two_byte, vector};

/// Number of the stack pointer in instructions.
const RSP: u8 = 4;
/// Number of the frame pointer.
const RBP: u8 = 5;

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that matters.
    None,
    /// Pushes something other than the frame pointer.
    Push,
    /// Pushes the frame pointer.
    PushFrame,
    /// Pops into something other than frame or stack pointer.
    Pop,
    /// Pops the frame pointer.
    PopFrame,
    /// Adds this to the stack pointer.
    Move(i32),
    /// The frame pointer becomes the stack pointer.
    SetFrame,
    /// The stack pointer becomes frame pointer + this.
    FromFrame(i32),
    /// `leave`.
    Leave,
    /// The frame pointer becomes 0: by the ABI's rule, in the outermost frame.
    ClearFrame,
    /// The stack pointer becomes something unknown.
    Lost,
    /// Calls this address, relative to the instruction's end.
    Call(i32),
    /// Loads this address, relative to the instruction's end.
    Address(i32),
    /// May go on at this address, relative to the instruction's end.
    Branch(i32),
    /// Goes on there.
    Jump(i32),
    /// Goes on somewhere.
    JumpIndirect,
    /// Goes back to the caller.
    Return,
    /// Nothing runs behind it: `hlt`, `ud2`, `int3`.
    End,
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Bytes.
    pub length: usize,
    /// What it does.
    pub effect: Effect,
}

/// Reads bytes one after the other.
struct Bytes<'a> {
    code: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.code.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A signed number of 1, 2 or 4 bytes; of 3 or 8 bytes only their length
    /// matters.
    fn number(&mut self, size: usize) -> Option<i32> {
        let bytes = self.code.get(self.at..self.at + size)?;
        self.at += size;
        Some(match *bytes {
            [a] => i32::from(a as i8),
            [a, b] => i32::from(i16::from_le_bytes([a, b])),
            [a, b, c, d, ..] => i32::from_le_bytes([a, b, c, d]),
            _ => 0,
        })
    }
}

/// What the bytes before and after an opcode say.
#[derive(Default)]
struct Parts {
    opcode: u8,
    /// 0: one byte; 1: after `0f`; others: vectors and such.
    map: u8,
    rex: u8,
    /// Prefix `66`.
    short: bool,
    /// `mod`, `reg` and `rm`, with their fourth bits.
    modrm: Option<(u8, u8, u8)>,
    /// Whether the memory operand is [stack pointer + displacement].
    by_stack: bool,
    displacement: i32,
    immediate: i32,
}

/// The instruction at the beginning of `code`; `None` if it isn't one.
pub fn decode(code: &[u8]) -> Option<Instruction> {
    let mut bytes = Bytes { code, at: 0 };
    let mut parts = Parts::default();
    let operands = opcode(&mut bytes, &mut parts)?;
    if operands.modrm {
        memory(&mut bytes, &mut parts)?;
    }
    let wide = parts.rex & 8 != 0;
    let word = if parts.short && !wide { 2 } else { 4 };
    let is_test = matches!(parts.modrm, Some((_, reg, _)) if reg & 6 == 0);
    let size = match operands.immediate {
        Immediate::Byte => 1,
        Immediate::Short => 2,
        Immediate::Word => word,
        Immediate::Relative => 4,
        Immediate::Full if wide => 8,
        Immediate::Full => word,
        Immediate::Address => 8,
        Immediate::Enter => 3,
        Immediate::TestByte if is_test => 1,
        Immediate::TestWord if is_test => word,
        Immediate::None | Immediate::TestByte | Immediate::TestWord => 0,
    };
    parts.immediate = bytes.number(size)?;
    let length = bytes.at;
    // Longer ones fault.
    (length <= 15).then(|| Instruction {
        length,
        effect: effect(&parts),
    })
}

/// Reads prefixes and opcode.
fn opcode(bytes: &mut Bytes<'_>, parts: &mut Parts) -> Option<Operands> {
    let mut byte = bytes.next()?;
    while matches!(
        byte,
        0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65
    ) {
        parts.short |= byte == 0x66;
        byte = bytes.next()?;
    }
    if byte & 0xf0 == 0x40 {
        parts.rex = byte;
        byte = bytes.next()?;
    }
    match byte {
        0x0f => {
            parts.opcode = bytes.next()?;
            parts.map = match parts.opcode {
                0x38 => 2,
                0x3a => 3,
                _ => 1,
            };
            if parts.map == 1 {
                return two_byte(parts.opcode);
            }
            parts.opcode = bytes.next()?;
            vector(parts.map, parts.opcode, false)
        }
        0xc5 => {
            bytes.next()?;
            parts.map = 4;
            parts.opcode = bytes.next()?;
            vector(1, parts.opcode, false)
        }
        0xc4 => {
            let map = bytes.next()? & 0x1f;
            bytes.next()?;
            parts.map = 4;
            parts.opcode = bytes.next()?;
            vector(map, parts.opcode, false)
        }
        0x62 => {
            let map = bytes.next()? & 7;
            bytes.number(2)?;
            parts.map = 4;
            parts.opcode = bytes.next()?;
            vector(map, parts.opcode, true)
        }
        _ => {
            parts.opcode = byte;
            one_byte(byte)
        }
    }
}

/// Reads the operand with registers and memory.
fn memory(bytes: &mut Bytes<'_>, parts: &mut Parts) -> Option<()> {
    let byte = bytes.next()?;
    let (mode, rm) = (byte >> 6, byte & 7);
    let reg = byte >> 3 & 7 | (parts.rex & 4) << 1;
    parts.modrm = Some((mode, reg, rm | (parts.rex & 1) << 3));
    if mode == 3 {
        return Some(());
    }
    let mut base = rm;
    if rm == 4 {
        let sib = bytes.next()?;
        base = sib & 7;
        parts.by_stack = sib == 0x24 && parts.rex & 3 == 0;
    }
    let size = match mode {
        0 if base == 5 => 4,
        0 => 0,
        1 => 1,
        _ => 4,
    };
    parts.displacement = bytes.number(size)?;
    Some(())
}

fn effect(parts: &Parts) -> Effect {
    if parts.map == 1 {
        return match parts.opcode {
            0x0b => Effect::End,
            0x80..=0x8f => Effect::Branch(parts.immediate),
            // push and pop of fs and gs.
            0xa0 | 0xa8 => Effect::Push,
            0xa1 | 0xa9 => Effect::Pop,
            _ => Effect::None,
        };
    }
    if parts.map != 0 {
        return Effect::None;
    }
    let low = parts.opcode & 7 | (parts.rex & 1) << 3;
    match parts.opcode {
        0x50..=0x57 if low == RBP => Effect::PushFrame,
        0x50..=0x57 | 0x68 | 0x6a | 0x9c => Effect::Push,
        0x58..=0x5f if low == RBP => Effect::PopFrame,
        0x58..=0x5f if low == RSP => Effect::Lost,
        0x58..=0x5f | 0x9d => Effect::Pop,
        0xc2 | 0xc3 | 0xca | 0xcb | 0xcf => Effect::Return,
        0xcc | 0xf4 => Effect::End,
        0xc8 => Effect::Lost,
        0xc9 => Effect::Leave,
        0xe8 => Effect::Call(parts.immediate),
        0xe9 | 0xeb => Effect::Jump(parts.immediate),
        0x70..=0x7f | 0xe0..=0xe3 => Effect::Branch(parts.immediate),
        _ => parts
            .modrm
            .map_or(Effect::None, |m| with_operands(parts, m)),
    }
}

fn with_operands(parts: &Parts, (mode, reg, rm): (u8, u8, u8)) -> Effect {
    let wide = parts.rex & 8 != 0;
    let register = mode == 3;
    // Registers that an instruction of the usual two directions writes and
    // reads; `None` is memory.
    let (to, from) = match parts.opcode & 2 {
        0 => (register.then_some(rm), Some(reg)),
        _ => (Some(reg), register.then_some(rm)),
    };
    match parts.opcode {
        0xff => match reg & 7 {
            4 | 5 => Effect::JumpIndirect,
            6 => Effect::Push,
            _ => Effect::None,
        },
        0x8f => match (register, rm) {
            (true, RBP) => Effect::PopFrame,
            (true, RSP) => Effect::Lost,
            _ => Effect::Pop,
        },
        0x81 | 0x83 if register && rm == RSP => match (reg & 7, wide) {
            (0, true) => Effect::Move(parts.immediate),
            (5, true) => Effect::Move(parts.immediate.wrapping_neg()),
            // A comparison.
            (7, _) => Effect::None,
            _ => Effect::Lost,
        },
        // lea
        0x8d if reg == RSP => match (mode, rm) {
            _ if parts.by_stack => Effect::Move(parts.displacement),
            (1 | 2, RBP) => Effect::FromFrame(parts.displacement),
            _ => Effect::Lost,
        },
        0x8d if mode == 0 && rm & 7 == 5 => Effect::Address(parts.displacement),
        0x8d => Effect::None,
        // xor of the frame pointer with itself, 32 or 64 bits
        0x31 | 0x33 if to == Some(RBP) && from == to => Effect::ClearFrame,
        // mov
        0x89 | 0x8b if to == Some(RBP) && from == Some(RSP) && wide => Effect::SetFrame,
        0x89 | 0x8b if to == Some(RSP) && from == Some(RBP) && wide => Effect::FromFrame(0),
        // All else that computes into a register: mov, add, or, adc, sbb, and,
        // sub, xor; cmp and test only look.
        0x89 | 0x8b | 0x01 | 0x03 | 0x09 | 0x0b | 0x11 | 0x13 | 0x19 | 0x1b | 0x21 | 0x23
        | 0x29 | 0x2b | 0x31 | 0x33
            if to == Some(RSP) =>
        {
            Effect::Lost
        }
        // xchg
        0x87 if reg == RSP || (register && rm == RSP) => Effect::Lost,
        0xc7 if register && rm == RSP => Effect::Lost,
        _ => Effect::None,
    }
}
