//! Iterators: who holds which socket, and how far all sockets have come.

use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::macros::btf_map;
use observer_common::tcp::{
    Connection, Counted, Holder, LISTENERS, Place, Role, UNOWNED, owner, phase, state,
};
use observer_common::workload::{OTHER, TRACED};

use super::account::{begin_bytes, bytes, count_bytes, sample_rtt};
use super::socket::{connection, family};
use crate::identity::identify;
use crate::kernel::{now, read, setting};
use crate::sequence::{self, Meta};
use crate::socket::{TaskFile, of_file, tcp_socket};
use crate::thread::thread;

#[btf_map]
static TCP_LISTENERS: HashMap<Place, Holder, LISTENERS> = HashMap::new();

/// `struct bpf_iter__bpf_sk_storage_map` of net/core/bpf_sk_storage.c.
#[repr(C)]
pub struct Socket {
    meta: *const Meta,
    map: *const u8,
    sk: *const u8,
    value: *const u8,
}

/// The TCP socket, its TCP state and ours, made if it has none and `create`;
/// `None` for what isn't TCP and for what is closed.
///
/// # Safety
///
/// `sk` must be a socket that the verifier trusts, and not null.
#[inline(always)]
unsafe fn open(sk: *const u8, create: bool) -> Option<(*const u8, u8, &'static mut Connection)> {
    // SAFETY: the caller's promise.
    let tcp = unsafe { tcp_socket(sk) };
    if tcp.is_null() {
        return None;
    }
    let is = read!(tcp, sock_state, u8);
    if is == state::CLOSE {
        return None;
    }
    // SAFETY: not null.
    let connection = unsafe { connection(tcp, create) }?;
    Some((tcp, is, connection))
}

/// The same of a file, if that is a socket.
///
/// # Safety
///
/// `file` must be a file that the verifier trusts, and not null.
#[inline(always)]
unsafe fn open_file(
    file: *const u8,
    create: bool,
) -> Option<(*const u8, u8, &'static mut Connection)> {
    // SAFETY: the caller's promise.
    let sk = unsafe { of_file(file) };
    if sk.is_null() {
        return None;
    }
    // SAFETY: the file keeps its socket.
    unsafe { open(sk, create) }
}

