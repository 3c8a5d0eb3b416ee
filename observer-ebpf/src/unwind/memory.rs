//! What a step reads: the registers and the memory of a process.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use observer_common::offsets::MISSING;
use observer_common::unwind::Machine;

use crate::kernel::{config, has_link_register, offset, read, registers, setting};
use crate::scratch::REGISTERS;
use crate::user::user;

/// A process, usually the current one.
pub struct Memory<'a> {
    /// The registers with which it entered the kernel.
    pub innermost: &'a [u64; REGISTERS],
    /// They are those of the frame at hand.
    pub is_innermost: bool,
    /// The process isn't the current one: its stack was copied.
    pub is_copied: bool,
}

impl Machine for Memory<'_> {
    #[inline(always)]
    fn read(&mut self, address: u64) -> Option<u64> {
        if self.is_copied {
            read_copy(address)
        } else {
            user(address)
        }
    }

    #[inline(always)]
    fn register(&mut self, number: u8) -> Option<u64> {
        if !self.is_innermost || number as usize >= REGISTERS {
            return None;
        }
        // SAFETY: below the array's length; volatile because the loader
        // patches it.
        let index = unsafe {
            core::ptr::read_volatile(
                core::ptr::addr_of!((*config()).dwarf_registers)
                    .cast::<u8>()
                    .add(number as usize & (REGISTERS - 1)),
            )
        };
        Some(self.innermost[index as usize & (REGISTERS - 1)])
    }

    #[inline(always)]
    fn return_address(&self, word: u64) -> u64 {
        if has_link_register() {
            word & setting!(code_mask)
        } else {
            word
        }
    }
}

/// Bytes of a page, as stacks are copied.
pub const STACK_PAGE: usize = 4096;
/// Pages that are copied at most.
pub const STACK_PAGES: usize = 8;
const COPY_WORDS: usize = STACK_PAGES * STACK_PAGE / 8;

/// The youngest part of the stack of a process that isn't the current one.
#[repr(C)]
pub struct StackCopy {
    /// Where it begins: an address in the process, at the begin of a page.
    pub start: u64,
    /// How much there is.
    pub bytes: u64,
    /// What is there.
    pub words: [u64; COPY_WORDS],
}

#[btf_map]
static STACK_COPY: Array<StackCopy, 1> = Array::new();

/// The copy that the iterator over threads walks.
#[inline(always)]
pub fn stack_copy() -> Option<*mut StackCopy> {
    STACK_COPY.get_ptr_mut(0)
}

/// A word of the copied stack.
#[inline(always)]
fn read_copy(address: u64) -> Option<u64> {
    let copy = STACK_COPY.get(0)?;
    let at = address.wrapping_sub(copy.start);
    if at >= copy.bytes || at & 7 != 0 {
        return None;
    }
    Some(copy.words[(at as usize >> 3) & (COPY_WORDS - 1)])
}

/// Where the user stack of a thread in the kernel ends; 0 without one.
#[inline(always)]
pub fn user_stack_pointer(task: *const u8) -> u64 {
    if offset!(pt_regs_sp) == MISSING {
        return 0;
    }
    // SAFETY: callers have a task that the verifier trusts.
    let regs = unsafe { registers(task) };
    if regs.is_null() {
        return 0;
    }
    read!(regs, pt_regs_sp, u64)
}
