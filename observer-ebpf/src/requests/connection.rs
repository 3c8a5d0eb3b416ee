//! A connection: its state, kept with the socket, its ends, its end.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::helpers::generated::{bpf_sk_storage_get, bpf_skc_to_unix_sock};
use aya_ebpf::macros::btf_map;
use observer_common::loss::Loss;
use observer_common::offsets::MISSING;
use observer_common::requests::{Closed, Connection, Opened, Tag, protocol_state, transport};

use super::{record, tls};
use crate::kernel::{now, offset, read};
use crate::loss::lost;
use crate::tcp::tcp_socket;

/// `AF_UNIX`, `AF_INET`, `AF_INET6` of include/linux/socket.h.
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `IPPROTO_TCP` and `IPPROTO_UDP` of include/uapi/linux/in.h.
const TCP: u16 = 6;
const UDP: u16 = 17;
/// `SOCK_STREAM` of include/linux/net.h.
const STREAM: u16 = 1;
/// `::ffff:0:0/96`, the second half of the address but for the IPv4 part.
const MAPPED: u32 = u32::from_be_bytes([0, 0, 0xff, 0xff]).to_be();

/// Socket storage that stays with its socket: what a listener accepts begins
/// anew.
#[repr(C)]
pub struct SocketStorage<T> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the fields are placeholders that only the loader reads.
unsafe impl<T> Sync for SocketStorage<T> {}

#[btf_map]
static REQUEST_SOCKETS: SocketStorage<Connection> = SocketStorage {
    r#type: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
    max_entries: core::ptr::null(),
    map_flags: core::ptr::null(),
};

/// Sockets that can carry requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// A Unix domain stream socket.
    Unix,
}

/// Which kind of socket it is, if any of these.
#[inline(always)]
pub fn kind_of(sk: *const u8) -> Option<Kind> {
    match read!(sk, sock_family, u16) {
        AF_INET | AF_INET6 => match read!(sk, sock_protocol, u16) {
            TCP => Some(Kind::Tcp),
            UDP => Some(Kind::Udp),
            _ => None,
        },
        AF_UNIX if read!(sk, sock_type, u16) == STREAM => Some(Kind::Unix),
        _ => None,
    }
}

#[inline(always)]
unsafe fn storage(sk: *const u8, create: bool) -> Option<&'static mut Connection> {
    let flags = if create {
        u64::from(BPF_SK_STORAGE_GET_F_CREATE)
    } else {
        0
    };
    // SAFETY: the caller's promise; a null value means zeroes.
    let found: *mut Connection = unsafe {
        bpf_sk_storage_get(
            (&raw const REQUEST_SOCKETS).cast_mut().cast(),
            sk.cast_mut().cast(),
            core::ptr::null_mut(),
            flags,
        )
    }
    .cast();
    if create && found.is_null() {
        lost(Loss::RequestStateFailed);
    }
    // SAFETY: null or a storage value that lives as long as the program runs.
    unsafe { found.as_mut() }
}

/// The state of a socket, made if it has none.
///
/// # Safety
///
/// `sk` must be a socket that the verifier trusts.
#[inline(always)]
pub unsafe fn connection(sk: *const u8) -> Option<&'static mut Connection> {
    // SAFETY: the caller's promise.
    unsafe { storage(sk, true) }
}

/// Says who is connected.
#[inline(always)]
pub fn describe(opened: &mut Opened, sk: *const u8, kind: Kind) {
    opened.netns = 0;
    opened.family = 0;
    opened.local_port = 0;
    opened.peer_port = 0;
    if matches!(kind, Kind::Unix) {
        opened.transport = transport::UNIX;
        opened.local = [sk as u64, 0];
        opened.peer = [0, 0];
        // SAFETY: a trusted socket.
        let socket = unsafe { bpf_skc_to_unix_sock(sk.cast_mut().cast()) };
        if offset!(unix_peer) != MISSING && !socket.is_null() {
            opened.peer[0] = read!(socket as *const u8, unix_peer, u64);
        }
        return;
    }
    opened.transport = if matches!(kind, Kind::Tcp) {
        transport::TCP
    } else {
        transport::UDP
    };
    let peer = read!(sk, sock_v6_daddr, [u64; 2]);
    let mapped = peer[0] == 0 && peer[1] as u32 == MAPPED;
    if read!(sk, sock_family, u16) == AF_INET || mapped {
        opened.family = 4;
        opened.local = [u64::from(read!(sk, sock_saddr, u32)), 0];
        opened.peer = [u64::from(read!(sk, sock_daddr, u32)), 0];
    } else {
        opened.family = 6;
        opened.local = read!(sk, sock_v6_saddr, [u64; 2]);
        opened.peer = peer;
    }
    opened.local_port = read!(sk, sock_num, u16);
    opened.peer_port = u16::from_be(read!(sk, sock_dport, u16));
    if offset!(sock_net_inum) != MISSING {
        let net = read!(sk, sock_net, *const u8);
        opened.netns = read!(net, sock_net_inum, u32);
    }
}

/// Tells of a connection's end, once.
///
/// # Safety
///
/// `sk` must be a socket that the verifier trusts, and not null.
#[inline(always)]
pub unsafe fn ends(sk: *const u8) {
    // SAFETY: the caller's promise.
    let Some(connection) = (unsafe { storage(sk, false) }) else {
        return;
    };
    if connection.announced == 0 || connection.closed != 0 {
        return;
    }
    connection.closed = 1;
    if connection.protocol == protocol_state::TLS_RECORDS {
        tls::forget(connection.id);
    }
    record::closed(&Closed {
        tag: Tag::Closed as u32,
        error: read!(sk, sock_err, u32),
        connection: connection.id,
        at: now(),
    });
}

/// The state of a socket that connects for a request.
///
/// # Safety
///
/// `sk` must be a socket that the verifier trusts, and not null.
#[inline(always)]
pub unsafe fn begin(sk: *const u8, request: u64) {
    // SAFETY: the caller's promise. One that connects again begins anew.
    let Some(connection) = (unsafe { storage(sk, request != 0) }) else {
        return;
    };
    *connection = Connection {
        id: 0,
        request,
        number: 0,
        protocol: protocol_state::UNDECIDED,
        role: 0,
        direction: 0,
        tries: 0,
        announced: 0,
        connected: (request != 0) as u8,
        closed: 0,
        flags: 0,
        head: 0,
    };
}

/// Segments that a TCP socket sent again so far.
///
/// # Safety
///
/// `sk` must be a socket that the verifier trusts.
#[inline(always)]
pub unsafe fn retransmits(sk: *const u8, kind: Kind) -> u32 {
    if !matches!(kind, Kind::Tcp) || offset!(tcp_total_retrans) == MISSING {
        return 0;
    }
    // SAFETY: the caller's promise.
    let tcp = unsafe { tcp_socket(sk) };
    if tcp.is_null() {
        return 0;
    }
    read!(tcp, tcp_total_retrans, u32)
}
