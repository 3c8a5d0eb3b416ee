//! Checks that recorded states of programs unwind to what was true: registers,
//! stacks and frames that a debugger took from small programs of ours
//! (`tests/corpus/unwind`, where `regenerate.sh` records them anew).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use observer_common::unwind::{
    self, Machine, Outcome, Registers, Rule, SIGNAL, step, step_by_frame_pointer,
};

use super::{Table, build_bytes, testing};

/// DWARF's numbers are the places in this list.
const REGISTERS: [&str; 17] = [
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip",
];

/// Checks a chain of 20 functions without frame pointers, one with `alloca`.
#[test]
fn deep_chain() -> Result<()> {
    replay("chain", 1)
}

/// Checks a function that aligned its stack.
#[test]
fn realigned_stack() -> Result<()> {
    replay("realigned", 1)
}

/// Checks that frame pointers lead through code without a table's row, and that
/// tables go on behind it.
#[test]
fn frame_pointers_between_tables() -> Result<()> {
    replay("mixed", 1)
}

/// Checks a signal handler whose signal came at a function's first instruction,
/// and one within it on another stack.
#[test]
fn signal_handlers() -> Result<()> {
    replay("signal", 2)
}

/// Checks the same where neither `_start` nor the return from signals is
/// described, as with musl.
#[test]
fn undescribed_start_and_signal_return() -> Result<()> {
    replay("bare", 2)
}

/// Checks each instruction of a call through the procedure linkage table.
#[test]
fn linkage_table() -> Result<()> {
    replay("plt", 4)
}

/// Checks that all inputs which fuzzing found worth keeping are read without a
/// panic, and that what comes of them is well-formed.
#[test]
fn fuzzed_inputs() -> Result<()> {
    let inputs = |folder: &str| -> Result<Vec<Vec<u8>>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let paths = files.map(|file| Ok(file?.path()));
        let paths: Vec<_> = paths.collect::<Result<_>>()?;
        let files = paths.iter().filter(|path| path.is_file());
        let inputs: Vec<_> = files.map(std::fs::read).collect::<Result<_, _>>()?;
        ensure!(!inputs.is_empty(), "{} is empty", folder.display());
        Ok(inputs)
    };
    let mut elfs = inputs("../fuzz/corpus/unwind_elf")?;
    elfs.extend(inputs("../tests/corpus/unwind")?);
    let frames = inputs("../fuzz/corpus/unwind_frames")?;
    elfs.extend(frames.iter().map(|frames| testing::elf_around(frames)));
    for elf in elfs {
        if let Ok(Some(table)) = build_bytes(&elf) {
            testing::check(&table);
        }
    }
    Ok(())
}

/// Checks that a file which ends anywhere has a table, none, or an error.
#[test]
fn truncated_files() -> Result<()> {
    let whole = std::fs::read(corpus().join("signal.elf"))?;
    let results: Vec<_> = (0..=whole.len())
        .map(|end| build_bytes(&whole[..end]))
        .collect();
    ensure!(results[0].is_err(), "nothing is no ELF file");
    for table in results.iter().flatten().flatten() {
        testing::check(table);
    }
    ensure!(
        matches!(results.last(), Some(Ok(Some(_)))),
        "the whole has one"
    );
    Ok(())
}

/// A recorded state.
struct Snapshot {
    registers: [u64; 17],
    /// Whether the registers are still those of the innermost frame.
    innermost: bool,
    memory: BTreeMap<u64, Vec<u8>>,
    /// Address ranges of the program's own code.
    code: Vec<std::ops::Range<u64>>,
    /// The frames' addresses and functions, innermost first.
    frames: Vec<(u64, String)>,
}

impl Machine for Snapshot {
    fn read(&mut self, address: u64) -> Option<u64> {
        let (start, bytes) = self.memory.range(..=address).next_back()?;
        let at = usize::try_from(address - start).ok()?;
        let word = bytes.get(at..at + 8)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    }

