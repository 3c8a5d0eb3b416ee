//! What differs between machines: the numbers of registers in DWARF.

use gimli::{Register, Vendor};
use object::elf::{EM_AARCH64, EM_X86_64};
use observer_common::unwind::{LINK, Rule, SIGNAL, SP, cfa, place};

/// A machine's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arch {
    /// `e_machine`.
    pub machine: u16,
    /// Stack pointer.
    pub sp: Register,
    /// Frame pointer.
    pub fp: Register,
    /// Program counter, where frames are computed with it.
    pub pc: Option<Register>,
    /// General registers have smaller numbers than this.
    pub general: u16,
    /// Whether a call leaves the return address in a register.
    pub link_register: bool,
    /// The rule of code that handlers of signals return to, if such code comes
    /// from programs and not from the kernel.
    pub signal_return: Option<Rule>,
    /// Instructions that return from a signal, as all C libraries and Go have
    /// them.
    pub signal_return_code: Option<&'static [u8]>,
    /// Whose call frame instructions to expect beside the standard ones.
    pub vendor: Vendor,
}

/// x86_64: System V psABI, figure 3.36.
pub const X86_64: Arch = Arch {
    machine: EM_X86_64,
    sp: Register(7),
    fp: Register(6),
    pc: Some(Register(16)),
    general: 16,
    link_register: false,
    // Kernel, `struct rt_sigframe`: the stack pointer is at its `ucontext`,
    // where rbp is at 120, rsp at 160 and rip at 168.
    signal_return: Some(Rule {
        cfa: cfa::DEREFERENCE,
        register: SP,
        places: Rule::places(place::AT_SP, place::AT_SP),
        flags: SIGNAL,
        cfa_offset: 160,
        ra_offset: 168,
        fp_offset: 120,
    }),
    // mov $15, %rax; syscall
    signal_return_code: Some(&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05]),
    vendor: Vendor::Default,
};

/// AArch64: "DWARF for the Arm 64-bit Architecture", section 4.1.
pub const AARCH64: Arch = Arch {
    machine: EM_AARCH64,
    sp: Register(31),
    fp: Register(29),
    pc: None,
    general: 32,
    link_register: true,
    // Kernel, `struct rt_sigframe`: the stack pointer is at a `siginfo` of 128 bytes,
    // behind which, with the `ucontext` at 128 and its registers at 304, x29 is at 544,
    // x30 at 552, sp at 560 and pc at 568 (arch/arm64/include/uapi/asm/sigcontext.h).
    signal_return: Some(Rule {
        cfa: cfa::DEREFERENCE,
        register: SP,
        places: Rule::places(place::AT_SP, place::AT_SP),
        flags: SIGNAL | LINK,
        cfa_offset: 560,
        ra_offset: 568,
        fp_offset: 544,
    }),
    // mov x8, #139; svc #0. The kernel's vDSO has it, without call frame information.
    signal_return_code: Some(&[0x68, 0x11, 0x80, 0xd2, 1, 0, 0, 0xd4]),
    vendor: Vendor::AArch64,
};

impl Arch {
    /// The machine with this `e_machine`.
    pub fn of(machine: u16) -> Option<Arch> {
        [X86_64, AARCH64]
            .into_iter()
            .find(|arch| arch.machine == machine)
    }
}
