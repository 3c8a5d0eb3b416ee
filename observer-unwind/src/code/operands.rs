//! What follows the opcode of an x86_64 instruction.
//!
//! Tables of opcodes: Intel 64 and IA-32 Architectures Software Developer's
//! Manual, volume 2, appendix A.

/// What follows an opcode: an operand with registers and memory (`ModRM`),
/// and an immediate value.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// Registers and memory follow.
    pub(super) modrm: bool,
    pub(super) immediate: Immediate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Immediate {
    None,
    Byte,
    /// 2 bytes.
    Short,
    /// 2 or 4 bytes, by operand size.
    Word,
    /// 4 bytes.
    Relative,
    /// 2, 4 or 8 bytes, by operand size.
    Full,
    /// An address: 8 bytes.
    Address,
    /// 3 bytes.
    Enter,
    /// A byte or a word, if the instruction is a `test`.
    TestByte,
    TestWord,
}

const fn bare(immediate: Immediate) -> Option<Operands> {
    Some(Operands {
        modrm: false,
        immediate,
    })
}

const fn with_modrm(immediate: Immediate) -> Option<Operands> {
    Some(Operands {
        modrm: true,
        immediate,
    })
}

/// Operands of one-byte opcodes; `None` for those that don't exist.
pub(super) fn one_byte(opcode: u8) -> Option<Operands> {
    use Immediate::{
        Address, Byte, Enter, Full, None as No, Relative, Short, TestByte, TestWord, Word,
    };
    match opcode {
        0x06 | 0x07 | 0x0e | 0x16 | 0x17 | 0x1e | 0x1f | 0x27 | 0x2f | 0x37 | 0x3f => None,
        0x00..=0x3f => match opcode & 7 {
            4 => bare(Byte),
            5 => bare(Word),
            _ => with_modrm(No),
        },
        0x50..=0x5f => bare(No),
        0x63 => with_modrm(No),
        0x68 => bare(Word),
        0x69 => with_modrm(Word),
        0x6a => bare(Byte),
        0x6b => with_modrm(Byte),
        0x6c..=0x6f => bare(No),
        0x70..=0x7f => bare(Byte),
        0x80 | 0x83 => with_modrm(Byte),
        0x81 => with_modrm(Word),
        0x84..=0x8f => with_modrm(No),
        0x9a => None,
        0x90..=0x9f => bare(No),
        0xa0..=0xa3 => bare(Address),
        0xa8 => bare(Byte),
        0xa9 => bare(Word),
        0xa4..=0xaf => bare(No),
        0xb0..=0xb7 => bare(Byte),
        0xb8..=0xbf => bare(Full),
        0xc0 | 0xc1 | 0xc6 => with_modrm(Byte),
        0xc2 | 0xca => bare(Short),
        0xc7 => with_modrm(Word),
        0xc8 => bare(Enter),
        0xcd => bare(Byte),
        0xc3 | 0xc9 | 0xcb | 0xcc | 0xcf => bare(No),
        0xd7 => bare(No),
        0xd0..=0xd3 | 0xd8..=0xdf => with_modrm(No),
        0xe0..=0xe7 | 0xeb => bare(Byte),
        0xe8 | 0xe9 => bare(Relative),
        0xec..=0xef => bare(No),
        0xf6 => with_modrm(TestByte),
        0xf7 => with_modrm(TestWord),
        0xfe | 0xff => with_modrm(No),
        0xf1 | 0xf4 | 0xf5 | 0xf8..=0xfd => bare(No),
        _ => None,
    }
}

/// Operands of opcodes after `0f`.
pub(super) fn two_byte(opcode: u8) -> Option<Operands> {
    use Immediate::{Byte, None as No, Relative};
    match opcode {
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x38..=0x3f => None,
        0x7a | 0x7b | 0xa6 | 0xa7 => None,
        0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x37 | 0x77 => bare(No),
        0x80..=0x8f => bare(Relative),
        0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => bare(No),
        0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => with_modrm(Byte),
        _ => with_modrm(No),
    }
}

/// Operands of opcodes in the maps that a vector prefix chooses.
pub(super) fn vector(map: u8, opcode: u8, long_prefix: bool) -> Option<Operands> {
    match map {
        1 if opcode == 0x77 && !long_prefix => bare(Immediate::None),
        1 => two_byte(opcode).map(|operands| Operands {
            modrm: true,
            ..operands
        }),
        3 => with_modrm(Immediate::Byte),
        2 | 5 | 6 => with_modrm(Immediate::None),
        _ => None,
    }
}