    fn register(&mut self, number: u8) -> Option<u64> {
        let value = self.registers.get(usize::from(number)).copied();
        value.filter(|_| self.innermost)
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/unwind")
}

/// Replays all snapshots of a program, of which there are so many.
fn replay(program: &str, count: usize) -> Result<()> {
    let elf = std::fs::read(corpus().join(format!("{program}.elf")))?;
    let table = build_bytes(&elf)?.context("the program has no table")?;
    for number in 0..count {
        let name = format!("{program}-{number}.snapshot");
        let text = std::fs::read_to_string(corpus().join(&name))?;
        let snapshot = parse(&text, program).context(name.clone())?;
        let truth = snapshot.frames.clone();
        let (frames, outcome) = walk(snapshot, &table);
        let names: HashMap<_, _> = truth.iter().cloned().collect();
        let named: Vec<_> = frames.iter().map(|pc| (pc, names.get(pc))).collect();
        let true_frames: Vec<_> = truth.iter().map(|(pc, _)| *pc).collect();
        ensure!(
            frames == true_frames,
            "{name}: {outcome:?} after {named:x?}, but true is {truth:x?}"
        );
        ensure!(outcome == Outcome::Complete, "{name}: {outcome:?}");
        let outermost = truth.last().map(|(_, name)| name.as_str());
        ensure!(
            outermost == Some("_start"),
            "{name} starts at {outermost:?}"
        );
    }
    Ok(())
}

/// Walks a stack as the kernel half does: by table, and by frame pointers where
/// the table knows nothing.
fn walk(mut state: Snapshot, table: &Table) -> (Vec<u64>, Outcome) {
    let mut at = Registers {
        pc: state.registers[16],
        sp: state.registers[7],
        fp: state.registers[6],
        lr: 0,
    };
    let mut frames = Vec::new();
    // An address is one behind a call, except in the frame that a signal (or
    // the recorder) interrupted.
    let mut interrupted = true;
    for _ in 0..unwind::MAX_USER_FRAMES {
        frames.push(at.pc);
        let pc = at.pc - u64::from(!interrupted);
        let known = state.code.iter().any(|code| code.contains(&pc));
        let rule = if known { rule(table, pc) } else { None };
        interrupted = rule.is_some_and(|rule| rule.flags & SIGNAL != 0);
        let next = match rule.map(|rule| step(&rule, &at, &mut state)) {
            None | Some(Err(Outcome::NoRow)) => step_by_frame_pointer(&at, &mut state),
            Some(next) => next,
        };
        state.innermost = false;
        match next {
            Ok(caller) => at = caller,
            Err(outcome) => return (frames, outcome),
        }
    }
    (frames, Outcome::Truncated)
}

fn rule(table: &Table, address: u64) -> Option<Rule> {
    let relative = u32::try_from(address.checked_sub(table.base)?).ok()?;
    let word = |at: u32| table.words.get(at as usize).copied();
    let at = unwind::search(relative, word)? as usize;
    let words = table.words.get(at..at + Rule::WORDS as usize)?;
    Some(Rule::from_words(words.try_into().ok()?))
}

fn parse(text: &str, program: &str) -> Result<Snapshot> {
    let mut snapshot = Snapshot {
        registers: [0; 17],
        innermost: true,
        memory: BTreeMap::new(),
        code: Vec::new(),
        frames: Vec::new(),
    };
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let hex = |text: &str| u64::from_str_radix(text, 16);
        match words[..] {
            ["register", name, value] => {
                let number = REGISTERS.iter().position(|known| *known == name);
                snapshot.registers[number.context("register")?] = hex(value)?;
            }
            ["mapping", start, end, _, file] => {
                if file == format!("{program}.elf") {
                    snapshot.code.push(hex(start)?..hex(end)?);
                }
            }
            ["memory", start, bytes] => {
                let pairs = bytes.as_bytes().chunks(2).map(|pair| {
                    let pair = std::str::from_utf8(pair)?;
                    Ok(u8::from_str_radix(pair, 16)?)
                });
                let bytes = pairs.collect::<Result<_>>()?;
                snapshot.memory.insert(hex(start)?, bytes);
            }
            ["frame", pc, name] => snapshot.frames.push((hex(pc)?, name.to_owned())),
            _ => anyhow::bail!("unknown line {line:?}"),
        }
    }
    Ok(snapshot)
}
