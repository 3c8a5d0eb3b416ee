//! Unwinding tables: how they lie in memory, how a row is found, how one frame
//! leads to its caller.
//!
//! The daemon compiles a file's `.eh_frame` into one table; the kernel half
//! walks stacks with it. Everything here is pure, so that it runs in the kernel
//! and in host tests alike.
//!
//! # Layout of a table
//!
//! A table is an array of 32-bit words, cut into [`Chunk`]s because a BPF array
//! has values of one size. Code addresses are relative to the table's base (the
//! file's lowest executable address, rounded down to a page), so
//! that a row is one word: the low 16 bits of the address and the number of a
//! rule. Files have millions of rows but only hundreds of different rules.
//!
//! | words | |
//! |---|---|
//! | [`HEADER_WORDS`] | pages, first word of the rows, first word of the rules, number of rules |
//! | pages + 1 | for each page of code, its first row; at last, how many rows there are |
//! | rows | low half of the address << 16 \| rule; sorted within a page; every page begins with a row for its first address |
//! | rules | [`Rule::WORDS`] each, at a multiple of that |

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Bits of an address within a page of code. Small pages: the index of pages
/// costs a thousandth of the code, and saves half of a search's steps.
pub const PAGE_SHIFT: u32 = 12;
/// Words of a chunk: 4 KiB.
pub const CHUNK_WORDS: usize = 1 << CHUNK_SHIFT;
/// Bits of a word's number within its chunk.
pub const CHUNK_SHIFT: u32 = 10;
/// The unit in which tables are handed to the kernel.
pub type Chunk = [u32; CHUNK_WORDS];
/// Words before the page index.
pub const HEADER_WORDS: u32 = 4;
/// Rules of one table at most, as a row has 16 bits for it.
pub const MAX_RULES: usize = 1 << 16;
/// Steps of a search: a page has at most as many rows as addresses.
pub const SEARCH_STEPS: u32 = PAGE_SHIFT;

/// Frames walked at most in a process.
pub const MAX_USER_FRAMES: usize = crate::cpu::MAX_FRAMES;

/// How the canonical frame address (the caller's stack pointer) is found.
pub mod cfa {
    /// Nothing is known about this code.
    pub const UNKNOWN: u8 = 0;
    /// This is the outermost frame: the return address is undefined.
    pub const END: u8 = 1;
    /// Register + offset.
    pub const REGISTER: u8 = 2;
    /// The word at register + offset, + 8 times [`super::Rule::parameter`].
    pub const DEREFERENCE: u8 = 3;
    /// Stack pointer + offset, + 8 when the low 4 bits of the address reach
    /// [`super::Rule::parameter`]: the expression of x86_64's PLT.
    pub const PLT: u8 = 4;
    /// A rule that this table can't express.
    pub const UNSUPPORTED: u8 = 5;
}

/// Where the caller's value of a register is.
pub mod place {
    /// In the register itself. For the return address: in the link register.
    pub const SAME: u8 = 0;
    /// At CFA + offset.
    pub const AT_CFA: u8 = 1;
    /// At stack pointer + offset (signal frames).
    pub const AT_SP: u8 = 2;
    /// At frame pointer + offset (frames with a realigned stack).
    pub const AT_FP: u8 = 3;
    /// In the register whose DWARF number the offset is, known in the innermost
    /// frame only. Return addresses only (glibc's `vfork`, while it has no stack
    /// of its own).
    pub const REGISTER: u8 = 4;
}

/// [`Rule::register`]: the stack pointer.
pub const SP: u8 = 0xf0;
/// [`Rule::register`]: the frame pointer. Other values are DWARF numbers, known
/// in the innermost frame only.
pub const FP: u8 = 0xf1;

/// [`Rule::flags`]: a signal's frame, so the caller's address is not one behind
/// a call.
pub const SIGNAL: u8 = 1;
/// [`Rule::flags`]: the function runs on another stack than its caller, which
/// may lie anywhere.
pub const OTHER_STACK: u8 = 2;

