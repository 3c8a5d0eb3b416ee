//! The first bytes of what a thread sends or receives, from where its system
//! call has them.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use observer_common::offsets::MISSING;
use observer_common::requests::{CAPTURE_MAX, Connection, Protocol, Shape, direction, flag, role};
use observer_common::slot::{NO_SYSCALL, Slot, ThreadState};

use super::head::{ANOTHER, BODY, PLACE, requests_head, requests_head_left};
use super::record::{Scratch, scratch};
use super::sniff::requests_sniff;
use crate::kernel::{current, offset, read, registers, setting, syscall_class};
use crate::thread::is_compat;

/// Buffers of one call that are looked at.
const BUFFERS: usize = 8;
/// Bytes that a `struct mmsghdr` takes, and where a `struct msghdr` has its
/// list of buffers (include/linux/socket.h, for 64-bit programs).
const MMSGHDR: u64 = 64;
const MSG_IOV: u64 = 16;
/// Where a `struct mmsghdr` has its message's length.
const MSG_LEN: u64 = 56;

/// Where the bytes are.
#[derive(Clone, Copy)]
pub struct Source {
    shape: u32,
    address: u64,
}

/// A system call on a descriptor that may be a socket's.
pub struct Call {
    /// The descriptor.
    pub descriptor: u32,
    /// One of [`direction`].
    pub way: u8,
    /// Its `struct mmsghdr`; 0 if it takes none.
    messages: u64,
}

impl Call {
    /// That of the current thread, if it sends or receives.
    #[inline(always)]
    pub fn of(slot: &Slot) -> Option<Self> {
        let class = syscall_class(slot.syscall);
        if class >> 4 == Shape::None as u8 || offset!(pt_regs_first) == MISSING || is_compat() {
            return None;
        }
        // SAFETY: the current task is trusted.
        let regs = unsafe { registers(current()) };
        if regs.is_null() {
            return None;
        }
        let several = class >> 4 == Shape::Messages as u8;
        Some(Self {
            descriptor: read!(regs, pt_regs_first, u64) as u32,
            way: class >> 3 & 1,
            messages: if several {
                read!(regs, pt_regs_second, u64)
            } else {
                0
            },
        })
    }

    /// Bytes that it sent or received, by what it returned: of several messages
    /// those of the first.
    #[inline(always)]
    pub fn bytes(&self, returned: u32) -> u32 {
        if self.messages == 0 {
            returned
        } else {
            word(self.messages + MSG_LEN) as u32
        }
    }
}

impl Source {
    /// That of the thread's system call.
    #[inline(always)]
    pub fn of(slot: &Slot, state: &mut ThreadState, task: *const u8) -> Self {
        let none = Self {
            shape: Shape::None as u32,
            address: 0,
        };
        if slot.syscall == NO_SYSCALL || offset!(pt_regs_second) == MISSING || is_compat() {
            return none;
        }
        let shape = u32::from(syscall_class(slot.syscall) >> 4);
        if shape == Shape::None as u32 || shape == Shape::File as u32 {
            return none;
        }
        // SAFETY: the current task is trusted.
        let regs = unsafe { registers(task) };
        if regs.is_null() {
            return none;
        }
        let mut address = read!(regs, pt_regs_second, u64);
        if shape == Shape::Messages as u32 {
            let serving = &mut state.serving;
            if serving.messages_call != slot.syscall_start {
                serving.messages_call = slot.syscall_start;
                serving.messages = 0;
            }
            address += u64::from(serving.messages) * MMSGHDR;
            serving.messages += 1;
        }
        Self { shape, address }
    }

    /// A [`Shape`], and where it is.
    #[inline(always)]
    pub fn place(&self) -> (u32, u64) {
        (self.shape, self.address)
    }

    /// Whether there are bytes to be read.
    #[inline(always)]
    pub fn is_known(&self) -> bool {
        self.shape != Shape::None as u32
    }

    /// One buffer.
    #[inline(always)]
    pub fn buffer(address: u64) -> Self {
        Self {
            shape: Shape::Buffer as u32,
            address,
        }
    }
}

/// Copies the first bytes, at most `wanted`, of `length` to the scratch;
/// returns how many it could.
#[inline(always)]
pub fn copy(context: u32, source: &Source, length: u32, wanted: u32) -> u32 {
    let bytes = if length < wanted { length } else { wanted };
    requests_copy(context, source.shape, source.address, bytes) & (2 * CAPTURE_MAX - 1)
}

/// See [`copy`].
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_copy(context: u32, shape: u32, address: u64, bytes: u32) -> u32 {
    let Some(scratch) = scratch(context) else {
        return 0;
    };
    // SAFETY: this CPU's map value, used by one program only, which doesn't nest.
    let scratch = unsafe { &mut *scratch };
    if shape == Shape::Buffer as u32 {
        return user(scratch, 0, address, bytes);
    }
    let address = list(shape, address);
    if address == 0 {
        return 0;
    }
    let mut at = 0;
    for i in 0..BUFFERS as u64 {
        if at >= bytes {
            break;
        }
        let (base, length) = (word(address + i * 16), word(address + i * 16 + 8));
        let left = u64::from(bytes - at);
        let take = if length < left { length } else { left } as u32;
        if take != 0 {
            let got = user(scratch, at, base, take);
            if got == 0 {
                break;
            }
            at += got;
        }
    }
    at
}

