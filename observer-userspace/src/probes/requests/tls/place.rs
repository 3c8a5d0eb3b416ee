//! Where in a function a probe costs least.
//!
//! The kernel puts a breakpoint in the place of an instruction. Some kinds of
//! instructions it emulates then (`arch/x86/kernel/uprobes.c`); any other runs by
//! a single step, which is a second exception: on bare metal it doubles the
//! cost, in a virtual machine it may cost ten times as much as all the rest. So
//! the probe is put on the first instruction that is emulated, if until there
//! the function changed neither stack pointer nor arguments.
//!
//! OpenSSL's functions for reading and writing may begin with something else, but
//! are no more than a call of one inner function, which takes what the `_ex`
//! forms take.

use std::fs::File;
use std::os::unix::fs::FileExt;

use observer_symbols::elf::ElfInfo;
use observer_unwind::instruction::{Effect, decode};

/// Bytes of a function that are looked at.
const LOOKED_AT: usize = 96;

/// `e_machine` of x86_64.
const X86_64: u16 = 62;

/// Which argument of the inner function points to where it puts how much it read
/// or wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// The fourth: since OpenSSL 1.1.1.
    Fourth,
    /// The fifth: of what writes, since 3.2.
    Fifth,
}

/// The code in a file. Functions are given by their offsets in it.
pub struct Code<'a> {
    file: &'a File,
    info: &'a ElfInfo,
    machine: u16,
}

impl<'a> Code<'a> {
    /// That of `file`, for the processor `machine` (as in its header).
    pub fn new(file: &'a File, info: &'a ElfInfo, machine: u16) -> Self {
        Self {
            file,
            info,
            machine,
        }
    }

    /// The first bytes of `function`, if it is code at all.
    fn read(&self, function: u64) -> Option<Vec<u8>> {
        let segment = self.info.segment(function).filter(|s| s.executable)?;
        let left = segment.offset.saturating_add(segment.length) - function;
        let mut code = vec![0; LOOKED_AT.min(usize::try_from(left).unwrap_or(LOOKED_AT))];
        let known = self.machine == X86_64;
        (known && self.file.read_exact_at(&mut code, function).is_ok()).then_some(code)
    }

    /// The offset of an instruction that the kernel emulates, at which stack
    /// pointer and arguments are still as `function` got them.
    pub fn cheap(&self, function: u64) -> Option<u64> {
        let code = self.read(function)?;
        let mut rest = code.as_slice();
        while !is_emulated(rest) {
            if !only_looks(rest) {
                return None;
            }
            rest = rest.get(decode(rest)?.length..)?;
        }
        Some(function + (code.len() - rest.len()) as u64)
    }

    /// The function that `function` calls to do its work, and where that says how
    /// much it was: what is called first, with the address of a local variable.
    pub fn inner(&self, function: u64) -> Option<(u64, Out)> {
        let code = self.read(function)?;
        let (mut at, mut out) = (0, None);
        loop {
            let rest = code.get(at..)?;
            let instruction = decode(rest)?;
            at += instruction.length;
            out = local_address(rest).or(out);
            match instruction.effect {
                Effect::Call(to) => return Some((target(function, at, to)?, out?)),
                Effect::Jump(_)
                | Effect::JumpIndirect
                | Effect::Return
                | Effect::End
                | Effect::Lost => return None,
                _ => {}
            }
        }
    }

    /// Whether `function` comes to `inner` by its first call, or by that of what
    /// it calls or jumps to first.
    pub fn leads_to(&self, function: u64, inner: u64) -> bool {
        let first = self.first(function);
        first == Some(inner) || first.and_then(|f| self.first(f)) == Some(inner)
    }