/// How to get from a frame to its caller.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes)]
pub struct Rule {
    /// One of [`cfa`].
    pub cfa: u8,
    /// Base register of the CFA: [`SP`], [`FP`] or a DWARF number.
    pub register: u8,
    /// [`place`] of the return address (bits 0..4) and of the frame pointer
    /// (bits 4..8).
    pub places: u8,
    /// [`SIGNAL`], [`OTHER_STACK`]; for [`cfa::PLT`] and [`cfa::DEREFERENCE`] the parameter in
    /// bits 4..8.
    pub flags: u8,
    /// Offset of the CFA in bytes.
    pub cfa_offset: i32,
    /// Offset of the return address.
    pub ra_offset: i32,
    /// Offset of the saved frame pointer.
    pub fp_offset: i32,
}

impl Rule {
    /// Words that a rule takes in a table.
    pub const WORDS: u32 = 4;

    /// [`place`] of the return address.
    #[inline(always)]
    pub const fn ra(&self) -> u8 {
        self.places & 0xf
    }

    /// [`place`] of the frame pointer.
    #[inline(always)]
    pub const fn fp(&self) -> u8 {
        self.places >> 4
    }

    /// Value for [`Self::places`].
    pub const fn places(ra: u8, fp: u8) -> u8 {
        ra | fp << 4
    }

    /// For [`cfa::PLT`]: from which low 4 bits of the address a word more lies
    /// on the stack. For [`cfa::DEREFERENCE`]: how many words the frame lies
    /// above the address that is read.
    #[inline(always)]
    pub const fn parameter(&self) -> u8 {
        self.flags >> 4
    }

    /// As the words of a table.
    pub const fn to_words(self) -> [u32; 4] {
        [
            self.cfa as u32
                | (self.register as u32) << 8
                | (self.places as u32) << 16
                | (self.flags as u32) << 24,
            self.cfa_offset as u32,
            self.ra_offset as u32,
            self.fp_offset as u32,
        ]
    }

    /// From the words of a table.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self {
            cfa: words[0] as u8,
            register: (words[0] >> 8) as u8,
            places: (words[0] >> 16) as u8,
            flags: (words[0] >> 24) as u8,
            cfa_offset: words[1] as i32,
            ra_offset: words[2] as i32,
            fp_offset: words[3] as i32,
        }
    }
}

/// What unwinding a stack came to; the discriminant travels with each sample.
macro_rules! outcomes {
    ($($(#[$attribute:meta])* $variant:ident = $number:literal, $name:literal, $meaning:literal;)*) => {
        /// What became of unwinding one sample's user stack.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Outcome { $(#[doc = $meaning] $(#[$attribute])* $variant = $number,)* }

        impl Outcome {
            /// All outcomes.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$variant,)*];

            /// The name, as in metrics and summaries.
            pub const fn name(self) -> &'static str {
                match self { $(Outcome::$variant => $name,)* }
            }

            /// What it means, as a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Outcome::$variant => $meaning,)* }
            }

            /// The outcome with this number.
            pub const fn from_number(number: u8) -> Option<Outcome> {
                match number { $($number => Some(Outcome::$variant),)* _ => None }
            }
        }
    };
}

outcomes! {
    #[default] Complete = 0, "complete", "The stack was walked to its outermost frame.";
    NoUser = 1, "no_user_stack", "A kernel thread, or one that has given up its memory at its end: there is no user stack.";
    Truncated = 2, "truncated", "The stack has more frames than are walked.";
    NoProcess = 3, "no_process", "The process was so new that its mappings were not known yet; walked by frame pointers.";
    NoMapping = 4, "no_mapping", "A frame's address is in no known executable mapping.";
    NoTable = 5, "no_table", "A file's unwinding table was not there yet, or was evicted; walked by frame pointers.";
    NoRow = 6, "no_row", "Code without unwinding information, and its frame pointers led nowhere.";
    BadRule = 7, "bad_rule", "The unwinding information uses a rule that tables can't express.";
    BadFrame = 8, "bad_frame", "A frame did not lie above the one that it called.";
    ReadFault = 9, "read_fault", "The stack's memory could not be read.";
    ForeignAbi = 10, "foreign_abi", "A 32-bit process, whose stacks are walked by frame pointers only.";
    NotWalked = 11, "not_walked", "The user stack was not walked: the thread left the place before it could be.";
}

