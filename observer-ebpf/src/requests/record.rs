//! The records of connections, and their ring.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use aya_ebpf::macros::btf_map;
use observer_common::loss::Loss;
use observer_common::requests::{
    CAPTURE_MAX, Closed, Connection, Executed, Opened, Piece, Protocol, Tag, ThreadClock,
    TlsSocket, direction, flag,
};
use observer_common::slot::{Slot, ThreadState};
use observer_common::workload::WorkloadId;

use super::ring::ring;
use super::room::{fills, has_room};
use super::tasks;
use crate::atomic::compare_and_swap;
use crate::loss::lost;

/// Bytes of a scratch: twice what is captured, so that the verifier sees that
/// every sum of a place and a length fits.
pub const DATA: usize = 2 * CAPTURE_MAX as usize;

/// Records in the making.
#[repr(C)]
pub struct Scratch {
    /// Who is connected.
    pub opened: Opened,
    /// What comes before the bytes.
    pub piece: Piece,
    /// The bytes.
    pub data: [u8; DATA],
    /// A socket of TLS.
    pub socket: TlsSocket,
    /// 1 = what is copied is HTTP/1's last, if it is that; 0 = it isn't.
    pub switches: u64,
    /// 1 = it is in use; see [`claim`].
    pub busy: u64,
}

impl Scratch {
    /// The bytes' word with this number, of the first ones.
    #[inline(always)]
    pub fn word(&self, number: usize) -> u64 {
        const { assert!(core::mem::offset_of!(Scratch, data).is_multiple_of(8)) };
        // SAFETY: within the bytes, and aligned as they are.
        unsafe { self.data.as_ptr().cast::<u64>().add(number & 7).read() }
    }
}

/// One for each program: they may interrupt each other, but not themselves.
/// The first two are those of sockets, by direction; the others those of TLS
/// libraries. A power of two.
pub const SCRATCHES: usize = 4;
const TLS_SCRATCHES: [u32; 2] = [2, 3];

#[btf_map]
static REQUEST_SCRATCH: PerCpuArray<Scratch, SCRATCHES> = PerCpuArray::new();

/// Numbers given by this CPU.
#[btf_map]
static REQUEST_NUMBERS: PerCpuArray<u64, 1> = PerCpuArray::new();

/// When the daemon was woken for a new program.
#[btf_map]
static EXECUTED_WOKEN: PerCpuArray<u64, 1> = PerCpuArray::new();

/// How soon after that it is woken for another, in nanoseconds.
const EXECUTED_PAUSE: u64 = 20_000_000;

/// Wake the daemon now / let it sleep.
const FORCE_WAKEUP: u64 = 2;
const NO_WAKEUP: u64 = 1;
/// The scratch of a program.
#[inline(always)]
pub fn scratch(context: u32) -> Option<*mut Scratch> {
    REQUEST_SCRATCH.get_ptr_mut(context & (SCRATCHES as u32 - 1))
}

/// A scratch for a program that can lose its CPU to another thread, which may
/// run the same program: whoever has it lets it go by [`release`].
#[inline(always)]
pub fn claim() -> Option<u32> {
    for context in TLS_SCRATCHES {
        let scratch = scratch(context)?;
        // SAFETY: this CPU's map value, used by others only through its flag.
        if compare_and_swap(unsafe { &raw mut (*scratch).busy }, 0, 1) == 0 {
            return Some(context);
        }
    }
    lost(Loss::RequestUnread);
    None
}

/// See [`claim`].
#[inline(always)]
pub fn release(context: u32) {
    if let Some(scratch) = scratch(context) {
        // SAFETY: it is this thread's until now.
        unsafe { core::ptr::write_volatile(&raw mut (*scratch).busy, 0) };
    }
}

/// How often a number is asked for, if another thread takes it.
const NUMBER_TRIES: u32 = 4;

/// A new number, for a connection or a request: unique; 0 if none can be had.
#[inline(always)]
pub fn number() -> u64 {
    let Some(last) = REQUEST_NUMBERS.get_ptr_mut(0) else {
        return 0;
    };
    for _ in 0..NUMBER_TRIES {
        // SAFETY: this CPU's map value. The programs of TLS libraries may lose
        // the CPU to another thread that comes here.
        let before = unsafe { core::ptr::read_volatile(last) };
        if compare_and_swap(last, before, before + 1) == before {
            // SAFETY: has no preconditions.
            let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
            return ((cpu + 1) << 44) | (before + 1);
        }
    }
    0
}

/// Sends `bytes` from `from`, which are a workload's, or find room as long as there is
/// any; false if there is none.
#[inline(always)]
unsafe fn send(whose: Option<WorkloadId>, from: *const u8, bytes: u64) -> bool {
    let ring = ring();
    let flags = if fills(ring, bytes) {
        FORCE_WAKEUP
    } else {
        NO_WAKEUP
    };
    // SAFETY: the ring is a map; the caller's promise.
    unsafe {
        let sent = whose.is_none_or(|workload| has_room(workload, bytes))
            && bpf_ringbuf_output(ring, from.cast_mut().cast(), bytes, flags) == 0;
        if !sent {
            lost(Loss::RequestRingFull);
        }
        sent
    }
}

/// What a call sent or received.
pub struct Transfer {
    /// Bytes in all.
    pub length: u32,
    /// Bytes in the scratch.
    pub captured: u32,
    /// Those of them that are the last ones of all.
    pub tail: u32,
    /// One of [`observer_common::requests::direction`].
    pub way: u8,
    /// Kernel time when its call began.
    pub began: u64,
    /// Kernel time now.
    pub now: u64,
    /// Segments sent again so far.
    pub retransmits: u32,
    /// Request that the thread serves, and how that is known.
    pub served: (u64, u8),
}

