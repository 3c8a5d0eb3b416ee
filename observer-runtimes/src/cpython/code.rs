//! Code objects: the functions that frames are in.

use super::objects::Objects;
use crate::memory::{Memory, Unread};

/// What a code object's type is called, with its end.
const CODE: &[u8; 5] = b"code\0";
/// `PyObject.ob_type`, `PyTypeObject.tp_name`.
const TYPE: u64 = 8;
const TYPE_NAME: u64 = 24;
/// `PyVarObject.ob_size`.
const SIZE: u64 = 16;
/// Longest table of lines that is read, in bytes: some thousand lines of one function. Of
/// those with more only the first line is known.
const MAX_TABLE: usize = 32 * 1024;

/// A function as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its name with what it is defined in (`co_qualname`).
    pub name: String,
    /// The file, as Python was given it (`co_filename`).
    pub file: String,
    /// The line of `def`, or of the first decorator (`co_firstlineno`).
    pub first_line: u32,
    /// What tells it from others.
    pub identity: Identity,
    lines: Vec<u8>,
}

/// What tells a code object from others that lie at its address before and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Bytes of instructions, by two (`ob_size`).
    pub length: u64,
    /// Address of its file's name.
    pub file: u64,
    /// Address of its own name.
    pub qualified_name: u64,
    /// Address of its table of lines.
    pub line_table: u64,
    /// Its first line.
    pub first_line: u32,
}

impl Identity {
    fn read<M: Memory>(objects: &Objects<'_, M>, address: u64) -> Result<Self, Unread> {
        let (memory, at) = (objects.memory, &objects.offsets.code);
        let name = memory.u64(memory.u64(address, TYPE)?, TYPE_NAME)?;
        if memory.array(name, 0)? != *CODE {
            return Err(Unread::Misfit("a code object"));
        }
        Ok(Self {
            length: memory.u64(address, SIZE)?,
            file: memory.u64(address, at.file)?,
            qualified_name: memory.u64(address, at.qualified_name)?,
            line_table: memory.u64(address, at.line_table)?,
            first_line: memory.u32(address, at.first_line)?,
        })
    }
}

impl Code {
    /// The code object at `address`.
    ///
    /// # Errors
    /// There is none, it can't be read, or it changed meanwhile.
    pub fn read<M: Memory>(objects: &Objects<'_, M>, address: u64) -> Result<Self, Unread> {
        let identity = Identity::read(objects, address)?;
        let code = Self {
            name: objects.string(identity.qualified_name)?,
            file: objects.string(identity.file)?,
            first_line: identity.first_line,
            lines: match objects.bytes(identity.line_table, MAX_TABLE) {
                Err(Unread::TooLong(_)) => Vec::new(),
                lines => lines?,
            },
            identity,
        };
        // What was freed meanwhile may have been another's text.
        match Identity::read(objects, address)? == identity {
            true => Ok(code),
            false => Err(Unread::Misfit("a code object")),
        }
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.file.len() + self.lines.len()
    }

    /// The line of an instruction, by its number in units of two bytes; `None` if the table
    /// says that it has none, or doesn't know it.
    ///
    /// Layout of the table: Objects/locations.md (since 3.11).
    pub fn line(&self, unit: u32) -> Option<u32> {
        let mut bytes = self.lines.iter().copied();
        let (mut line, mut begin) = (i64::from(self.first_line), 0_u32);
        while let Some(first) = bytes.next() {
            if first & 0x80 == 0 {
                return None;
            }
            let end = begin + u32::from(first & 7) + 1;
            let kind = first >> 3 & 15;
            match kind {
                0..=9 => _ = bytes.next()?,
                10..=12 => {
                    line += i64::from(kind) - 10;
                    let _ = (bytes.next()?, bytes.next()?);
                }
                13 => line += signed(&mut bytes)?,
                14 => {
                    line += signed(&mut bytes)?;
                    for _ in 0..3 {
                        number(&mut bytes)?;
                    }
                }
                _ => {}
            }
            if (begin..end).contains(&unit) {
                let line = u32::try_from(line).ok();
                return line.filter(|_| kind != 15);
            }
            begin = end;
        }
        None
    }
}

/// A number in pieces of six bits, lowest first; another follows where bit 6 is set.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes.next()?;
        if shift > 58 {
            return None;
        }
        value |= u64::from(byte & 63) << shift;
        if byte & 64 == 0 {
            return Some(value);
        }
        shift += 6;
    }
}

/// A number with its sign in the lowest bit.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let value = number(bytes)?;
    let size = i64::try_from(value >> 1).ok()?;
    // Beyond any line of a file.
    let size = Some(size).filter(|size| *size < 1 << 32)?;
    Some(if value & 1 == 0 { size } else { -size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(first_line: u32, lines: &[u8]) -> Code {
        Code {
            name: String::new(),
            file: String::new(),
            first_line,
            lines: lines.to_vec(),
            identity: Identity {
                length: 0,
                file: 0,
                qualified_name: 0,
                line_table: 0,
                first_line,
            },
        }
    }

    /// Checks lines against what CPython 3.13's own `co_lines()` says of
    /// `def f(n):\n    t = 0\n    for i in range(n):\n        t += i\n    return t`
    /// at line 1: its table, then the line of each unit.
    #[test]
    fn lines_are_python_s() {
        let table = [
            0x80, 0x0, 0xd8, 0x8, 0x9, 0x80, 0x41, 0xdc, 0xd, 0x12, 0x90, 0x31, 0x8e, 0x58, 0x88,
            0x1, 0xd8, 0x8, 0x9, 0x89, 0x6, 0x8a, 0x1, 0xf1, 0x3, 0x0, 0xe, 0x16, 0xe0, 0xb, 0xc,
            0x80, 0x48,
        ];
        let code = code(1, &table);
        let lines: Vec<Option<u32>> = (0..28).map(|unit| code.line(unit)).collect();
        let runs = lines.chunk_by(|a, b| a == b).map(|run| (run[0], run.len()));
        let runs: Vec<(Option<u32>, usize)> = runs.collect();
        assert_eq!(runs, EXPECTED);
    }

    const EXPECTED: &[(Option<u32>, usize)] = &[
        (Some(1), 1),
        (Some(2), 2),
        (Some(3), 14),
        (Some(4), 6),
        (Some(3), 2),
        (Some(5), 2),
        (None, 1),
    ];

    /// Checks that tables that end early, numbers without an end and lines below 1 give no
    /// line, and that a place without a line has none.
    #[test]
    fn hostile_tables() {
        for table in [&[][..], &[0x80], &[0xf0], &[0xf0, 0x7f], &[0x00, 0x01]] {
            assert_eq!(code(1, table).line(0), None, "{table:x?}");
        }
        let endless = [&[0xe8][..], &[0x7f; 100]].concat();
        assert_eq!(code(1, &endless).line(0), None);
        // Five lines up from the third.
        assert_eq!(code(3, &[0xe8, 0x0b]).line(0), None);
        assert_eq!(code(9, &[0xe8, 0x0b]).line(0), Some(4));
        assert_eq!(code(9, &[0xf8]).line(0), None);
    }
}
