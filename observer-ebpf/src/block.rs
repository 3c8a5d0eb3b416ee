//! Block I/O: operations, bytes, errors, time queued and time in the device.
//!
//! What is counted, and when, is what the kernel counts in /proc/diskstats:
//! see `blk_update_request` and `blk_account_io_done` in block/blk-mq.c, and
//! `blk_account_io_flush` in block/blk-flush.c.

mod table;

use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::block::{
    FLUSH, OLD_RQF_FLUSH_SEQ, OLD_RQF_IO_STAT, OPERATION_MASK, Owner, Request, SlowOperation,
    device, error_label, label, status,
};
use observer_common::loss::Loss;
use observer_common::offsets::MISSING;
use observer_common::ring::SharedRing;
use observer_common::tally::Kind;
use observer_common::workload::{OTHER, TRACED, WorkloadId};

use self::table::{find, insert};
use crate::dirty::{flusher, owner, wants_flush};
use crate::kernel::{now, offset, read, setting};
use crate::loss::lost;
use crate::preemption::undisturbed;
use crate::room::send;
use crate::tally;

#[btf_map]
static BLOCK_RING: RingBuf<SlowOperation, { 64 * 1024 }> = RingBuf::new();

/// A flag whose bit this kernel's BTF names, or else older kernels had there.
macro_rules! flag {
    ($field:ident, $old:expr) => {{
        let bit = offset!($field);
        1u32 << (if bit == MISSING { $old } else { bit } & 31)
    }};
}

/// A request is made of its first bio, by whoever wants something. Where the
/// kernel has no such tracepoint (before 6.5), it is inserted into a queue.
///
/// `block_io_start(struct request *rq)`
/// (include/trace/events/block.h). Since 6.5. Before, `block_rq_insert` with the same; before 5.11 that has
/// `struct request_queue *q` first.
#[btf_tracepoint(function = "block_io_start")]
pub fn block_start(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        // Before 5.11 the queue came first; `block_io_start` is younger.
        let request: *const u8 = if offset!(block_insert_arguments) == 2 {
            ctx.arg(1)
        } else {
            ctx.arg(0)
        };
        let owner = owner(request);
        if wants_flush(request) {
            crate::dirty::note_flusher(request, owner);
        }
        begin(request, owner, now(), 0);
        0
    })
}

/// The driver takes a request.
///
/// `block_rq_issue(struct request *rq)`
/// (include/trace/events/block.h). All kernels; before 5.11 with `struct request_queue *q` first.
#[btf_tracepoint(function = "block_rq_issue")]
pub fn block_issue(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        // Before 5.11 the queue came first.
        let request: *const u8 = if offset!(block_issue_arguments) == 2 {
            ctx.arg(1)
        } else {
            ctx.arg(0)
        };
        let now = now();
        if let Some(found) = find(request) {
            let state = found.request;
            if state.issued == 0 {
                // Nothing is merged into it any more.
                state.size = read!(request, request_data_len, u32);
            }
            state.issued = now;
            return 0;
        }
        if step(request).is_none() {
            return 0;
        }
        // Without a beginning: the cache flush that blk-flush.c makes for several
        // who wait for it, or what went straight to the driver.
        let owner = if operation(request) == FLUSH {
            flusher(request)
        } else {
            owner(request)
        };
        begin(request, owner, now, now);
        0
    })
}

/// Some or all bytes of a request are done.
///
/// `block_rq_complete(struct request *rq, blk_status_t error, unsigned int nr_bytes)`
/// (include/trace/events/block.h). All kernels; before 5.17 `int error`.
#[btf_tracepoint(function = "block_rq_complete")]
pub fn block_complete(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let request: *const u8 = ctx.arg(0);
        let status = status(ctx.arg::<u64>(1) as u32 as i32);
        let bytes = ctx.arg::<u64>(2) as u32;

        let Some(step) = step(request) else { return 0 };
        let operation = operation(request);
        let done = if read!(request, request_bio, u64) == 0 {
            0
        } else {
            // Whole sectors.
            bytes & !511
        };
        let last = match step {
            Step::Whole => bytes >= read!(request, request_data_len, u32),
            Step::CacheFlush => true,
            Step::Part => false,
        };

        let Some(found) = find(request) else {
            finish_untracked(request, operation, done, status, last);
            return 0;
        };
        let state = &mut *found.request;
        state.bytes = state.bytes.wrapping_add(done);
        if status != 0 {
            state.status = status;
        }
        if last {
            if state.owner.flags & TRACED != 0 {
                finish(state, now(), tally::record_local);
            }
            found.remove();
        }
        0
    })
}

/// A request is done and was accounted. Only for those whose completion was
/// missed: the kernel doesn't run a program within itself, so when an
/// interrupt completes a request in the middle of [`block_complete`], that one
/// isn't seen there.
///
/// `block_io_done(struct request *rq)`
/// (include/trace/events/block.h). Since 6.5.
#[btf_tracepoint(function = "block_io_done")]
pub fn block_done(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let request: *const u8 = ctx.arg(0);
        let Some(found) = find(request) else {
            return 0;
        };
        if !matches!(step(request), Some(Step::Whole | Step::CacheFlush)) {
            return 0;
        }
        // All bytes are done, also those that failed.
        let state = &mut *found.request;
        state.bytes = state.size;
        if state.owner.flags & TRACED != 0 {
            finish(state, now(), tally::record_inner);
        }
        found.remove();
        0
    })
}

