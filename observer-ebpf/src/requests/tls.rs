//! TLS: the plain text that a thread hands to its library, or gets of it.
//!
//! A library's session (an `SSL` of OpenSSL, BoringSSL…) is tied to a socket by
//! what its thread does: usually a call of the library uses the socket itself.
//! Some programs (node, Python's asyncio) do that on their own; then records
//! that the thread received are those of the session that it calls next.
//!
//! Programs on user functions may lose their CPU to another thread in the
//! middle, which those on tracepoints don't.

mod session;

use aya_ebpf::macros::{btf_tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{BtfTracePointContext, ProbeContext, RetProbeContext};
use observer_common::loss::Loss;
use observer_common::requests::{
    Connection, Executed, SessionKey, Tag, TlsCall, direction, protocol_state,
};
use observer_common::slot::{Slot, ThreadState};

pub use self::session::{begins, forget, is_handshake, used};
use super::caller::{caller, registers};
use super::capture::{self, Source};
use super::connection::turned;
use super::recognise::recognise;
use super::record::{self, Transfer};
use super::share::{self, Next};
use super::{clock, serve};
use crate::kernel::{current, now, read};
use crate::loss::lost;
use crate::preemption::{undisturbed, undisturbed_in_user_function};
use crate::user::user;

/// How a function of the library says how much it read or wrote.
enum Length {
    /// By its result.
    Result,
    /// In a `size_t` to which its fourth argument points.
    Fourth,
    /// To which its fifth does.
    Fifth,
}

/// A function of the library is called.
#[inline(always)]
fn called(way: u32, length: Length) {
    let Some((_, state)) = caller() else { return };
    let registers = registers();
    let call = &mut state.tls;
    call.buffer = read!(registers, call_second, u64);
    call.length = match length {
        Length::Result => 0,
        Length::Fourth => read!(registers, call_fourth, u64),
        Length::Fifth => read!(registers, call_fifth, u64),
    };
    call.began = now();
    call.connection = 0;
    call.way = way;
    call.session = read!(registers, call_first, u64);
}

/// `int SSL_read(SSL *, void *, int)`
#[uprobe]
pub fn tls_read(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        called(direction::RECEIVED.into(), Length::Result);
        0
    })
}

/// `int SSL_write(SSL *, const void *, int)`
#[uprobe]
pub fn tls_write(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        called(direction::SENT.into(), Length::Result);
        0
    })
}

/// `int SSL_read_ex(SSL *, void *, size_t, size_t *)`
#[uprobe]
pub fn tls_read_ex(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        called(direction::RECEIVED.into(), Length::Fourth);
        0
    })
}

/// `int SSL_write_ex(SSL *, const void *, size_t, size_t *)`
#[uprobe]
pub fn tls_write_ex(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        called(direction::SENT.into(), Length::Fourth);
        0
    })
}

/// OpenSSL's inner function since 3.2: `int ssl_write_internal(SSL *, const void *,
/// size_t, uint64_t flags, size_t *)`
#[uprobe]
pub fn tls_write_flags(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        called(direction::SENT.into(), Length::Fifth);
        0
    })
}

/// `int SSL_do_handshake(SSL *)`
#[uprobe]
pub fn tls_handshake(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        called(TlsCall::HANDSHAKE, Length::Result);
        0
    })
}

/// `void SSL_free(SSL *)`: another may get its place.
#[uprobe]
pub fn tls_free(_ctx: ProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        if let Some((slot, _)) = caller() {
            let key = SessionKey {
                session: read!(registers(), call_first, u64),
                tgid: slot.tgid.into(),
            };
            session::free(key);
        }
        0
    })
}

/// One of them returns.
#[uretprobe]
pub fn tls_returned(_ctx: RetProbeContext) -> u32 {
    undisturbed_in_user_function(|| {
        let Some((slot, state)) = caller() else {
            return 0;
        };
        // A file that is attached twice by mistake ends each call twice.
        if state.tls.session == 0 {
            return 0;
        }
        let result = read!(registers(), call_result, u64) as i32;
        let length = length(&state.tls, result);
        let key = SessionKey {
            session: state.tls.session,
            tgid: slot.tgid.into(),
        };
        state.tls.session = 0;
        let Some(session) = session::session(&key, slot, &mut state.tls) else {
            if length != 0 && state.tls.way != TlsCall::HANDSHAKE {
                lost(Loss::TlsUnknown);
            }
            return 0;
        };
        if length == 0 || state.tls.way == TlsCall::HANDSHAKE {
            return 0;
        }
        if let Some(context) = record::claim() {
            transferred(context, &mut session.connection, slot, state, length);
            record::release(context);
        }
        0
    })
}

/// How many bytes of plain text the call transferred.
#[inline(always)]
fn length(call: &TlsCall, result: i32) -> u32 {
    if result <= 0 {
        return 0;
    }
    if call.length == 0 {
        return result as u32;
    }
    let length = user(call.length).unwrap_or(0);
    if length > i32::MAX as u64 {
        0
    } else {
        length as u32
    }
}

/// Plain text was transferred: as for a socket without TLS.
#[inline(always)]
fn transferred(
    context: u32,
    connection: &mut Connection,
    slot: &mut Slot,
    state: &mut ThreadState,
    length: u32,
) {
    if connection.protocol >= protocol_state::TLS_RECORDS {
        return;
    }
    let way = state.tls.way as u8 & 1;
    let source = Source::buffer(state.tls.buffer);
    let turn = turned(connection, way);
    if connection.protocol == protocol_state::UNDECIDED
        && !(turn && recognise(context, connection, &source, false, way, length))
    {
        return;
    }
    if connection.protocol >= protocol_state::TLS_RECORDS {
        return;
    }
    let Some(scratch) = record::scratch(context) else {
        return;
    };
    // SAFETY: this CPU's map value, which this thread claimed.
    let scratch = unsafe { &mut *scratch };
    let next = Next::new(way, turn, length, false);
    let seed = |connection: &Connection| share::turn_seed(connection.id, connection);
    if !share::follows(connection, slot, &source, &next, seed) {
        return;
    }
    if connection.announced == 0 {
        let Some(opened) = session::opened(connection.id) else {
            return;
        };
        scratch.opened = *opened;
    }
    let now = now();
    clock::keep(connection, slot, state, current(), now);
    let captured = capture::message(context, connection, &source, way, length);
    if captured == 0 {
        lost(Loss::RequestUnread);
    }
    let served = serve::note(connection, slot, state, way, turn, now);
    let transfer = Transfer {
        length,
        captured,
        // Not looked for here: it would take the verifier a fifth longer.
        tail: 0,
        way,
        began: state.tls.began,
        now,
        retransmits: state.tls.retransmits,
        served,
    };
    record::piece(scratch, connection, slot, state, &transfer);
}

/// A program begins: it may bring a library that isn't known yet.
///
/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
/// (include/trace/events/sched.h). All kernels.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn requests_exec(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let task: *const u8 = ctx.arg(0);
        let record = Executed {
            tag: Tag::Executed as u32,
            tgid: read!(task, task_tgid, u32),
        };
        record::executed(&record, now());
        0
    })
}
