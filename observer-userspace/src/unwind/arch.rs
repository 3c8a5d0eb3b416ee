//! What differs between machines: the numbers of registers in DWARF.

use gimli::{Register, Vendor};
use object::elf::{EM_AARCH64, EM_X86_64};

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