/// What a request is to /proc/diskstats.
enum Step {
    /// One operation.
    Whole,
    /// The data of a write between two cache flushes: it is done, and one
    /// operation, when the last of them is.
    Part,
    /// A cache flush.
    CacheFlush,
}

/// `None` when the kernel doesn't account for the request: then neither do we.
#[inline(always)]
fn step(request: *const u8) -> Option<Step> {
    let flags = read!(request, request_rq_flags, u32);
    let sequence = flags & flag!(rqf_flush_seq, OLD_RQF_FLUSH_SEQ) != 0;
    if sequence && operation(request) == FLUSH {
        return Some(Step::CacheFlush);
    }
    if flags & flag!(rqf_io_stat, OLD_RQF_IO_STAT) == 0 || read!(request, request_part, u64) == 0 {
        return None;
    }
    Some(if sequence { Step::Part } else { Step::Whole })
}

/// Remembers a request that begins.
#[inline(always)]
fn begin(request: *const u8, owner: Owner, started: u64, issued: u64) {
    let fresh = Request {
        started,
        issued,
        owner,
        bytes: 0,
        size: read!(request, request_data_len, u32),
        status: 0,
        device: device_of(request),
        operation: u32::from(operation(request)),
        padding: 0,
    };
    let Some(found) = find(request) else {
        insert(request, &fresh);
        return;
    };
    if found.request.issued != 0 {
        if offset!(block_start_arguments) == MISSING {
            // Inserted once more: the driver gave it back.
            return;
        }
        finish_unseen(found.request);
    }
    *found.request = fresh;
}

/// Counts a request whose end wasn't seen, now that it is used again. (One
/// that was never issued has been merged into another.)
#[inline(always)]
fn finish_unseen(state: &Request) {
    lost(Loss::BlockEndMissed);
    if state.owner.flags & TRACED == 0 {
        return;
    }
    let label = label(state.device, state.operation as u8);
    tally::count(Kind::BlockUntimed, state.owner.workload, label, 1);
    if state.size != 0 {
        let bytes = u64::from(state.size);
        tally::count(Kind::BlockBytes, state.owner.workload, label, bytes);
    }
}

/// Counts a request that is done; `record` adds to histograms.
#[inline(always)]
fn finish(state: &Request, now: u64, record: impl Fn(Kind, WorkloadId, u64, u64)) {
    let workload = state.owner.workload;
    let (device, operation) = (state.device, state.operation as u8);
    let label = label(device, operation);
    let total = now.saturating_sub(state.started);
    let queued = if state.issued == 0 {
        total
    } else {
        state.issued.saturating_sub(state.started)
    };
    record(Kind::BlockTotal, workload, label, total);
    record(Kind::BlockQueue, workload, label, queued);
    if state.issued != 0 {
        let in_device = now.saturating_sub(state.issued);
        record(Kind::BlockDevice, workload, label, in_device);
    }
    if state.bytes != 0 {
        tally::count(Kind::BlockBytes, workload, label, u64::from(state.bytes));
    }
    if state.status != 0 {
        let label = error_label(device, operation, state.status);
        tally::count(Kind::BlockErrors, workload, label, 1);
    }
    if total >= setting!(slow_block_ns) {
        let slow = SlowOperation {
            started: state.started,
            issued: state.issued,
            ended: now,
            bytes: state.bytes,
            status: state.status,
            device,
            operation: state.operation,
            workload,
            padding: 0,
        };
        let ring = (&raw const BLOCK_RING).cast_mut().cast();
        let bytes = size_of::<SlowOperation>() as u64;
        // SAFETY: the map, and a whole record.
        let sent = unsafe {
            let record = (&raw const slow).cast();
            send(SharedRing::Block, ring, workload, record, bytes, |_| 0)
        };
        if !sent {
            lost(Loss::BlockRingFull);
        }
    }
}

/// Counts what can be counted of a request whose beginning isn't known.
#[inline(always)]
fn finish_untracked(request: *const u8, operation: u8, done: u32, status: u32, last: bool) {
    if setting!(filters) != 0 {
        // Nobody knows whether it is meant.
        return;
    }
    let device = device_of(request);
    let label = label(device, operation);
    if done != 0 {
        tally::count(Kind::BlockBytes, OTHER, label, u64::from(done));
    }
    if last {
        lost(Loss::BlockRequestUntracked);
        tally::count(Kind::BlockUntimed, OTHER, label, 1);
        if status != 0 {
            let label = error_label(device, operation, status);
            tally::count(Kind::BlockErrors, OTHER, label, 1);
        }
    }
}

/// `REQ_OP_*` of a request.
#[inline(always)]
fn operation(request: *const u8) -> u8 {
    (read!(request, request_cmd_flags, u32) & OPERATION_MASK) as u8
}

/// The whole disk that a request is for.
#[inline(always)]
fn device_of(request: *const u8) -> u32 {
    let disk = if offset!(request_disk) != MISSING {
        read!(request, request_disk, *const u8)
    } else {
        let queue = read!(request, request_queue, *const u8);
        read!(queue, queue_disk, *const u8)
    };
    device(
        read!(disk, disk_major, u32),
        read!(disk, disk_first_minor, u32),
    )
}