/// Sees every open file of every process: finds the owners of sockets that are
/// older than the daemon, and those of accepted ones. When several processes
/// hold a socket the youngest has it: it got it from an older one to use it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn tcp_holders(ctx: *const TaskFile) -> i32 {
    // SAFETY: the kernel's context.
    let (meta, task, file) = unsafe { ((*ctx).meta, (*ctx).task, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // SAFETY: the iterator's file, not null.
    let Some((tcp, is, connection)) = (unsafe { open_file(file, true) }) else {
        return 0;
    };
    if connection.role == Role::Unknown as u8 && connection.older == 0 {
        take_stock(connection, tcp, is);
    }
    // SAFETY: the kernel's structure.
    let session = unsafe { (*meta).session() };
    if connection.owner == owner::SURE || (connection.session != 0 && connection.session != session)
    {
        return 0;
    }
    // SAFETY: the iterator's task is trusted.
    let thread = unsafe { identify(task) };
    if thread.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value.
    let thread = unsafe { &*thread };
    connection.workload = thread.workload;
    connection.traced = (thread.flags & TRACED != 0) as u8;
    connection.tgid = read!(task, task_tgid, u32);
    connection.owner = owner::GUESSED;
    connection.session = session;
    if is == state::LISTEN {
        let holder = Holder {
            workload: connection.workload,
            tgid: connection.tgid,
            traced: u32::from(connection.traced),
        };
        // When there are too many, some connections are `other`'s.
        let _ = TCP_LISTENERS.insert(&place(tcp), &holder, 0);
    }
    0
}

/// Sees the open files of processes whose threads were told what they run: their
/// sockets go with them.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn tcp_moved(ctx: *const TaskFile) -> i32 {
    // SAFETY: the kernel's context.
    let (task, file) = unsafe { ((*ctx).task, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // SAFETY: the iterator's file, not null.
    let Some((tcp, is, connection)) = (unsafe { open_file(file, false) }) else {
        return 0;
    };
    // SAFETY: the iterator's task is trusted; what isn't null is a storage value.
    let Some(owner) = (unsafe { thread(task, false).as_ref() }) else {
        return 0;
    };
    if connection.tgid != read!(task, task_tgid, u32) || owner.css_set == 0 {
        return 0;
    }
    connection.workload = owner.workload;
    if is == state::LISTEN
        && let Some(holder) = TCP_LISTENERS.get_ptr_mut(&place(tcp))
    {
        // SAFETY: a map value; written at once.
        unsafe { (*holder).workload = owner.workload };
    }
    0
}

/// `struct bpf_iter__tcp` of net/ipv4/tcp_ipv4.c.
#[repr(C)]
pub struct TcpSocket {
    meta: *const Meta,
    sk_common: *const u8,
    uid: u32,
}

/// Sees every TCP socket of a network namespace. Those that nobody holds and
/// that have no state yet wait for an accept, or for the end: the former
/// belong to their listener's owner.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn tcp_orphans(ctx: *const TcpSocket) -> i32 {
    // SAFETY: the kernel's context.
    let sk = unsafe { (*ctx).sk_common };
    if sk.is_null() {
        return 0;
    }
    // SAFETY: the iterator's socket, not null.
    let Some((tcp, is, connection)) = (unsafe { open(sk, true) }) else {
        return 0;
    };
    if connection.role != Role::Unknown as u8 || connection.older != 0 {
        return 0;
    }
    take_stock(connection, tcp, is);
    // SAFETY: copied at once.
    let holder = unsafe { TCP_LISTENERS.get(&place(tcp)) };
    if let Some(holder) = holder {
        connection.workload = holder.workload;
        connection.tgid = holder.tgid;
        connection.traced = holder.traced as u8;
    } else {
        connection.workload = OTHER;
        connection.traced = (setting!(filters) == 0) as u8;
    }
    0
}

#[inline(always)]
fn place(tcp: *const u8) -> Place {
    Place {
        net: read!(tcp, sock_net, u64),
        port: u64::from(read!(tcp, sock_num, u16)),
    }
}

/// A socket older than the daemon: what it did before doesn't count.
#[inline(always)]
fn take_stock(connection: &mut Connection, tcp: *const u8, is: u8) {
    connection.older = 1;
    connection.owner = owner::NEW;
    connection.started = now();
    connection.segments = read!(tcp, tcp_total_retrans, u32);
    connection.delivered = read!(tcp, tcp_delivered, u32);
    match is {
        state::LISTEN => connection.role = Role::Listener as u8,
        state::SYN_SENT => {
            connection.role = Role::Client as u8;
            connection.phase = phase::OPENING;
        }
        _ => {
            connection.phase = phase::OPEN;
            begin_bytes(connection, tcp);
            (connection.sent, connection.received) = bytes(connection, tcp);
        }
    }
}

/// Sees every socket that has a state, in all network namespaces: counts the
/// bytes since the last time, samples the RTT of those that did something, and
/// tells the daemon the state of each.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub extern "C" fn tcp_sockets(ctx: *const Socket) -> i32 {
    // SAFETY: the kernel's context.
    let (meta, sk) = unsafe { ((*ctx).meta, (*ctx).sk) };
    if sk.is_null() {
        return 0;
    }
    // SAFETY: the iterator's socket, not null.
    let Some((tcp, is, connection)) = (unsafe { open(sk, false) }) else {
        return 0;
    };
    let family = family(tcp);
    let mut counted = Counted {
        workload: connection.workload,
        state: is,
        family,
        padding: 0,
        count: 1,
    };
    if connection.owner == owner::NEW {
        // The owner is looked for first, then we come again.
        connection.owner = owner::GUESSED;
        counted.count |= UNOWNED;
    } else if is != state::LISTEN {
        count_bytes(connection, tcp, family);
        let delivered = read!(tcp, tcp_delivered, u32);
        if delivered != connection.delivered {
            connection.delivered = delivered;
            sample_rtt(connection, tcp, family);
        }
    }
    if connection.traced == 0 && counted.count & UNOWNED == 0 {
        return 0;
    }
    sequence::write(meta, &counted);
    if is == state::LISTEN {
        // Half-open connections are no sockets yet; their listener counts them.
        counted.state = state::SYN_RECV;
        counted.count = read!(tcp, icsk_syn_queue, u32);
        if counted.count != 0 {
            sequence::write(meta, &counted);
        }
    }
    0
}
