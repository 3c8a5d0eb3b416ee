//! How much stack the programs of the kernel half take, by the object alone.
//!
//! The verifier adds the frames up over each chain of calls, each rounded up to 32
//! bytes, and refuses what is over 512 (`check_max_stack_depth` in
//! kernel/bpf/verifier.c). Since 6.13 x86_64's JIT gives programs a stack of their
//! own and the sum has no limit, so a machine with such a kernel notices nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind, SymbolSection,
};

/// Bytes that a chain of calls may take (`MAX_BPF_STACK`).
const LIMIT: u32 = 512;
/// What each frame is rounded up to; a function without one takes as much.
const ROUND: u32 = 32;

/// A function of the object.
struct Function {
    name: String,
    /// Its place is a program's, not in `.text`.
    is_program: bool,
    /// Bytes below the frame pointer that it uses.
    frame: u32,
    /// The functions that it calls, or hands to a helper, by number.
    calls: BTreeSet<usize>,
}

/// Fails if a chain of calls takes more than the limit; else says which takes
/// the most.
pub fn check(object: &[u8]) -> anyhow::Result<String> {
    let functions = functions(object)?;
    let mut most = (0, Vec::new());
    let mut refused = Vec::new();
    for (index, function) in functions.iter().enumerate() {
        if !function.is_program {
            continue;
        }
        let chain = deepest(&functions, index, &mut Vec::new())?;
        if chain.0 > LIMIT {
            refused.push(described(&functions, &chain));
        }
        if chain.0 > most.0 {
            most = chain;
        }
    }
    if most.1.is_empty() {
        bail!("the kernel object has no program");
    }
    if !refused.is_empty() {
        bail!(
            "kernels before 6.13 would refuse programs that take more than {LIMIT} bytes of stack:\n{}\n\
             put a large frame into a global function that isn't below another large one",
            refused.join("\n")
        );
    }
    Ok(described(&functions, &most))
}

/// The chain of calls from a function on that takes the most stack: its bytes
/// and the functions. `above` are those that led here.
fn deepest(
    functions: &[Function],
    from: usize,
    above: &mut Vec<usize>,
) -> anyhow::Result<(u32, Vec<usize>)> {
    let function = &functions[from];
    if above.contains(&from) {
        bail!("{} calls itself, which no verifier accepts", function.name);
    }
    above.push(from);
    let mut below = (0, Vec::new());
    for call in &function.calls {
        let chain = deepest(functions, *call, above)?;
        if chain.0 > below.0 {
            below = chain;
        }
    }
    above.pop();
    let (bytes, mut chain) = below;
    chain.insert(0, from);
    Ok((bytes + function.frame.max(1).next_multiple_of(ROUND), chain))
}

fn described(functions: &[Function], (bytes, chain): &(u32, Vec<usize>)) -> String {
    let frames: Vec<String> = chain
        .iter()
        .map(|index| format!("{} {}", functions[*index].name, functions[*index].frame))
        .collect();
    format!("{bytes} bytes: {}", frames.join(" → "))
}

/// Where a function of an object is: its section and its first byte there.
type Place = (usize, u64);

fn functions(object: &[u8]) -> anyhow::Result<Vec<Function>> {
    let file = object::File::parse(object).context("the kernel object is not ELF")?;
    let mut places: BTreeMap<Place, (u64, String)> = BTreeMap::new();
    for symbol in file.symbols().filter(|s| s.kind() == SymbolKind::Text) {
        if let SymbolSection::Section(section) = symbol.section()
            && symbol.size() != 0
        {
            let name = symbol.name()?.to_string();
            places.insert((section.0, symbol.address()), (symbol.size(), name));
        }
    }
    let numbers: BTreeMap<Place, usize> = places.keys().copied().zip(0..).collect();
    let mut functions = Vec::new();
    for ((index, address), (size, name)) in &places {
        let section = file.section_by_index(SectionIndex(*index))?;
        let start = *address as usize;
        let code = section
            .data()?
            .get(start..start + *size as usize)
            .with_context(|| format!("{name} lies outside of its section"))?;
        let symbols = relocated(&file, &section)?;
        let Scan { frame, targets } = scan(code);
        let mut calls = BTreeSet::new();
        for target in targets {
            let at = *address + target.at as u64;
            let place = match (symbols.get(&at), target.kind) {
                // What the instruction says is added to the symbol: in
                // instructions behind the next one, or in bytes.
                (Some((of, symbol)), Kind::Call) => {
                    Some((*of, symbol.wrapping_add_signed(8 * (target.value + 1))))
                }
                (Some((of, symbol)), Kind::Address) => {
                    Some((*of, symbol.wrapping_add_signed(target.value)))
                }
                (None, Kind::Call) => {
                    Some((*index, at.wrapping_add_signed(8 * (target.value + 1))))
                }
                (None, Kind::Address) => None,
            };
            match (place.and_then(|place| numbers.get(&place)), target.kind) {
                (Some(number), _) => {
                    calls.insert(*number);
                }
                (None, Kind::Call) => bail!("{name} calls what is no function of the object"),
                // A map or a variable.
                (None, Kind::Address) => {}
            }
        }
        functions.push(Function {
            name: name.clone(),
            is_program: section.name()? != ".text",
            frame,
            calls,
        });
    }
    Ok(functions)
}