/// Copies a clock by words: the compiler's own way would be a call that goes
/// byte by byte, which took as long as the helper that sends the record.
#[inline(always)]
fn copy_clock(to: &mut ThreadClock, from: &ThreadClock) {
    const WORDS: usize = size_of::<ThreadClock>() / size_of::<u64>();
    let (to, from) = (
        (&raw mut *to).cast::<u64>(),
        (&raw const *from).cast::<u64>(),
    );
    for word in 0..WORDS {
        // SAFETY: within both, which are aligned as their first field is;
        // volatile, or it would become that call again.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}

/// Tells of a piece, and before its first of the connection. What is padding in
/// a record stays as the scratch began: zeroes.
#[inline(always)]
pub fn piece(
    scratch: &mut Scratch,
    connection: &mut Connection,
    slot: &Slot,
    state: &ThreadState,
    transfer: &Transfer,
) {
    if connection.announced == 0 {
        let opened = &mut scratch.opened;
        opened.tag = Tag::Opened as u32;
        opened.tgid = slot.tgid;
        opened.connection = connection.id;
        opened.at = transfer.began;
        opened.workload = slot.workload;
        opened.protocol = connection.protocol;
        opened.role = connection.role;
        opened.flags = connection.flags;
        let bytes = size_of::<Opened>() as u64;
        // SAFETY: initialized map memory of that size.
        if !unsafe { send(Some(slot.workload), (&raw const *opened).cast(), bytes) } {
            return;
        }
        connection.announced = 1;
    }
    let captured = transfer.captured & (DATA as u32 - 1);
    let head = &mut scratch.piece;
    head.tag = Tag::Piece as u32;
    head.tgid = slot.tgid;
    head.connection = connection.id;
    head.began = transfer.began;
    head.ended = transfer.now;
    head.request = transfer.served.0;
    head.tid = slot.tid;
    head.workload = slot.workload;
    head.length = transfer.length;
    head.number = connection.number;
    head.retransmits = transfer.retransmits;
    head.captured = captured as u16;
    head.tail = transfer.tail as u16;
    head.direction = transfer.way;
    head.flags = connection.flags;
    if captured < transfer.length && connection.head != 0 {
        head.flags |= flag::CUT;
    }
    head.context = transfer.served.1;
    head.protocol = connection.protocol;
    head.role = connection.role;
    head.wait = state.serving.brought_by;
    head.passed = state.serving.passed;
    copy_clock(&mut head.clock, &state.serving.clock);
    head.task = if transfer.way == direction::SENT {
        tasks::task()
    } else {
        0
    };
    connection.number = connection.number.wrapping_add(1);
    connection.flags &= !(flag::SKIPPED | flag::BLIND);
    connection.protocol = switched(connection.protocol, scratch.switches);
    let bytes = size_of::<Piece>() as u64 + u64::from(captured);
    // SAFETY: the head and the bytes behind it are initialized map memory.
    unsafe {
        send(
            Some(slot.workload),
            (&raw const scratch.piece).cast(),
            bytes,
        )
    };
}

/// Tells of the bytes behind those of the last piece; `captured` of them are in the
/// scratch.
#[inline(always)]
pub fn again(scratch: &mut Scratch, captured: u32) {
    let captured = captured & (DATA as u32 - 1);
    let head = &mut scratch.piece;
    head.number = head.number.wrapping_add(1);
    head.captured = captured as u16;
    let workload = head.workload;
    let bytes = size_of::<Piece>() as u64 + u64::from(captured);
    // SAFETY: the head and the bytes behind it are initialized map memory.
    unsafe { send(Some(workload), (&raw const scratch.piece).cast(), bytes) };
}

/// What a connection speaks after a piece: HTTP/2 in place of HTTP/1, if that `switches`
/// (1 or 0). By numbers, since each branch would double the ways through what follows.
#[inline(always)]
fn switched(protocol: u8, switches: u64) -> u8 {
    const HTTP1: u64 = Protocol::Http1 as u64;
    const { assert!(Protocol::Http2 as u64 == HTTP1 + 1) };
    let is_http1 = (u64::from(protocol) ^ HTTP1).wrapping_sub(1) >> 63;
    protocol + (is_http1 & switches) as u8
}

/// Tells of a connection's end.
#[inline(always)]
pub fn closed(record: &Closed) {
    // SAFETY: an initialized record.
    unsafe {
        send(
            None,
            (&raw const *record).cast(),
            size_of::<Closed>() as u64,
        )
    };
}

/// Tells of a new program, now: what it does first may matter. Of many at once
/// the daemon is told a little later.
#[inline(always)]
pub fn executed(record: &Executed, now: u64) {
    let Some(woken) = EXECUTED_WOKEN.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's map value.
    let wake = unsafe { now.saturating_sub(*woken) > EXECUTED_PAUSE };
    let flags = if wake { FORCE_WAKEUP } else { NO_WAKEUP };
    let ring = ring();
    let bytes = size_of::<Executed>() as u64;
    // SAFETY: the ring is a map; an initialized record; this CPU's map value.
    unsafe {
        if wake {
            *woken = now;
        }
        if bpf_ringbuf_output(ring, (&raw const *record).cast_mut().cast(), bytes, flags) != 0 {
            lost(Loss::RequestRingFull);
        }
    }
}