impl Outcome {
    /// Whether the stack is whole: nothing above its last frame is missing.
    #[inline(always)]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Complete | Self::NoUser)
    }
}

/// [`Mapping::table`]: memory without a file (code made at run time).
pub const TABLE_NONE: u32 = u32::MAX;
/// [`Mapping::table`]: not built yet, evicted, or it couldn't be built.
pub const TABLE_ABSENT: u32 = u32::MAX - 1;
/// [`Mapping::table`]: the file was read and has no unwinding information.
pub const TABLE_EMPTY: u32 = u32::MAX - 2;

/// Tables at once.
pub const TABLES: u32 = 1 << TABLE_BITS;
const TABLE_BITS: u32 = 13;
/// How often a table's place can be used again before its names repeat.
const GENERATIONS: u32 = 1 << 18;

/// The name of the table at `index`: places are used again, names (almost) never,
/// so that whoever remembers a table's rows can tell whether they are still
/// true. Never one of `TABLE_*`.
pub const fn table(index: u32, generation: u32) -> u32 {
    (generation % GENERATIONS) << TABLE_BITS | index
}

/// The place of the table called `table`.
#[inline(always)]
pub const fn table_index(table: u32) -> u32 {
    table & (TABLES - 1)
}

/// Places of the memory of recent rules, per CPU; a power of two.
pub const RECENT_RULES: usize = 512;

/// A rule that was found lately: the same callers are on most stacks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Recent {
    /// The table's name and the address relative to its base; 0 = nothing.
    pub key: u64,
    /// The rule.
    pub rule: Rule,
}

impl Recent {
    /// The key of an address in a table: odd, so never 0.
    #[inline(always)]
    pub const fn key(table: u32, address: u32) -> u64 {
        (table as u64) << 33 | (address as u64) << 1 | 1
    }

    /// Where a key is remembered.
    #[inline(always)]
    pub const fn place(key: u64) -> usize {
        // An odd multiplier (splitmix64's) spreads neighbours.
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize & (RECENT_RULES - 1)
    }
}
/// Default number of mapping entries (32 bytes each).
pub const MAPPINGS: u32 = 128 * 1024;
/// Processes whose mappings are known to the kernel half at once.
pub const PROCESSES: u32 = 32 * 1024;
/// Bytes of the ring of [`Request`]s.
pub const REQUEST_RING_BYTES: u32 = 64 * 1024;
/// Steps of the search among the mappings of a process.
pub const MAPPING_STEPS: u32 = 14;

/// One executable mapping of a program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// What to subtract from an address to get one relative to the table.
    pub base: u64,
    /// A table by [`table`], or one of `TABLE_*`.
    pub table: u32,
    /// Number of the list that the entry belongs to; see [`Process::list`].
    pub list: u32,
}

/// The mappings of a process: a run of entries in the array of [`Mapping`]s.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Process {
    /// First entry.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// Number of the list. Each list has another, so an entry that was reused
    /// meanwhile is noticed. 0: nothing is known, but it was asked for.
    pub list: u32,
    /// When it was asked for last: `bpf_ktime_get_ns() >> ASK_SHIFT`.
    pub asked: u32,
}

/// [`Process::asked`] counts units of 2^24 ns (17 ms): a process is asked for
/// at most once in each.
pub const ASK_SHIFT: u32 = 24;

/// The kernel half wants to know about a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Request {
    /// The process.
    pub tgid: u32,
    /// An [`Outcome`]: `NoProcess`, `NoMapping` or `NoTable`.
    pub reason: u32,
    /// The address that could not be resolved.
    pub address: u64,
}

/// Registers that matter in every frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Registers {
    /// Program counter.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Link register, where the machine has one; else 0.
    pub lr: u64,
}

/// What a step needs from outside.
pub trait Machine {
    /// The word at an address of the process.
    fn read(&mut self, address: u64) -> Option<u64>;

