//! Handshakes as those who wait for them see them.
//!
//! On a fast path most of the time that a blocking connect takes lies outside
//! of SYN_SENT: before it, and after it, when the last ACK goes out and, on
//! the same machine, makes the other side's connection. So the handshake of a
//! blocking connect is timed by the call itself, if syscalls are observed.

use observer_common::slot::Slot;
use observer_common::tally::Kind;
use observer_common::tcp::{Connection, Role, label};

use super::socket::family;
use crate::kernel::{current, read, setting};
use crate::slot::slot;
use crate::tally;
use crate::thread::thread;

/// `O_NONBLOCK` of include/uapi/asm-generic/fcntl.h.
const O_NONBLOCK: u32 = 0o4000;

/// Called in the connect call.
#[inline(always)]
pub fn begins(connection: &mut Connection, tcp: *const u8) {
    let task = current();
    let Some(slot) = slot() else { return };
    if slot.task != task as u64 || slot.syscall != setting!(connect) {
        return;
    }
    let socket = read!(tcp, sock_socket, *const u8);
    if socket.is_null() {
        return;
    }
    let file = read!(socket, socket_file, *const u8);
    if file.is_null() || read!(file, file_flags, u32) & O_NONBLOCK != 0 {
        return;
    }
    // SAFETY: the current task is trusted.
    let state = unsafe { thread(task, false) };
    if !state.is_null() {
        connection.awaited = 1;
        // SAFETY: not null, so a storage value.
        unsafe { (*state).connecting = 1 + label(Role::Client as u8, family(tcp), 0) };
    }
}

/// A connect call of the slot's thread ends: if it waited for a TCP handshake,
/// and that succeeded, that took as long as the call.
#[inline(always)]
pub fn connect_returned(slot: &Slot, ended: u64, result: i64) {
    // SAFETY: the current task is trusted.
    let state = unsafe { thread(current(), false) };
    if state.is_null() {
        return;
    }
    // SAFETY: not null, so a storage value.
    let state = unsafe { &mut *state };
    let connecting = state.connecting;
    state.connecting = 0;
    if connecting != 0 && result == 0 {
        let took = ended.saturating_sub(slot.syscall_start);
        tally::record(
            Kind::TcpHandshake,
            slot.syscall_workload,
            connecting - 1,
            took,
        );
    }
}