/// By the place of an instruction: that of the symbol to which it is relocated.
fn relocated(
    file: &object::File<'_>,
    section: &object::Section<'_, '_>,
) -> anyhow::Result<BTreeMap<u64, Place>> {
    let mut symbols = BTreeMap::new();
    for (at, relocation) in section.relocations() {
        if let RelocationTarget::Symbol(symbol) = relocation.target() {
            let symbol = file.symbol_by_index(symbol)?;
            if let SymbolSection::Section(section) = symbol.section() {
                symbols.insert(at, (section.0, symbol.address()));
            }
        }
    }
    Ok(symbols)
}

/// What the code of a function says.
struct Scan {
    frame: u32,
    targets: Vec<Target>,
}

/// An instruction that may lead to another function.
struct Target {
    /// Its place in the code.
    at: usize,
    kind: Kind,
    /// The number in it.
    value: i64,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Calls a function of the object.
    Call,
    /// Loads an address, which may be a function's.
    Address,
}

/// Reads instructions (Documentation/bpf/standardization/instruction-set.rst).
/// Pointers into the frame are followed in the order of the code: compilers add
/// the offset right behind the copy of the frame pointer.
fn scan(code: &[u8]) -> Scan {
    const LOAD_64: u8 = 0x18;
    const CALL: u8 = 0x85;
    const MOVE: u8 = 0xbf;
    const ADD: u8 = 0x07;
    /// `src` of [`CALL`]: a function of the object; else a helper.
    const OF_OBJECT: usize = 1;
    const FRAME_POINTER: usize = 10;
    let mut frame = 0;
    let mut targets = Vec::new();
    // By register: how far it points from the frame pointer.
    let mut offsets = [None::<i64>; 16];
    offsets[FRAME_POINTER] = Some(0);
    let instructions = code.as_chunks::<8>().0;
    let mut index = 0;
    while let Some([op, registers, o0, o1, i0, i1, i2, i3]) = instructions.get(index).copied() {
        let (to, from) = (usize::from(registers & 15), usize::from(registers >> 4));
        let offset = i64::from(i16::from_le_bytes([o0, o1]));
        let immediate = i64::from(i32::from_le_bytes([i0, i1, i2, i3]));
        let mut reaches = |pointer: Option<i64>| {
            if let Some(below) = pointer.map(i64::wrapping_neg)
                && below > i64::from(frame)
            {
                frame = u32::try_from(below).unwrap_or(u32::MAX);
            }
        };
        let at = 8 * index;
        match (op, op & 7) {
            (LOAD_64, _) => {
                let kind = Kind::Address;
                targets.push(Target {
                    at,
                    kind,
                    value: immediate,
                });
                offsets[to] = None;
                // The upper half follows.
                index += 1;
            }
            (CALL, _) => {
                if from == OF_OBJECT {
                    let kind = Kind::Call;
                    targets.push(Target {
                        at,
                        kind,
                        value: immediate,
                    });
                }
                offsets[..6].fill(None);
            }
            (MOVE, _) => offsets[to] = offsets[from],
            (ADD, _) => {
                offsets[to] = offsets[to].map(|offset| offset + immediate);
                reaches(offsets[to]);
            }
            // Loads.
            (_, 1) => {
                reaches(offsets[from].map(|pointer| pointer + offset));
                offsets[to] = None;
            }
            // Stores.
            (_, 2 | 3) => reaches(offsets[to].map(|pointer| pointer + offset)),
            // Other arithmetic.
            (_, 4 | 7) => offsets[to] = None,
            _ => {}
        }
        index += 1;
    }
    Scan { frame, targets }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instruction: operation, destination, source, offset, number.
    fn instruction(op: u8, to: u8, from: u8, offset: i16, value: i32) -> Vec<u8> {
        let mut bytes = vec![op, to | from << 4];
        bytes.extend(offset.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes
    }

    /// Checks that frames are found by direct accesses and by pointers into them,
    /// and that other pointers don't count.
    #[test]
    fn frames() {
        // *(u64 *)(r10 - 24) = r1
        let stored = instruction(0x7b, 10, 1, -24, 0);
        assert_eq!(scan(&stored).frame, 24);
        // r2 = *(u32 *)(r10 - 4)
        let loaded = instruction(0x61, 2, 10, -4, 0);
        assert_eq!(scan(&loaded).frame, 4);
        // r2 = r10; r2 += -96
        let pointer = [instruction(0xbf, 2, 10, 0, 0), instruction(7, 2, 0, 0, -96)].concat();
        assert_eq!(scan(&pointer).frame, 96);
        // *(u8 *)(r2 - 4) = 0
        let further = [pointer, instruction(0x72, 2, 0, -4, 0)].concat();
        assert_eq!(scan(&further).frame, 100);
        // r1 += -96; *(u64 *)(r1 - 8) = r2
        let other = [instruction(7, 1, 0, 0, -96), instruction(0x7b, 1, 2, -8, 0)].concat();
        assert_eq!(scan(&other).frame, 0);
    }

    /// Checks that calls of the object's functions are told from helpers, and
    /// that a load of 64 bits is one instruction.
    #[test]
    fn calls() {
        let code = [
            instruction(0x18, 1, 0, 0, 0),
            instruction(0x7b, 10, 10, -512, 0),
            instruction(0x85, 0, 0, 0, 5),
            instruction(0x85, 0, 1, 0, -1),
        ]
        .concat();
        let scan = scan(&code);
        assert_eq!(scan.frame, 0);
        let calls: Vec<_> = scan
            .targets
            .iter()
            .map(|target| (target.at, matches!(target.kind, Kind::Call), target.value))
            .collect();
        assert_eq!(calls, [(0, false, 0), (24, true, -1)]);
    }

    /// Checks that the deepest chain is found, frames rounded up, and that a
    /// circle is an error.
    #[test]
    fn chains() {
        let function = |frame, calls: &[usize]| Function {
            name: String::new(),
            is_program: true,
            frame,
            calls: calls.iter().copied().collect(),
        };
        let mut functions = [
            function(100, &[1, 2]),
            function(200, &[]),
            function(0, &[3]),
            function(161, &[]),
        ];
        let chain = |functions: &[Function]| deepest(functions, 0, &mut Vec::new()).ok();
        // Both are as deep: the first counts.
        assert_eq!(chain(&functions), Some((128 + 224, vec![0, 1])));
        functions[3].frame = 193;
        assert_eq!(chain(&functions), Some((128 + 32 + 224, vec![0, 2, 3])));
        functions[3].calls.insert(0);
        assert_eq!(chain(&functions), None);
    }

    /// Checks the committed object: its programs are found with their calls, and
    /// fit.
    #[test]
    fn committed_object() -> anyhow::Result<()> {
        let object = std::fs::read(crate::checkout().join(super::super::OBJECT))?;
        let functions = functions(&object)?;
        let find = |name: &str| functions.iter().position(|f| f.name == name);
        let (walk, step) = (find("unwind_frames"), find("unwind_step"));
        let (walk, step) = (walk.context("unwind_frames")?, step.context("unwind_step")?);
        assert!(functions[walk].calls.contains(&step));
        assert!(functions[step].frame > 64);
        let program = find("cpu_sample").context("cpu_sample")?;
        assert!(functions[program].is_program);
        assert!(functions[program].calls.contains(&walk));
        check(&object)?;
        Ok(())
    }
}
