//! Packets that the kernel drops, by its reason; datagrams by who sends and receives
//! them.
//!
//! A dropped packet is its socket's owner's, if it has a socket. Who that is, is kept
//! with the socket: whoever sends or receives by it in a thread of its own, else who
//! has a descriptor of it, which an iterator finds. Connections have the owner of
//! their listener until they are used.

use aya_ebpf::bindings::BPF_F_CLONE;
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::loss::Loss;
use observer_common::net::{Datagram, Direction, Drop, INTERFACES, NO_REASON, Owner, owner};
use observer_common::offsets::MISSING;
use observer_common::tally::Kind;
use observer_common::tcp::Family;
use observer_common::workload::{OTHER, TRACED, WorkloadId};

use crate::identity::{anyone_here, identify};
use crate::kernel::{offset, peek, read, setting};
use crate::loss::lost;
use crate::preemption::undisturbed;
use crate::socket::{PLAIN, SocketStorage, TaskFile, of_file};
use crate::tally;

#[btf_map]
static NET_SOCKETS: SocketStorage<Owner, { PLAIN | BPF_F_CLONE as usize }> = SocketStorage::new();

/// `AF_INET`, `AF_INET6` of include/linux/socket.h.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `SOCK_DGRAM` and `SOCK_RAW` of include/linux/net.h.
const DATAGRAM: u16 = 2;
const RAW: u16 = 3;
/// `MSG_PEEK` and `MSG_ERRQUEUE` of include/linux/socket.h: what is read is no
/// datagram, or will be read again.
const NOT_RECEIVED: u32 = 0x2 | 0x2000;
#[inline(always)]
fn is_internet(sk: *const u8) -> bool {
    matches!(read!(sk, sock_family, u16), AF_INET | AF_INET6)
}

/// What a socket says of a packet that is dropped.
enum Charge {
    /// There is none.
    NoSocket,
    /// It is none of the internet's: nothing of it goes over a network.
    Local,
    /// Nobody knows whose it is.
    Unknown,
    /// It is this one's; `None` if that isn't traced.
    To(Option<WorkloadId>),
}

/// # Safety
///
/// `sk` must be a socket as the verifier knows it, or null.
#[inline(always)]
unsafe fn charge(sk: *const u8) -> Charge {
    if sk.is_null() {
        return Charge::NoSocket;
    }
    if !is_internet(sk) {
        return Charge::Local;
    }
    // SAFETY: the caller's promise; the helper looks whether it is a whole socket.
    match unsafe { NET_SOCKETS.get(sk, false) } {
        Some(owner) => Charge::To((owner.traced != 0).then_some(owner.workload)),
        None => Charge::Unknown,
    }
}

/// Counts a packet as its socket's owner's, or as nobody's.
#[inline(always)]
fn dropped(charge: Charge, mut drop: Drop, packets: u64, place: impl FnOnce() -> u32) {
    let whose = match charge {
        Charge::Local => return,
        Charge::To(Some(workload)) => {
            drop.owner = owner::KNOWN;
            workload
        }
        Charge::To(None) => return,
        Charge::Unknown | Charge::NoSocket if setting!(filters) != 0 => return,
        Charge::Unknown => {
            drop.owner = owner::UNKNOWN;
            drop.interface = place();
            OTHER
        }
        Charge::NoSocket => {
            drop.interface = place();
            OTHER
        }
    };
    tally::count(Kind::NetDrops, whose, drop.label(), packets);
}

/// The interface of a packet, if that is one of those that are told apart.
#[inline(always)]
fn interface(skb: *const u8) -> u32 {
    // In a socket's queue the kernel keeps something else there, which is no
    // address: zeroes are read then.
    let device = read!(skb, skb_dev, *const u8);
    if device.is_null() || setting!(network_namespace) == 0 {
        return 0;
    }
    let net = read!(device, device_net, *const u8);
    if net.is_null() || read!(net, sock_net_inum, u32) != setting!(network_namespace) {
        return 0;
    }
    let index = read!(device, device_index, u32);
    if index < INTERFACES { index } else { 0 }
}

/// How many packets of the wire it is: GRO and GSO make one of several.
#[inline(always)]
fn packets(skb: *const u8) -> u64 {
    if offset!(skb_gso_segs) == MISSING {
        return 1;
    }
    let shared = read!(skb, skb_head, u64) + u64::from(read!(skb, skb_end, u32));
    let segments: u16 = peek(shared + u64::from(offset!(skb_gso_segs)));
    if segments == 0 {
        1
    } else {
        u64::from(segments)
    }
}

