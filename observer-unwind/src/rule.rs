//! One row of call frame information to one rule.

use gimli::{
    CfaRule, Encoding, EndianSlice, Format, LittleEndian, Operation, Register, RegisterRule,
    UnwindExpression, UnwindSection,
};
use observer_common::unwind::{FP, Rule, SIGNAL, SP, cfa, place};

use super::arch::Arch;

/// Bytes of a section.
pub type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Nothing is known.
pub const UNKNOWN: Rule = only(cfa::UNKNOWN);
/// The stack ends here.
pub const END: Rule = only(cfa::END);
/// Something that rules can't say.
pub const UNSUPPORTED: Rule = only(cfa::UNSUPPORTED);

/// Operations of the longest expression that is understood: the PLT's.
const MAX_OPERATIONS: usize = 8;

const fn only(cfa: u8) -> Rule {
    // `Rule::default` isn't const.
    Rule {
        cfa,
        ..Rule::from_words([0; 4])
    }
}

/// What a row says about those registers that matter in every frame.
pub struct Row {
    /// How to find the canonical frame address.
    pub cfa: CfaRule<usize>,
    /// Where the return address is; `None` if nothing is said.
    pub ra: Option<RegisterRule<usize>>,
    /// Where the caller's frame pointer is.
    pub fp: Option<RegisterRule<usize>>,
    /// How to find the caller's stack pointer, if it isn't the CFA itself.
    pub sp: Option<RegisterRule<usize>>,
    /// Whether the function is a signal's frame.
    pub signal: bool,
}

impl Row {
    /// As a rule. `section` is where expressions lie.
    pub fn rule<'a>(&self, arch: Arch, section: &impl UnwindSection<Bytes<'a>>) -> Rule {
        if self.ra == Some(RegisterRule::Undefined) {
            return END;
        }
        self.supported(arch, section).unwrap_or(UNSUPPORTED)
    }

    fn supported<'a>(&self, arch: Arch, section: &impl UnwindSection<Bytes<'a>>) -> Option<Rule> {
        // In a signal's frame the CFA is the interrupted stack pointer.
        if self.sp.is_some() && !self.signal {
            return None;
        }
        let mut rule = match &self.cfa {
            CfaRule::RegisterAndOffset { register, offset } => Rule {
                cfa: cfa::REGISTER,
                register: base(arch, *register)?,
                cfa_offset: i32::try_from(*offset).ok()?,
                ..UNKNOWN
            },
            CfaRule::Expression(expression) => {
                frame_expression(arch, &Operations::of(expression, section)?)?
            }
        };
        let (ra, ra_offset) = match &self.ra {
            None | Some(RegisterRule::SameValue) if arch.link_register => (place::SAME, 0),
            Some(RegisterRule::Register(Register(number))) if *number < arch.general => {
                (place::REGISTER, i32::from(*number))
            }
            Some(rule) => saved(arch, section, rule)?,
            None => return None,
        };
        let (fp, fp_offset) = match &self.fp {
            // Undefined: nobody above needs it.
            None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => (place::SAME, 0),
            Some(rule) => saved(arch, section, rule)?,
        };
        rule.places = Rule::places(ra, fp);
        rule.ra_offset = ra_offset;
        rule.fp_offset = fp_offset;
        if self.signal {
            rule.flags |= SIGNAL;
        }
        Some(rule)
    }
}

/// How a rule calls a register.
fn base(arch: Arch, register: Register) -> Option<u8> {
    match register {
        _ if register == arch.sp => Some(SP),
        _ if register == arch.fp => Some(FP),
        Register(number) if number < arch.general => u8::try_from(number).ok(),
        _ => None,
    }
}

/// Where a register is saved: place and offset.
fn saved<'a>(
    arch: Arch,
    section: &impl UnwindSection<Bytes<'a>>,
    rule: &RegisterRule<usize>,
) -> Option<(u8, i32)> {
    let (place, offset) = match rule {
        RegisterRule::Offset(offset) => (place::AT_CFA, *offset),
        RegisterRule::Expression(expression) => {
            let operations = Operations::of(expression, section)?;
            let [
                Operation::RegisterOffset {
                    register, offset, ..
                },
            ] = operations.slice()
            else {
                return None;
            };
            match base(arch, *register)? {
                SP => (place::AT_SP, *offset),
                FP => (place::AT_FP, *offset),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((place, i32::try_from(offset).ok()?))
}

/// The expressions that occur as a frame's address.
fn frame_expression(arch: Arch, operations: &Operations) -> Option<Rule> {
    use Operation::{
        And, Deref, Ge, Plus, PlusConstant, RegisterOffset, Shl, UnsignedConstant as Number,
    };
    let [
        RegisterOffset {
            register, offset, ..
        },
        rest @ ..,
    ] = operations.slice()
    else {
        return None;
    };
    let rule = Rule {
        register: base(arch, *register)?,
        cfa_offset: i32::try_from(*offset).ok()?,
        ..UNKNOWN
    };
    let dereference = |words: u64| {
        Some(Rule {
            cfa: cfa::DEREFERENCE,
            flags: parameter(words)?,
            ..rule
        })
    };
    match *rest {
        [] => Some(Rule {
            cfa: cfa::REGISTER,
            ..rule
        }),
        [
            Deref {
                size: 8,
                space: false,
                ..
            },
        ] => dereference(0),
        [
            Deref {
                size: 8,
                space: false,
                ..
            },
            PlusConstant { value },
        ]
        | [
            Deref {
                size: 8,
                space: false,
                ..
            },
            Number { value },
            Plus,
        ] if value % 8 == 0 => dereference(value / 8),
        // rsp + off + ((rip & 15) >= n) << 3
        [
            RegisterOffset {
                register: pc,
                offset: 0,
                ..
            },
            Number { value: 15 },
            And,
            Number { value },
            Ge,
            Number { value: 3 },
            Shl,
            Plus,
        ] if rule.register == SP && Some(pc) == arch.pc => Some(Rule {
            cfa: cfa::PLT,
            register: 0,
            flags: parameter(value)?,
            ..rule
        }),
        _ => None,
    }
}

/// A rule's parameter, as in its flags.
fn parameter(value: u64) -> Option<u8> {
    u8::try_from(value).ok().filter(|v| *v < 16).map(|v| v << 4)
}

/// An expression's operations.
struct Operations<'a> {
    list: [Operation<Bytes<'a>>; MAX_OPERATIONS + 1],
    count: usize,
}

impl<'a> Operations<'a> {
    /// `None` if there are too many or one is malformed.
    fn of(
        expression: &UnwindExpression<usize>,
        section: &impl UnwindSection<Bytes<'a>>,
    ) -> Option<Self> {
        let encoding = Encoding {
            address_size: 8,
            format: Format::Dwarf32,
            version: 4,
        };
        let mut all = expression.get(section).ok()?.operations(encoding);
        let mut operations = Self {
            list: [Operation::Nop; MAX_OPERATIONS + 1],
            count: 0,
        };
        while let Some(operation) = all.next().ok()? {
            *operations.list.get_mut(operations.count)? = operation;
            operations.count += 1;
        }
        Some(operations)
    }

    fn slice(&self) -> &[Operation<Bytes<'a>>] {
        self.list.get(..self.count).unwrap_or_default()
    }
}