/// Where the list of several buffers is; 0 if there is none.
#[inline(always)]
pub fn list(shape: u32, address: u64) -> u64 {
    if shape == Shape::Message as u32 || shape == Shape::Messages as u32 {
        word(address + MSG_IOV)
    } else if shape == Shape::Vector as u32 {
        address
    } else {
        0
    }
}

/// Copies from the process to `at`.
#[inline(always)]
pub fn user(scratch: &mut Scratch, at: u32, from: u64, bytes: u32) -> u32 {
    let bytes = bytes & (2 * CAPTURE_MAX - 1);
    if bytes > CAPTURE_MAX {
        return 0;
    }
    let at = at as usize & (CAPTURE_MAX as usize - 1);
    // SAFETY: `at` and `bytes` are at most half of the room each.
    let failed = unsafe {
        let to = scratch.data.as_mut_ptr().add(at);
        bpf_probe_read_user(to.cast(), bytes, from as *const _)
    } != 0;
    if failed { 0 } else { bytes }
}

/// A word of the process's memory; 0 if it can't be read.
#[inline(always)]
pub fn word(from: u64) -> u64 {
    let mut word = 0u64;
    // SAFETY: the destination is a local word.
    unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, from as *const _) };
    word
}

/// The first eight bytes of `length`, zeroes behind their end; `None` if they
/// can't be read.
#[inline(always)]
pub fn first(shape: u32, address: u64, length: u32) -> Option<u64> {
    let mut address = address;
    if shape == Shape::Message as u32 || shape == Shape::Messages as u32 {
        address = word(address + MSG_IOV);
    }
    if shape == Shape::None as u32 || shape == Shape::File as u32 {
        return None;
    }
    if shape != Shape::Buffer as u32 {
        address = word(address);
    }
    let mut first = 0u64;
    // SAFETY: the destination is a local word.
    let failed =
        unsafe { bpf_probe_read_user((&raw mut first).cast(), 8, address as *const _) } != 0;
    if failed {
        return None;
    }
    if length < 8 {
        first &= (1 << (8 * (length & 7))) - 1;
    }
    Some(first)
}

/// Copies what the daemon wants of a piece of a connection; returns how much,
/// and keeps in `head` how much of a head under way was captured.
#[inline(always)]
pub fn message(
    context: u32,
    connection: &mut Connection,
    source: &Source,
    way: u8,
    length: u32,
) -> u32 {
    let asks = (connection.role == role::SERVER) == (way == direction::RECEIVED);
    let turn = connection.flags & flag::TURN != 0;
    if connection.protocol != Protocol::Http1 as u8 {
        let all = asks || Protocol::whole_connections(connection.protocol);
        let wanted = if all { CAPTURE_MAX } else { setting!(capture) };
        return copy(context, source, length, wanted);
    }
    if turn && asks {
        connection.flags &= !flag::PIPELINED;
    }
    let some = if asks || connection.flags & flag::PIPELINED != 0 {
        CAPTURE_MAX
    } else {
        setting!(capture)
    };
    let head = connection.head;
    let wanted = if turn {
        some
    } else {
        requests_head_left(head, asks as u32)
    };
    let mut captured = if wanted != 0 {
        copy(context, source, length, wanted)
    } else {
        let captured = copy(context, source, length, BODY);
        let seen = requests_sniff(context, captured, length, 0);
        if seen as u8 != Protocol::Http1 as u8 {
            return captured;
        }
        // Another message, with no turn in between.
        connection.flags |= flag::PIPELINED;
        copy(context, source, length, some)
    };
    let end = requests_head(context, captured, asks as u32);
    if end != 0 {
        connection.head = 0;
        if asks && end & ANOTHER != 0 {
            connection.flags |= flag::PIPELINED;
        }
        if asks || connection.flags & flag::PIPELINED != 0 {
            return captured;
        }
        // What comes behind an answer's head is its body, but for the size
        // of a first chunk.
        return least(captured, (end >> PLACE) + BODY);
    }
    if turn && !asks && captured < length {
        // Its head is longer than usual.
        captured = copy(context, source, length, CAPTURE_MAX);
    }
    connection.head = head + captured;
    captured
}

/// The lesser of both, in a way that lets the verifier see its bound.
#[inline(always)]
pub fn least(a: u32, b: u32) -> u32 {
    let mut least = if a < b { a } else { b };
    // SAFETY: an operation on a register, which the compiler can't leave out.
    unsafe {
        core::arch::asm!("{least} &= {mask}", least = inout(reg) least, mask = const 2 * CAPTURE_MAX - 1);
    }
    least
}