/// `kfree_skb(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock
/// *rx_sk)` (include/trace/events/skb.h). `reason` since 5.17, `rx_sk` since 6.11: before,
/// a packet that comes in has its socket only if the kernel had found it early.
#[btf_tracepoint(function = "kfree_skb")]
pub fn net_drop(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let skb: *const u8 = ctx.arg(0);
        let arguments = offset!(kfree_skb_arguments);
        let has_reason = offset!(skb_reasons) != MISSING && arguments != MISSING && arguments > 2;
        let reason = if has_reason {
            ctx.arg::<u32>(2)
        } else {
            NO_REASON
        };
        // No reason is as large as what stands for those that this kernel hasn't got.
        if reason == offset!(skb_not_dropped) || reason == offset!(skb_consumed) {
            return 0;
        }
        let drop = Drop {
            reason,
            interface: 0,
            direction: if read!(skb, skb_iif, u32) == 0 {
                Direction::Sent as u8
            } else {
                Direction::Received as u8
            },
            owner: owner::NONE,
        };
        if arguments != MISSING && arguments > 3 {
            // SAFETY: a tracepoint's argument.
            let charge = unsafe { charge(ctx.arg(3)) };
            if !matches!(charge, Charge::NoSocket) {
                dropped(charge, drop, packets(skb), || interface(skb));
                return 0;
            }
        }
        let sk = read!(skb, skb_sk, *const u8);
        // SAFETY: a packet keeps its socket.
        let charge = unsafe { charge(sk) };
        // Messages of Unix domain sockets and of netlink have no protocol.
        if matches!(charge, Charge::NoSocket) && read!(skb, skb_protocol, u16) == 0 {
            return 0;
        }
        dropped(charge, drop, packets(skb), || interface(skb));
        0
    })
}

/// `sock_send_length(struct sock *sk, int ret, int flags)`
/// (include/trace/events/sock.h). Since 6.3.
#[btf_tracepoint(function = "sock_send_length")]
pub fn net_sent(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        // SAFETY: a tracepoint's argument is trusted.
        unsafe { used(ctx.arg(0), ctx.arg(1), Direction::Sent) };
        0
    })
}

/// `sock_recv_length(struct sock *sk, int ret, int flags)`
/// (include/trace/events/sock.h). Since 6.3.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn net_received(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        if ctx.arg::<u32>(2) & NOT_RECEIVED == 0 {
            // SAFETY: a tracepoint's argument is trusted.
            unsafe { used(ctx.arg(0), ctx.arg(1), Direction::Received) };
        }
        0
    })
}

/// The current thread has sent or received something, or has failed to.
///
/// # Safety
///
/// `sk` must be a socket that the verifier trusts, and not null.
#[inline(always)]
unsafe fn used(sk: *const u8, length: i32, direction: Direction) {
    if !is_internet(sk) {
        return;
    }
    let is_datagram = matches!(read!(sk, sock_type, u16), DATAGRAM | RAW);
    // SAFETY: the caller's promise.
    let known = unsafe { NET_SOCKETS.get(sk, false) };
    // Of connections all that is wanted is whose they are.
    if !is_datagram && known.as_ref().is_some_and(|owner| owner.used != 0) {
        return;
    }
    let Some(slot) = anyone_here() else { return };
    let known = match known {
        Some(known) => Some(known),
        // SAFETY: the caller's promise.
        None => unsafe { NET_SOCKETS.get(sk, true) },
    };
    let traced = slot.flags & TRACED != 0;
    match known {
        Some(owner) => {
            owner.workload = slot.workload;
            owner.tgid = slot.tgid;
            owner.traced = u32::from(traced);
            owner.used = 1;
        }
        None => lost(Loss::NetStateFailed),
    }
    if !is_datagram || !traced || length < 0 {
        return;
    }
    let label = Datagram {
        direction: direction as u8,
        protocol: read!(sk, sock_protocol, u16) as u8,
        family: if read!(sk, sock_family, u16) == AF_INET {
            Family::V4 as u8
        } else {
            Family::V6 as u8
        },
    };
    let (label, bytes) = (label.label(), u64::from(length as u32));
    tally::count(Kind::NetDatagrams, slot.workload, label, 1);
    tally::count(Kind::NetBytes, slot.workload, label, bytes);
}

/// Sees every open file of every process: whose sockets are that nobody has used since
/// the daemon began. When several processes hold a socket the youngest has it: it got
/// it from an older one to use it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn net_holders(ctx: *const TaskFile) -> i32 {
    // SAFETY: the kernel's context.
    let (task, file) = unsafe { ((*ctx).task, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // SAFETY: the iterator's file, not null.
    let sk = unsafe { of_file(file) };
    if sk.is_null() || !is_internet(sk) {
        return 0;
    }
    // SAFETY: the file keeps its socket.
    let Some(owner) = (unsafe { NET_SOCKETS.get(sk, true) }) else {
        lost(Loss::NetStateFailed);
        return 0;
    };
    let tgid = read!(task, task_tgid, u32);
    if owner.used != 0 && owner.tgid != tgid {
        return 0;
    }
    // SAFETY: the iterator's task is trusted.
    let thread = unsafe { identify(task) };
    if thread.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value.
    let thread = unsafe { &*thread };
    owner.workload = thread.workload;
    owner.tgid = tgid;
    owner.traced = u32::from(thread.flags & TRACED != 0);
    0
}
