//! Settling the calls that the kernel object leaves open: see
//! [`observer_common::preemption`].

use anyhow::{Context, Result};
use object::{Object, ObjectSection, SectionKind};
use observer_common::preemption::{ALL, Bracket, ENABLE, END, RESTORE, SAVE, TRACEPOINTS};

use crate::kernel::preemption::{Functions, Preemption};

/// Bytes of an instruction (`struct bpf_insn`, include/uapi/linux/bpf.h).
const INSTRUCTION: usize = 8;

/// A call of a helper by its number, of a function of the kernel by its number in
/// the kernel's types (`BPF_PSEUDO_KFUNC_CALL`), and a jump to the next instruction:
/// the first bytes.
const CALL_HELPER: [u8; 4] = [0x85, 0, 0, 0];
const CALL_FUNCTION: [u8; 4] = [0x85, 0x20, 0, 0];
const JUMP_NOWHERE: [u8; 4] = [0x05, 0, 0, 0];

/// An instruction of these first bytes, with this number at its end.
fn instruction(first: [u8; 4], number: i32) -> [u8; INSTRUCTION] {
    let mut bytes = [0; INSTRUCTION];
    bytes[..4].copy_from_slice(&first);
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// What a bracket's calls become; nothing if there is no need, or no way.
fn settled(bracket: Bracket, preemption: &Preemption) -> Option<Functions> {
    let wanted = match bracket {
        TRACEPOINTS => preemption.tracepoints,
        _ => preemption.user_functions,
    };
    preemption.functions.filter(|_| wanted)
}

/// The kernel object with its open calls as `preemption` asks for.
///
/// # Errors
///
/// When it isn't an object.
pub(super) fn settle(object: &[u8], preemption: &Preemption) -> Result<Vec<u8>> {
    let mut whole = object.to_vec();
    for (start, end) in code(object)? {
        let code = whole
            .get_mut(start..end)
            .context("the kernel object has code outside of itself")?;
        let (code, _) = code.as_chunks_mut();
        for bracket in ALL {
            settle_bracket(code, bracket, settled(bracket, preemption));
        }
    }
    Ok(whole)
}

/// Settles the calls of one bracket, wherever it is.
fn settle_bracket(code: &mut [[u8; INSTRUCTION]], bracket: Bracket, functions: Option<Functions>) {
    let nothing = instruction(JUMP_NOWHERE, 0);
    let function = |number| instruction(CALL_FUNCTION, number);
    let begin = instruction(CALL_HELPER, bracket.begin);
    let end = instruction(CALL_HELPER, bracket.end);
    let mut rest = code;
    while let [first, behind @ ..] = rest {
        if *first == begin {
            *first = functions.map_or(nothing, |functions| function(functions.disable));
        } else if *first == end {
            *first = nothing;
            for bytes in behind.iter_mut().take(END - 1) {
                *bytes = match functions {
                    None => nothing,
                    Some(functions) => match number_of_open(bytes) {
                        Some(SAVE) => function(functions.save),
                        Some(ENABLE) => function(functions.enable),
                        Some(RESTORE) => function(functions.restore),
                        _ => *bytes,
                    },
                };
            }
        }
        rest = behind;
    }
}

/// The number that an instruction calls, if it calls by number.
fn number_of_open(bytes: &[u8; INSTRUCTION]) -> Option<i32> {
    let (first, number) = bytes.split_first_chunk()?;
    let number = number.first_chunk().copied().map(i32::from_le_bytes);
    number.filter(|_| *first == CALL_HELPER)
}

/// Where in the object its sections of code lie.
fn code(object: &[u8]) -> Result<Vec<(usize, usize)>> {
    let file = object::File::parse(object).context("the kernel object is not ELF")?;
    let sections = file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text);
    let ranges = sections.filter_map(|section| section.file_range());
    Ok(ranges
        .map(|(start, length)| (start as usize, (start + length) as usize))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::load::OBJECT;
    use super::*;
    use object::ObjectSymbol;
    use observer_common::preemption::USER_FUNCTIONS;

    /// How many of these instructions there are, in code whose section's name begins
    /// so.
    fn count(object: &[u8], section: &str, wanted: [u8; INSTRUCTION]) -> usize {
        let file = object::File::parse(object).expect("an object");
        let sections = file
            .sections()
            .filter(|found| found.kind() == SectionKind::Text)
            .filter(|found| found.name().is_ok_and(|name| name.starts_with(section)));
        sections
            .flat_map(|found| found.data().expect("its code").chunks_exact(INSTRUCTION))
            .filter(|bytes| *bytes == wanted)
            .count()
    }

    const FUNCTIONS: Option<Functions> = Some(Functions {
        disable: 1001,
        enable: 1002,
        save: 1003,
        restore: 1004,
    });

    /// Checks that no call is left open, whatever is asked for, that programs call
    /// the kernel's functions only where that is asked for, all of them in their
    /// order, and that nothing else changes.
    #[test]
    fn all_calls_are_settled() {
        let of = |tracepoints, user_functions, functions| Preemption {
            tracepoints,
            user_functions,
            functions,
        };
        let open = ALL.map(|bracket| [bracket.begin, bracket.end]);
        let open = open.as_flattened().iter().chain(&[SAVE, ENABLE, RESTORE]);
        let mut begins = 0;
        let mut ends = 0;
        for bracket in ALL {
            begins += count(OBJECT, "", instruction(CALL_HELPER, bracket.begin));
            ends += count(OBJECT, "", instruction(CALL_HELPER, bracket.end));
        }
        for (preemption, expected) in [
            (of(false, false, FUNCTIONS), (false, false)),
            (of(true, true, None), (false, false)),
            (of(false, true, FUNCTIONS), (false, true)),
            (of(true, true, FUNCTIONS), (true, true)),
        ] {
            let settled = settle(OBJECT, &preemption).expect("an object");
            assert_eq!(settled.len(), OBJECT.len());
            for number in open.clone() {
                let left = count(&settled, "", instruction(CALL_HELPER, *number));
                assert_eq!(left, 0, "{number:#x}");
            }
            let called =
                |section, number| count(&settled, section, instruction(CALL_FUNCTION, number)) != 0;
            for number in 1001..=1004 {
                assert_eq!((called("tp_btf", number), called("u", number)), expected);
            }
            let changed = OBJECT.iter().zip(&settled).filter(|(a, b)| a != b).count();
            assert!(changed <= (begins + ends * END) * INSTRUCTION);
        }
    }

    /// Checks a bracket's end, instruction by instruction, with and without need.
    #[test]
    fn ends_are_settled_in_order() {
        let call = |number| instruction(CALL_HELPER, number);
        let copy = [0xbf, 0xa1, 0, 0, 0, 0, 0, 0];
        let add = [0x07, 1, 0, 0, 0xf8, 0xff, 0xff, 0xff];
        let exit = [0x95, 0, 0, 0, 0, 0, 0, 0];
        let end = call(TRACEPOINTS.end);
        let code = [
            end,
            copy,
            add,
            call(SAVE),
            call(ENABLE),
            copy,
            add,
            call(RESTORE),
            exit,
        ];
        let nothing = instruction(JUMP_NOWHERE, 0);
        let mut unneeded = code;
        settle_bracket(&mut unneeded, TRACEPOINTS, None);
        assert_eq!(unneeded[..END], [nothing; END]);
        assert_eq!(unneeded[END], exit);
        let mut needed = code;
        settle_bracket(&mut needed, TRACEPOINTS, FUNCTIONS);
        let function = |number| instruction(CALL_FUNCTION, number);
        let expected = [
            nothing,
            copy,
            add,
            function(1003),
            function(1002),
            copy,
            add,
            function(1004),
            exit,
        ];
        assert_eq!(needed, expected);
        let mut others = code;
        settle_bracket(&mut others, USER_FUNCTIONS, FUNCTIONS);
        assert_eq!(others, code);
    }

    /// Checks that every program on a tracepoint or a user function begins and ends
    /// what isn't preempted, with the calls of its kind, and that no other does. Those
    /// left out run with the run queue's lock, and can't be preempted on any kernel, or
    /// touch nothing that belongs to a CPU.
    #[test]
    fn programs_are_bracketed() {
        let safe = [
            "sched_switch",
            "sched_wakeup",
            "sched_wakeup_new",
            "identity_fork",
            "identity_exit",
            "unwind_fork",
            "unwind_exec",
            "unwind_exit",
        ];
        let file = object::File::parse(OBJECT).expect("an object");
        let mut seen = [0, 0];
        for symbol in file.symbols() {
            let Some(section) = symbol.section_index() else {
                continue;
            };
            let section = file.section_by_index(section).expect("its section");
            let name = symbol.name().expect("its name");
            if section.kind() != SectionKind::Text || symbol.size() == 0 {
                continue;
            }
            let code = section.data().expect("its code");
            let start = symbol.address() as usize;
            let code = &code[start..start + symbol.size() as usize];
            let has = |number| {
                let wanted = instruction(CALL_HELPER, number);
                code.chunks_exact(INSTRUCTION).any(|bytes| bytes == wanted)
            };
            let has = |bracket: Bracket| (has(bracket.begin), has(bracket.end));
            let hook = section.name().expect("its name").split('/').next();
            let expected = match hook {
                Some("tp_btf") if !safe.contains(&name) => [true, false],
                Some("uprobe" | "uretprobe") => [false, true],
                _ => [false, false],
            };
            for (index, bracket) in [TRACEPOINTS, USER_FUNCTIONS].into_iter().enumerate() {
                let expected = expected[index];
                assert_eq!(has(bracket), (expected, expected), "{name}");
                seen[index] += usize::from(expected);
            }
        }
        assert!(seen[0] > 15 && seen[1] > 5, "{seen:?}");
    }
}
