//! What the kernel half is told of the processor: all that isn't in the kernel's types.

/// The DWARF numbers of registers as places in `struct pt_regs`, in words.
///
/// x86_64: System V ABI, AMD64 supplement, figure 3.36, and
/// arch/x86/include/asm/ptrace.h. AArch64: "DWARF for the Arm 64-bit Architecture",
/// section 4.1, and arch/arm64/include/asm/ptrace.h, which have the same order.
pub(super) fn dwarf_registers() -> [u8; 32] {
    const X86_64: [u8; 17] = [10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16];
    if cfg!(target_arch = "aarch64") {
        return std::array::from_fn(|number| number as u8);
    }
    let mut registers = [0; 32];
    for (to, place) in registers.iter_mut().zip(X86_64) {
        *to = place;
    }
    registers
}

/// Which bits of a return address are its address. On arm64 the others may be its
/// signature (PAC), in as many bits as the kernel leaves over: so the processor is
/// asked, for which one that signs nothing does nothing.
#[cfg(target_arch = "aarch64")]
pub(super) fn code_mask() -> u64 {
    // Bit 55 tells the kernel's half from the programs' (Arm Architecture Reference
    // Manual, `AddPAC`); the eight bits above it are never part of an address.
    let mut address: u64 = (1 << 55) - 1;
    // SAFETY: `xpaclri` in its form as a hint changes x30 and nothing else, and where
    // it isn't known it changes nothing.
    unsafe {
        std::arch::asm!(
            "hint #7",
            inout("x30") address,
            options(nomem, nostack, preserves_flags)
        );
    }
    address
}

/// Which bits of a return address are its address: all.
#[cfg(not(target_arch = "aarch64"))]
pub(super) fn code_mask() -> u64 {
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that addresses of our own code and stack are within the mask.
    #[test]
    fn own_addresses_are_addresses() {
        let local = 0_u8;
        for address in [code_mask as *const () as u64, (&raw const local) as u64] {
            assert_eq!(address & code_mask(), address, "{address:#x}");
        }
    }
}