    /// What `function` calls or jumps to first.
    fn first(&self, function: u64) -> Option<u64> {
        let code = self.read(function)?;
        let mut at = 0;
        loop {
            let instruction = decode(code.get(at..)?)?;
            at += instruction.length;
            match instruction.effect {
                Effect::Call(to) | Effect::Jump(to) => return target(function, at, to),
                Effect::JumpIndirect | Effect::Return | Effect::End | Effect::Lost => return None,
                _ => {}
            }
        }
    }
}

/// `by` from the end of an instruction that is `end` behind `function`. Code of
/// one segment lies in the file as it does in memory.
fn target(function: u64, end: usize, by: i32) -> Option<u64> {
    function
        .checked_add(end as u64)?
        .checked_add_signed(by.into())
}

/// Whether the kernel emulates the instruction: `push` of a register, jumps,
/// calls, `nop`.
fn is_emulated(code: &[u8]) -> bool {
    matches!(
        code,
        [0x50..=0x57, ..]
            | [0x41, 0x50..=0x57, ..]
            | [0x70..=0x7f | 0xe8 | 0xe9 | 0xeb | 0x90, ..]
            | [0x0f, 0x80..=0x8f, ..]
    )
}

/// Whether the instruction changes but flags and the result's register:
/// `endbr64`, `test`, `cmp`, `xor %eax,%eax`.
fn only_looks(code: &[u8]) -> bool {
    // REX, for wider operands.
    let rest = match code {
        [0x40..=0x4f, rest @ ..] => rest,
        _ => code,
    };
    matches!(
        rest,
        [0xf3, 0x0f, 0x1e, 0xfa, ..] | [0x84 | 0x85 | 0x38..=0x3d, ..] | [0x31 | 0x33, 0xc0, ..]
    ) || matches!(rest, [0x80 | 0x81 | 0x83, modrm, ..] if modrm >> 3 & 7 == 7)
}

/// If the instruction loads an address on the stack as an argument: which.
fn local_address(code: &[u8]) -> Option<Out> {
    match code {
        // mov %rsp,%rcx; lea x(%rsp),%rcx; lea x(%rbp),%rcx
        [0x48, 0x89, 0xe1, ..]
        | [0x48, 0x8d, 0x4c | 0x8c, 0x24, ..]
        | [0x48, 0x8d, 0x4d | 0x8d, ..] => Some(Out::Fourth),
        // The same to %r8.
        [0x49, 0x89, 0xe0, ..]
        | [0x4c, 0x8d, 0x44 | 0x84, 0x24, ..]
        | [0x4c, 0x8d, 0x45 | 0x85, ..] => Some(Out::Fifth),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which beginnings have a cheap place, as gcc and clang write them.
    #[test]
    fn beginnings() {
        let first = |code: &[u8]| {
            let mut file = tempfile::tempfile().expect("file");
            std::io::Write::write_all(&mut file, code).expect("written");
            let info = ElfInfo {
                segments: vec![observer_symbols::elf::Segment {
                    offset: 0,
                    address: 0x1000,
                    length: code.len() as u64,
                    executable: true,
                }],
                build_id: None,
            };
            Code::new(&file, &info, X86_64).cheap(0)
        };
        assert_eq!(first(b"\x55\x48\x89\xe5"), Some(0), "push %rbp");
        assert_eq!(first(b"\x41\x56\x53"), Some(0), "push %r14");
        assert_eq!(first(b"\xf3\x0f\x1e\xfa\x53"), Some(4), "endbr64; push");
        assert_eq!(first(b"\x48\x85\xff\x0f\x84\0\0\0\0"), Some(3), "test; je");
        assert_eq!(first(b"\x83\x7f\x44\0\x74\0"), Some(4), "cmpl; je");
        assert_eq!(first(b"\x48\x83\xec\x18\x53"), None, "sub $24,%rsp; push");
        assert_eq!(first(b"\x48\x89\xf8\x53"), None, "mov; push");
        assert_eq!(first(b"\x48\x85\xff"), None, "test, and nothing");
        assert_eq!(first(b""), None);
    }
}
