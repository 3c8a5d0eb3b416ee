//! The goroutine that sends: a server of Go's net/http has one for each connection, which
//! answers its requests, and a client's goroutine asks by another that writes for all who
//! use the connection.
//!
//! `g` (runtime/runtime2.go) is in a register that Go keeps for it (R14, on arm64 R28:
//! cmd/compile/abi-internal.md, since 1.17), also in a system call. It begins with the
//! bounds of the goroutine's stack, which tell whether the register is still that.

use aya_ebpf::btf_maps::{Array, LruHashMap};
use aya_ebpf::macros::{btf_map, uprobe};
use aya_ebpf::programs::ProbeContext;
use observer_common::offsets::MISSING;
use observer_common::requests::{GO_OBJECTS as MOST, GO_WRITING, GoObject, GoWrite};

use super::caller::{caller, registers};
use crate::kernel::{now, offset, read};
use crate::preemption::undisturbed_in_user_function;
use crate::slot::slot;
use crate::user::user;

/// Processes of which a function was seen.
#[btf_map]
static GO_PROCESSES: LruHashMap<u32, u32, { MOST as usize }> = LruHashMap::new();

/// From a request that a client makes to the goroutine that waits for its answer.
#[btf_map]
static GO_REQUESTS: LruHashMap<GoObject, u64, { MOST as usize }> = LruHashMap::new();

/// From a goroutine that writes a request to that for which it does, until it sends the
/// first of it.
#[btf_map]
static GO_WRITERS: LruHashMap<GoObject, GoWrite, { MOST as usize }> = LruHashMap::new();

/// 1 = there is a process in [`GO_PROCESSES`].
#[btf_map]
static GO_ON: Array<u32, 1> = Array::new();

/// Notes that the current process is a program of Go's, of which this is the `g`.
#[inline(always)]
fn seen() -> Option<(u32, u64)> {
    let (slot, _) = caller()?;
    if offset!(go_g) == MISSING {
        return None;
    }
    let _ = GO_PROCESSES.insert(&slot.tgid, &1, 0);
    if let Some(on) = GO_ON.get_ptr_mut(0) {
        // SAFETY: a map value; all write the same.
        unsafe { *on = 1 };
    }
    Some((slot.tgid, read!(registers(), go_g, u64)))
}

/// `func (c *conn) serve(ctx context.Context)` of net/http: a connection begins.
#[uprobe]
pub fn go_serve(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        if let Some((tgid, address)) = seen() {
            // Whoever had this `g` before.
            let tgid = tgid.into();
            let _ = GO_WRITERS.remove(&GoObject { address, tgid });
        }
        0
    })
}

/// `func (pc *persistConn) roundTrip(req *transportRequest) (…)` of net/http: the
/// goroutine asks, and will wait. `transportRequest` begins with its `*Request`.
#[uprobe]
pub fn go_round_trip(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        if let Some((tgid, goroutine)) = seen()
            && let Some(address) = user(read!(registers(), go_second, u64))
        {
            let request = GoObject {
                address,
                tgid: tgid.into(),
            };
            let _ = GO_REQUESTS.insert(&request, &goroutine, 0);
        }
        0
    })
}

/// `func (r *Request) write(w io.Writer, …) error` of net/http: the goroutine writes a
/// request, its own or somebody's.
#[uprobe]
pub fn go_write(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        if let Some((tgid, address)) = seen() {
            let tgid = u64::from(tgid);
            let writer = GoObject { address, tgid };
            let request = GoObject {
                address: read!(registers(), go_first, u64),
                tgid,
            };
            // SAFETY: copied at once.
            match unsafe { GO_REQUESTS.get(&request) } {
                Some(&goroutine) => {
                    let began = now();
                    let _ = GO_WRITERS.insert(&writer, &GoWrite { goroutine, began }, 0);
                }
                None => {
                    let _ = GO_WRITERS.remove(&writer);
                }
            }
        }
        0
    })
}

/// Address of the goroutine for which the current thread sends; 0 = none that is known.
#[inline(always)]
pub fn goroutine() -> u64 {
    if GO_ON.get(0).copied().unwrap_or(0) == 0 {
        return 0;
    }
    go_goroutine()
}

/// See [`goroutine`].
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_goroutine() -> u64 {
    sending().unwrap_or(0)
}

#[inline(always)]
fn sending() -> Option<u64> {
    let tgid = slot()?.tgid;
    // SAFETY: only looked whether it is there.
    unsafe { GO_PROCESSES.get(&tgid) }?;
    let registers = registers();
    if registers.is_null() || offset!(go_g) == MISSING || offset!(pt_regs_sp) == MISSING {
        return None;
    }
    let address = read!(registers, go_g, u64);
    let stack = read!(registers, pt_regs_sp, u64);
    let [low, high]: [u64; 2] = user(address)?;
    if stack < low || stack >= high {
        return None;
    }
    let writer = GoObject {
        address,
        tgid: tgid.into(),
    };
    // SAFETY: copied at once.
    let Some(&write) = (unsafe { GO_WRITERS.get(&writer) }) else {
        return Some(address);
    };
    // What it sends next is more of the request, or it is another goroutine by then.
    let _ = GO_WRITERS.remove(&writer);
    if now().saturating_sub(write.began) > GO_WRITING {
        return None;
    }
    Some(write.goroutine)
}
