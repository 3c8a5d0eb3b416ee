//! CPython's frames: what the kernel half needs to know of an interpreter to walk them,
//! and how it tells of one.
//!
//! A frame is two words, so that it travels and is hashed as addresses are: the address of
//! its code object, how far it is in it, and whether C called it; and what identifies the
//! code, since Python frees code objects, and others take their addresses.

use crate::cpu::StackHash;
use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Python frames walked at most.
pub const MAX_FRAMES: usize = crate::cpu::MAX_FRAMES;
/// Steps of a walk: since 3.12 there is a frame of C's own before each that C called.
pub const MAX_STEPS: usize = 2 * MAX_FRAMES + 1;
/// Interpreters and states of threads that are looked at to find a thread's.
pub const MAX_THREADS: usize = 1024;
/// Interpreters known to the kernel half at once; number 0 is none.
pub const INTERPRETERS: u32 = 4096;
/// Words of a frame that are read, from its beginning.
pub const FRAME_WORDS: usize = 9;
/// Words of a code object that are read, from [`CODE_BEGIN`] on: a power of two.
pub const CODE_WORDS: usize = 16;
/// Where `PyVarObject.ob_size` is, which begins that.
pub const CODE_BEGIN: u32 = 16;
/// Words of a frame, as it is told.
pub const WORDS: usize = 2;
/// [`Layout::cframe_current`], [`Layout::is_entry`]: there is no such field.
pub const NONE: u32 = u32::MAX;
/// `FRAME_OWNED_BY_CSTACK` of `enum _frameowner` (Include/internal/pycore_frame.h since 3.12).
pub const OWNED_BY_C: u64 = 3;

/// The interpreter of a process: an address, and offsets in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Layout {
    /// Address of the pointer to the newest interpreter (`_PyRuntime.interpreters.head`).
    pub interpreters: u64,
    /// Number of the list of mappings that it belongs to, see
    /// [`Process::list`](crate::unwind::Process::list).
    pub list: u32,
    /// `PyInterpreterState.next`.
    pub interpreter_next: u32,
    /// `PyInterpreterState.threads.head`.
    pub threads_head: u32,
    /// `PyThreadState.next`.
    pub thread_next: u32,
    /// `PyThreadState.native_thread_id`.
    pub native_thread_id: u32,
    /// `PyThreadState.current_frame`, or `.cframe` before 3.13.
    pub current_frame: u32,
    /// `_PyCFrame.current_frame`, before 3.13.
    pub cframe_current: u32,
    /// `_PyInterpreterFrame.previous`.
    pub previous: u32,
    /// `_PyInterpreterFrame.f_executable`, or `.f_code` before 3.13.
    pub code: u32,
    /// `_PyInterpreterFrame.instr_ptr`, or `.prev_instr` before 3.13.
    pub instruction: u32,
    /// `_PyInterpreterFrame.owner`.
    pub owner: u32,
    /// `_PyInterpreterFrame.is_entry`, in 3.11.
    pub is_entry: u32,
    /// `PyCodeObject.co_code_adaptive`.
    pub instructions: u32,
    /// `PyCodeObject.co_filename`.
    pub file: u32,
    /// `PyCodeObject.co_qualname`.
    pub qualified_name: u32,
    /// `PyCodeObject.co_linetable`.
    pub line_table: u32,
    /// `PyCodeObject.co_firstlineno`, an `int`.
    pub first_line: u32,
    /// Nothing.
    pub padding: u32,
}

/// What tells code from other code at the same address: how long it is, and where it says
/// to have its file, its name and its lines. Never 0.
#[inline(always)]
pub const fn identity(
    length: u64,
    file: u64,
    qualified_name: u64,
    line_table: u64,
    first_line: u32,
) -> u64 {
    let hash = StackHash::new().add(length).add(file).add(qualified_name);
    let (hash, _) = hash.add(line_table).add(first_line as u64).finish();
    hash | 1
}

/// [`Request::reason`](crate::unwind::Request::reason): the code object at the address has
/// no name yet. Beside the numbers of outcomes.
pub const ASK_CODE: u32 = 0x100;

/// Bits of a code object's address, which is a multiple of 8 below 2^48.
const CODE_BITS: u32 = 45;
const UNIT_BITS: u32 = 18;
const NO_UNIT: u64 = (1 << UNIT_BITS) - 1;
const ENTRY: u64 = 1 << 63;

/// A frame as a word. `distance` is that of the instruction from the first of its code, in
/// bytes; it wraps where the frame is before the first.
#[inline(always)]
pub const fn pack(code: u64, distance: u64, is_entry: bool) -> u64 {
    let unit = distance >> 1;
    let unit = if distance >> 62 != 0 {
        0 // about to begin
    } else if unit < NO_UNIT {
        unit
    } else {
        NO_UNIT
    };
    let code = code >> 3 & ((1 << CODE_BITS) - 1);
    code | unit << CODE_BITS | if is_entry { ENTRY } else { 0 }
}

/// The same word for a frame that C called.
#[inline(always)]
pub const fn as_entry(frame: u64) -> u64 {
    frame | ENTRY
}

/// The address of the code object of a word that [`pack`] made.
#[inline(always)]
pub const fn code(frame: u64) -> u64 {
    (frame & ((1 << CODE_BITS) - 1)) << 3
}

/// A frame, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeFrame {
    /// Address of the code object.
    pub code: u64,
    /// What it is, by [`identity`]; 0 if it couldn't be read.
    pub identity: u64,
    /// Which instruction, in units of two bytes; `None` if that is too far from the first.
    pub unit: Option<u32>,
    /// C called it: it runs in a loop of the interpreter of its own.
    pub is_entry: bool,
}

impl CodeFrame {
    /// What [`pack`] made, and the word behind it.
    pub const fn unpack([frame, identity]: [u64; WORDS]) -> Self {
        let unit = frame >> CODE_BITS & NO_UNIT;
        Self {
            code: code(frame),
            identity,
            unit: if unit == NO_UNIT {
                None
            } else {
                Some(unit as u32)
            },
            is_entry: frame & ENTRY != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that what is packed comes out as it was, up to the largest addresses, and that
    /// instructions before the first and beyond the last that fits are told apart.
    #[test]
    fn frames_survive() {
        for code in [0x8, 0x55d0_1234_5678, 0x7fff_ffff_fff8, 0xffff_ffff_fff8] {
            for unit in [0, 1, 77, 262_142] {
                for is_entry in [false, true] {
                    let expected = CodeFrame {
                        code,
                        identity: 7,
                        unit: Some(unit),
                        is_entry,
                    };
                    let packed = pack(code, u64::from(unit) * 2, is_entry);
                    assert_eq!(CodeFrame::unpack([packed, 7]), expected);
                }
            }
        }
        let unit = |distance| CodeFrame::unpack([pack(16, distance, false), 0]).unit;
        assert_eq!(unit(2_u64.wrapping_neg()), Some(0));
        assert_eq!(unit(262_143 * 2), None);
        assert_eq!(unit(1 << 40), None);
        assert!(CodeFrame::unpack([as_entry(pack(16, 4, false)), 0]).is_entry);
    }
}
