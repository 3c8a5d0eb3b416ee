//! Tests of single steps, on stacks of a few words.

use super::*;

/// Memory of words, and registers of the innermost frame. Addresses have 48 bits.
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

    fn return_address(&self, word: u64) -> u64 {
        word & ((1 << 48) - 1)
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

/// Checks a signal's frame of arm64: the link register of the interrupted function is
/// known, so that the one after it is its caller; without it the next would be wrong.
#[test]
fn signal_frame_with_link_register() {
    // `struct rt_sigframe`: sp at 560, pc at 568, x29 and x30 at 544.
    let rule = Rule {
        cfa: cfa::DEREFERENCE,
        register: SP,
        places: Rule::places(place::AT_SP, place::AT_SP),
        flags: SIGNAL | LINK,
        cfa_offset: 560,
        ra_offset: 568,
        fp_offset: 544,
    };
    let words = &[
        (0x1000 + 560, 0x800),
        (0x1000 + 568, 0x40_3000),
        (0x1000 + 544, 0x99),
        (0x1000 + 552, 0x40_4000),
    ];
    let interrupted = Registers {
        pc: 0x40_3000,
        sp: 0x800,
        fp: 0x99,
        lr: 0x40_4000,
    };
    assert_eq!(stepped(rule, words), Ok(interrupted));
    assert_eq!(stepped(rule, &words[..3]), Err(Outcome::ReadFault));
}

/// Checks that a function that isn't the innermost can't have its return address in a
/// register, where another call's is.
#[test]
fn link_register_of_others() {
    let rule = Rule {
        cfa_offset: 16,
        places: Rule::places(place::SAME, place::SAME),
        ..USUAL
    };
    assert_eq!(stepped(rule, &[]), Err(Outcome::BadRule));
}

/// Checks that a signed return address is stripped before it is looked at, also one that
/// is nothing but a signature.
#[test]
fn signed_return_addresses() {
    let signed = &[(0x1018, 0x2a_0000_0040_2000), (0x1010, 0x77)];
    let caller = stepped(USUAL, signed);
    assert_eq!(caller.map(|caller| caller.pc), Ok(0x40_2000));
    let nobody = &[(0x1018, 0x2a_0000_0000_0000), (0x1010, 0x77)];
    assert_eq!(stepped(USUAL, nobody), Err(Outcome::Complete));
    let words = &[(0x1040, 0x1080), (0x1048, 0x2a_0000_0040_2000)];
    let mut stack = Stack {
        words,
        registers: &[],
    };
    let caller = step_by_frame_pointer(&AT, &mut stack);
    assert_eq!(caller.map(|caller| caller.pc), Ok(0x40_2000));
}

/// Checks that no frame is computed from a stack pointer that isn't known, and that one
/// computed from the frame pointer makes it known again.
#[test]
fn lower_bounds_are_no_stack_pointers() {
    let at = Registers {
        sp: AT.sp | AT_LEAST,
        ..AT
    };
    let words = &[(0x1050, 0x1080), (0x1058, 0x40_2000)];
    let mut stack = Stack {
        words,
        registers: &[],
    };
    assert_eq!(step(&USUAL, &at, &mut stack), Err(Outcome::NoRow));
    let rule = Rule {
        register: FP,
        cfa_offset: 0x20,
        ..USUAL
    };
    let caller = Registers {
        pc: 0x40_2000,
        sp: 0x1060,
        fp: 0x1080,
        lr: 0,
    };
    assert_eq!(step(&rule, &at, &mut stack), Ok(caller));
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
