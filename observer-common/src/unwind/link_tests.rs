//! Tests of the link register, on code of a few instructions.

use super::*;

/// Instructions by address.
struct Code<'a>(&'a [(u64, u32)]);

impl Machine for Code<'_> {
    fn read(&mut self, address: u64) -> Option<u64> {
        let at = |address| self.0.iter().find(|(known, _)| *known == address);
        let low = u64::from(at(address)?.1);
        let high = at(address + 4).map_or(0, |(_, word)| u64::from(*word));
        Some(low | high << 32)
    }

    fn register(&mut self, _: u8) -> Option<u64> {
        None
    }

    fn return_address(&self, word: u64) -> u64 {
        word & ((1 << 48) - 1)
    }
}

const MAPPING: Mapping = Mapping {
    start: 0x40_0000,
    end: 0x41_0000,
    base: 0,
    table: 0,
    list: 0,
};

/// What the frame pointer's record has.
const SAVED: u64 = 0x40_8000;

/// As GNU `as` assembles them.
const ADD: u32 = 0x8b01_0000; // add x0, x0, x1
const BLR: u32 = 0xd63f_0260; // blr x19
const BLRAA: u32 = 0xd73f_0a7f; // blraa x19, sp
const PUSH: u32 = 0xa9bd_7bfd; // stp x29, x30, [sp, #-48]!
const BTI_C: u32 = 0xd503_245f;
const ADRP_X16: u32 = 0xb000_0090; // adrp x16, …
const B: u32 = 0x1400_0004; // b .+16

/// `bl` from one address to another.
fn bl(from: u64, to: u64) -> u32 {
    let words = (to.wrapping_sub(from) as i64 / 4) as u32;
    0b10_0101 << 26 | words & 0x3ff_ffff
}

/// Code at `pc` with a link register that points behind a call.
fn found(pc: u64, call_at: u64, code: &[(u64, u32)]) -> Link {
    let at = Registers {
        pc,
        lr: call_at + 4,
        ..Registers::default()
    };
    link(&at, SAVED, &MAPPING, &mut Code(code))
}

/// Checks that what isn't behind a call, or is what the record has (signed or not), says
/// nothing, and that code which can't be read is unknown.
#[test]
fn no_call() {
    let code = &[(0x40_2000, ADD), (SAVED - 4, BLR)];
    assert_eq!(found(0x40_1000, 0x40_2000, code), Link::Saved);
    assert_eq!(found(0x40_1000, SAVED - 4, code), Link::Saved);
    let signed = (0x2a << 48) + SAVED - 4;
    assert_eq!(found(0x40_1000, signed, code), Link::Saved);
    assert_eq!(found(0x40_1000, 0x40_2002, code), Link::Saved);
    assert_eq!(found(0x40_1000, 0x40_3000, code), Link::Unknown);
}

/// Checks that a call in another mapping was the call of this function, unless its own
/// mapping isn't known.
#[test]
fn another_mapping() {
    for call in [BLR, BLRAA, bl(0x7000_0000, 0x40_1000)] {
        let code = &[(0x7000_0000, call), (0x40_1000, ADD)];
        assert_eq!(found(0x40_1010, 0x7000_0000, code), Link::Live);
    }
    let code = &[(0x7000_0000, BLR)];
    assert_eq!(found(0x50_0000, 0x7000_0000, code), Link::Unknown);
}

/// Checks calls in the same mapping: what they call, and where that lies.
#[test]
fn same_mapping() {
    let (low, middle, high) = (0x40_1000, 0x40_2000, 0x40_3000);
    let direct = |call_at, callee, first, pc| {
        let code = &[(call_at, bl(call_at, callee)), (callee, first)];
        found(pc, call_at, code)
    };
    // A caller before its callee.
    assert_eq!(direct(low, middle, ADD, middle + 16), Link::Live);
    // Somewhere before the callee: the call is the function's own.
    assert_eq!(direct(low, high, ADD, middle), Link::Saved);
    assert_eq!(direct(middle, high, ADD, low), Link::Saved);
    // Behind the call that goes back: the function's own.
    assert_eq!(direct(middle, low, ADD, high), Link::Saved);
    // A caller behind its callee, or a loop whose end called.
    assert_eq!(direct(high, low, ADD, middle), Link::Unknown);
    assert_eq!(direct(high, low, PUSH, middle), Link::Saved);
    // By a register.
    assert_eq!(found(middle, high, &[(high, BLR)]), Link::Unknown);
}

/// Checks that a call by way of a stub says nothing of where it led, and that what
/// follows a landing pad counts.
#[test]
fn stubs() {
    let (call_at, callee, pc) = (0x40_1000, 0x40_2000, 0x40_2010);
    let through = |first, second| {
        let code = &[
            (call_at, bl(call_at, callee)),
            (callee, first),
            (callee + 4, second),
        ];
        found(pc, call_at, code)
    };
    assert_eq!(through(ADRP_X16, ADD), Link::Unknown);
    assert_eq!(through(B, ADD), Link::Unknown);
    assert_eq!(through(BTI_C, ADRP_X16), Link::Unknown);
    assert_eq!(through(BTI_C, PUSH), Link::Saved);
    assert_eq!(through(BTI_C, ADD), Link::Live);
}
