//! A socket: its fields, its state, its owner.

use aya_ebpf::bindings::BPF_F_CLONE;
use aya_ebpf::macros::btf_map;
use observer_common::loss::Loss;
use observer_common::tcp::{Connection, Family, owner};
use observer_common::workload::{KERNEL_THREAD, TRACED};

use crate::identity::identify;
use crate::kernel::{current, read};
use crate::loss::lost;
use crate::socket::{PLAIN, SocketStorage};

/// `AF_INET` of include/linux/socket.h.
const AF_INET: u16 = 2;

/// `::ffff:0:0/96`, the second half of the address but for the IPv4 part.
const MAPPED: u32 = u32::from_be_bytes([0, 0, 0xff, 0xff]).to_be();

/// A listener hands it on to what it accepts. (The kernel copies it while it
/// makes the new socket, from the same kind of memory; the copy is a fraction
/// of the socket.)
#[btf_map]
static TCP_SOCKETS: SocketStorage<Connection, { PLAIN | BPF_F_CLONE as usize }> =
    SocketStorage::new();

/// The state of a socket, made (zeroed) if `create`; null if it has none.
///
/// # Safety
///
/// `tcp` must come from [`crate::socket::tcp_socket`] and not be null.
#[inline(always)]
pub unsafe fn connection(tcp: *const u8, create: bool) -> Option<&'static mut Connection> {
    // SAFETY: the caller's promise.
    let found = unsafe { TCP_SOCKETS.get(tcp, create) };
    if create && found.is_none() {
        lost(Loss::TcpStateFailed);
    }
    found
}

/// Makes the current thread the owner.
#[inline(always)]
pub fn adopt(connection: &mut Connection) {
    let task = current();
    // SAFETY: the current task is trusted.
    let thread = unsafe { identify(task) };
    if thread.is_null() {
        return;
    }
    // SAFETY: not null, so a storage value.
    let thread = unsafe { &*thread };
    // A deferred close by a kernel worker says nothing about the owner.
    if connection.owner != owner::SURE && thread.flags & KERNEL_THREAD != 0 {
        return;
    }
    connection.workload = thread.workload;
    connection.tgid = read!(task, task_tgid, u32);
    connection.traced = (thread.flags & TRACED != 0) as u8;
    connection.owner = owner::SURE;
}

/// Makes the current thread the owner, unless one is known: for sure, or by an
/// iteration over older sockets.
#[inline(always)]
pub fn adopt_once(connection: &mut Connection) {
    if connection.owner != owner::SURE && connection.session == 0 {
        adopt(connection);
    }
}

/// What is on the wire.
#[inline(always)]
pub fn family(tcp: *const u8) -> u8 {
    if read!(tcp, sock_family, u16) == AF_INET {
        return Family::V4 as u8;
    }
    let peer = read!(tcp, sock_v6_daddr, [u64; 2]);
    if peer[0] == 0 && peer[1] as u32 == MAPPED {
        Family::V4 as u8
    } else {
        Family::V6 as u8
    }
}

/// Takes down both addresses: they are gone when the socket is used again.
#[inline(always)]
pub fn take_addresses(connection: &mut Connection, tcp: *const u8) {
    connection.family = family(tcp);
    if connection.family == Family::V4 as u8 {
        connection.local = [u64::from(read!(tcp, sock_saddr, u32)), 0];
        connection.peer = [u64::from(read!(tcp, sock_daddr, u32)), 0];
    } else {
        connection.local = read!(tcp, sock_v6_saddr, [u64; 2]);
        connection.peer = read!(tcp, sock_v6_daddr, [u64; 2]);
    }
    connection.local_port = read!(tcp, inet_sport, u16);
    connection.peer_port = read!(tcp, sock_dport, u16);
}