    /// A register of the innermost frame by DWARF number; `None` in others.
    fn register(&mut self, number: u8) -> Option<u64>;
}

/// Finds the rule for `address` (relative to the table's base): its index in
/// the table's words. `word` reads a word of the table.
#[inline(always)]
pub fn search(address: u32, mut word: impl FnMut(u32) -> Option<u32>) -> Option<u32> {
    let page = address >> PAGE_SHIFT;
    let pages = word(0)?;
    if page >= pages {
        return None;
    }
    let rows = word(1)?;
    let rules = word(2)?;
    let mut low = word(HEADER_WORDS + page)?;
    let mut high = word(HEADER_WORDS + page + 1)?;
    // Invariant: the row at `low` is not behind the address.
    let wanted = address & 0xffff;
    for _ in 0..SEARCH_STEPS {
        if high.wrapping_sub(low) <= 1 {
            break;
        }
        let middle = low + ((high - low) >> 1);
        if word(rows + middle)? >> 16 <= wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    let rule = word(rows + low)? & 0xffff;
    Some(rules + rule * Rule::WORDS)
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
    let offset = rule.cfa_offset as i64 as u64;
    let mut frame = match rule.cfa {
        cfa::UNKNOWN => return Err(Outcome::NoRow),
        cfa::END => return Err(Outcome::Complete),
        cfa::REGISTER | cfa::DEREFERENCE => {
            let base = match rule.register {
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
    if rule.cfa == cfa::DEREFERENCE {
        frame = match machine.read(frame) {
            Some(value) => value.wrapping_add(8 * u64::from(rule.parameter())),
            None => return Err(Outcome::ReadFault),
        };
    }
    let ra_offset = rule.ra_offset as i64 as u64;
    let pc_at = match rule.ra() {
        place::AT_CFA => frame.wrapping_add(ra_offset),
        place::AT_SP => at.sp.wrapping_add(ra_offset),
        place::AT_FP => at.fp.wrapping_add(ra_offset),
        _ => 0,
    };
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
    } else {
        at.lr
    };
    let fp_offset = rule.fp_offset as i64 as u64;
    let fp_at = match rule.fp() {
        place::AT_CFA => frame.wrapping_add(fp_offset),
        place::AT_SP => at.sp.wrapping_add(fp_offset),
        place::AT_FP => at.fp.wrapping_add(fp_offset),
        _ => 0,
    };
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
    // Any caller on the same stack lies above; signals may have another.
    let above = frame > at.sp || (pc_at == 0 && frame == at.sp);
    if rule.flags & (SIGNAL | OTHER_STACK) == 0 && !above {
        return Err(Outcome::BadFrame);
    }
    Ok(Registers {
        pc,
        sp: frame,
        fp,
        lr: 0,
    })
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
mod tests {
    use super::*;

    /// Memory of words, and registers of the innermost frame.
    struct Stack<'a> {
        words: &'a [(u64, u64)],
        registers: &'a [(u8, u64)],
    }

    impl Machine for Stack<'_> {
        fn read(&mut self, address: u64) -> Option<u64> {
            let word = self.words.iter().find(|(at, _)| *at == address);
            word.map(|(_, word)| *word)
        }

        fn register(&mut self, number: u8) -> Option<u64> {
            let register = self.registers.iter().find(|(known, _)| *known == number);
            register.map(|(_, value)| *value)
        }
    }

    const AT: Registers = Registers {
        pc: 0x40_100a,
        sp: 0x1000,
        fp: 0x1040,
        lr: 0,
    };

    /// Return address below the CFA, frame pointer below that.
    const USUAL: Rule = Rule {
        cfa: cfa::REGISTER,
        register: SP,
        places: Rule::places(place::AT_CFA, place::AT_CFA),
        flags: 0,
        cfa_offset: 32,
        ra_offset: -8,
        fp_offset: -16,
    };

    fn stepped(rule: Rule, words: &[(u64, u64)]) -> Result<Registers, Outcome> {
        let registers = &[(10, 0x1080)];
        step(&rule, &AT, &mut Stack { words, registers })
    }

    /// Checks that rules survive being written as words.
    #[test]
    fn rules_are_words() {
        let rule = Rule {
            flags: SIGNAL | 11 << 4,
            ..USUAL
        };
        assert_eq!(Rule::from_words(rule.to_words()), rule);
        assert_eq!((rule.ra(), rule.fp()), (place::AT_CFA, place::AT_CFA));
        assert_eq!(rule.parameter(), 11);
    }

    /// Checks that each address finds the row that it lies in, in a table of
    /// three pages of which the middle one has no row of its own.
    #[test]
    fn rows_are_found() {
        const PAGE: u32 = 1 << PAGE_SHIFT;
        let row = |address: u32, rule: u32| address << 16 | rule;
        let mut words = [0; 64];
        words[..4].copy_from_slice(&[3, 8, 16, 4]);
        words[4..8].copy_from_slice(&[0, 3, 4, 6]);
        words[8..14].copy_from_slice(&[
            row(0, 0),
            row(0x10, 1),
            row(0x20, 2),
            row(PAGE, 2),
            row(2 * PAGE, 2),
            row(2 * PAGE + 5, 3),
        ]);
        let find = |address| {
            let at = search(address, |at| words.get(at as usize).copied())?;
            Some((at - 16) / Rule::WORDS)
        };
        for (address, rule) in [
            (0, 0),
            (0xf, 0),
            (0x10, 1),
            (0x1f, 1),
            (0x20, 2),
            (PAGE - 1, 2),
            (PAGE, 2),
            (2 * PAGE - 1, 2),
            (2 * PAGE + 4, 2),
            (2 * PAGE + 5, 3),
            (3 * PAGE - 1, 3),
        ] {
            assert_eq!(find(address), Some(rule), "{address:#x}");
        }
        assert_eq!(find(3 * PAGE), None);
        assert_eq!(find(u32::MAX), None);
        // A table that ends early has no row, and nothing else happens.
        assert_eq!(
            search(0x10, |at| (at < 9).then_some(words[at as usize])),
            None
        );
    }

    /// Checks the ways to find a frame: by each register, through memory, in the
    /// PLT before and after its push.
    #[test]
    fn frames() {
        let words = &[(0x1018, 0x40_2000), (0x1010, 0x77)];
        let caller = Registers {
            pc: 0x40_2000,
            sp: 0x1020,
            fp: 0x77,
            lr: 0,
        };
        assert_eq!(stepped(USUAL, words), Ok(caller));
        let by_fp = Rule {
            register: FP,
            cfa_offset: -0x20,
            ..USUAL
        };
        assert_eq!(stepped(by_fp, words), Ok(caller));
        let by_r10 = Rule {
            register: 10,
            cfa_offset: -0x60,
            ..USUAL
        };
        assert_eq!(stepped(by_r10, words), Ok(caller));
        let by_rbx = Rule {
            register: 3,
            ..USUAL
        };
        assert_eq!(stepped(by_rbx, words), Err(Outcome::BadRule));
        let through_memory = Rule {
            cfa: cfa::DEREFERENCE,
            register: FP,
            cfa_offset: -8,
            flags: 1 << 4,
            ..USUAL
        };
        let pointer = &[(0x1038, 0x1018), (0x1018, 0x40_2000), (0x1010, 0x77)];
        assert_eq!(stepped(through_memory, pointer), Ok(caller));
        assert_eq!(stepped(through_memory, words), Err(Outcome::ReadFault));
        for (parameter, sp) in [(10, 0x1020), (11, 0x1018)] {
            let plt = Rule {
                cfa: cfa::PLT,
                places: Rule::places(place::AT_CFA, place::SAME),
                flags: parameter << 4,
                cfa_offset: 24,
                ..USUAL
            };
            let words = &[(sp - 8, 0x40_2000)];
            let caller = stepped(plt, words).map(|caller| (caller.pc, caller.sp));
            assert_eq!(caller, Ok((0x40_2000, sp)), "{parameter}");
        }
    }

    /// Checks where a walk ends, and that a caller's frame lies above unless the
    /// rule allows another stack.
    #[test]
    fn ends() {
        let only = |cfa| Rule {
            cfa,
            ..Rule::default()
        };
        assert_eq!(stepped(only(cfa::UNKNOWN), &[]), Err(Outcome::NoRow));
        assert_eq!(stepped(only(cfa::END), &[]), Err(Outcome::Complete));
        assert_eq!(stepped(only(cfa::UNSUPPORTED), &[]), Err(Outcome::BadRule));
        assert_eq!(stepped(USUAL, &[]), Err(Outcome::ReadFault));
        let zero = &[(0x1018, 0), (0x1010, 0)];
        assert_eq!(stepped(USUAL, zero), Err(Outcome::Complete));
        let below = Rule {
            cfa_offset: 0,
            ..USUAL
        };
        let words = &[(0xff8, 0x40_2000), (0xff0, 0x77)];
        assert_eq!(stepped(below, words), Err(Outcome::BadFrame));
        for flags in [SIGNAL, OTHER_STACK] {
            let caller = stepped(Rule { flags, ..below }, words);
            assert_eq!(caller.map(|caller| caller.sp), Ok(0x1000));
        }
    }

    /// Checks a signal's frame: everything is at the stack pointer.
    #[test]
    fn signal_frame() {
        let rule = Rule {
            cfa: cfa::DEREFERENCE,
            register: SP,
            places: Rule::places(place::AT_SP, place::AT_SP),
            flags: SIGNAL,
            cfa_offset: 160,
            ra_offset: 168,
            fp_offset: 120,
        };
        let words = &[(0x10a0, 0x800), (0x10a8, 0x40_3000), (0x1078, 0x99)];
        let interrupted = Registers {
            pc: 0x40_3000,
            sp: 0x800,
            fp: 0x99,
            lr: 0,
        };
        assert_eq!(stepped(rule, words), Ok(interrupted));
    }

    /// Checks that a return address in the link register is taken from there.
    #[test]
    fn link_register() {
        let rule = Rule {
            cfa_offset: 0,
            places: Rule::places(place::SAME, place::SAME),
            ..USUAL
        };
        let at = Registers { lr: 0x5000, ..AT };
        let mut stack = Stack {
            words: &[],
            registers: &[],
        };
        let caller = Registers {
            pc: 0x5000,
            sp: AT.sp,
            fp: AT.fp,
            lr: 0,
        };
        assert_eq!(step(&rule, &at, &mut stack), Ok(caller));
    }

    /// Checks that a return address in a general register is taken from there in
    /// the innermost frame, and is a rule that can't be followed in others.
    #[test]
    fn return_register() {
        let rule = Rule {
            cfa_offset: 0,
            places: Rule::places(place::REGISTER, place::SAME),
            ra_offset: 10,
            ..USUAL
        };
        let caller = Registers { pc: 0x1080, ..AT };
        assert_eq!(stepped(rule, &[]), Ok(caller));
        let rule = Rule {
            ra_offset: 5,
            ..rule
        };
        assert_eq!(stepped(rule, &[]), Err(Outcome::BadRule));
    }

    /// Checks steps by frame pointers: a caller, the outermost frame, and what
    /// can't be a frame pointer.
    #[test]
    fn frame_pointers() {
        let by_fp = |fp: u64, words: &[(u64, u64)]| {
            let mut stack = Stack {
                words,
                registers: &[],
            };
            step_by_frame_pointer(&Registers { fp, ..AT }, &mut stack)
        };
        let words = &[(0x1040, 0x1080), (0x1048, 0x40_2000)];
        let caller = Registers {
            pc: 0x40_2000,
            sp: 0x1050,
            fp: 0x1080,
            lr: 0,
        };
        assert_eq!(by_fp(0x1040, words), Ok(caller));
        assert_eq!(by_fp(0, words), Err(Outcome::Complete));
        assert_eq!(by_fp(0xff8, words), Err(Outcome::NoRow));
        assert_eq!(by_fp(0x1041, words), Err(Outcome::NoRow));
        assert_eq!(by_fp(0x1060, words), Err(Outcome::ReadFault));
    }
}
