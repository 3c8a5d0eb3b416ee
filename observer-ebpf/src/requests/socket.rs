//! A socket: as tracepoints hand it over, or as it is found from a descriptor
//! where the kernel has none that do (before 6.3).

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::generated::bpf_skc_to_unix_sock;
use aya_ebpf::macros::btf_map;
use observer_common::loss::Loss;
use observer_common::offsets::MISSING;
use observer_common::requests::{Connection, direction};

use crate::kernel::{current, offset, peek, read, read_at, setting};
use crate::loss::lost;
use crate::socket::{PLAIN, SocketStorage, tcp_socket};

/// Stays with its socket: what a listener accepts begins anew.
#[btf_map]
static REQUEST_SOCKETS: SocketStorage<Connection, PLAIN> = SocketStorage::new();

/// By address, for sockets that were found from a descriptor: storage wants a
/// pointer that the verifier trusts. The loader gives it a size where it is used.
#[btf_map]
static REQUEST_ADDRESSES: LruHashMap<u64, Connection, 1> = LruHashMap::new();

/// `AF_UNIX`, `AF_INET`, `AF_INET6` of include/linux/socket.h.
const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `IPPROTO_TCP` and `IPPROTO_UDP` of include/uapi/linux/in.h.
const TCP: u16 = 6;
const UDP: u16 = 17;
/// `SOCK_STREAM` of include/linux/net.h.
const STREAM: u16 = 1;
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
pub fn kind_of(sk: impl Socket) -> Option<Kind> {
    match field!(sk, sock_family, u16) {
        AF_INET | AF_INET6 => match field!(sk, sock_protocol, u16) {
            TCP => Some(Kind::Tcp),
            UDP => Some(Kind::Udp),
            _ => None,
        },
        AF_UNIX if field!(sk, sock_type, u16) == STREAM => Some(Kind::Unix),
        _ => None,
    }
}

/// What is asked of a socket.
pub trait Socket: Copy {
    /// A field of `struct sock`.
    fn field<T: Copy>(self, offset: u32) -> T;
    /// The state of its connection, made (zeroed) if `create`.
    fn state(self, create: bool) -> Option<&'static mut Connection>;
    /// What tells it from others.
    fn address(self) -> u64;
    /// Of a Unix domain socket: the address of the other end's; 0 if unknown.
    fn unix_peer(self) -> u64;
    /// Of a TCP socket: segments sent again.
    fn retransmits(self) -> u32;
    /// Of a TCP socket: the sequence number up to which the program has sent
    /// or received.
    fn position(self, way: u8) -> Option<u32>;
}

/// Reads `$field` of a socket: `field!(sk, sock_family, u16)`.
macro_rules! field {
    ($socket:expr, $field:ident, $ty:ty) => {
        $crate::requests::socket::Socket::field::<$ty>($socket, $crate::kernel::offset!($field))
    };
}

pub(crate) use field;

/// One that the verifier trusts.
#[derive(Clone, Copy)]
pub struct Trusted(*const u8);

impl Trusted {
    /// # Safety
    ///
    /// `sk` must be a socket that the verifier trusts, and not null.
    #[inline(always)]
    pub unsafe fn new(sk: *const u8) -> Self {
        Self(sk)
    }
}

impl Socket for Trusted {
    #[inline(always)]
    fn field<T: Copy>(self, offset: u32) -> T {
        // SAFETY: a trusted socket; the verifier checks the access.
        unsafe { read_at(self.0, offset) }
    }

    #[inline(always)]
    fn state(self, create: bool) -> Option<&'static mut Connection> {
        if setting!(by_descriptor) != 0 {
            return by_address(self.0 as u64, create);
        }
        // SAFETY: a trusted socket.
        let found = unsafe { REQUEST_SOCKETS.get(self.0, create) };
        if create && found.is_none() {
            lost(Loss::RequestStateFailed);
        }
        found
    }

    #[inline(always)]
    fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    fn unix_peer(self) -> u64 {
        // SAFETY: a trusted socket.
        let socket = unsafe { bpf_skc_to_unix_sock(self.0.cast_mut().cast()) };
        if offset!(unix_peer) == MISSING || socket.is_null() {
            return 0;
        }
        read!(socket as *const u8, unix_peer, u64)
    }

    #[inline(always)]
    fn retransmits(self) -> u32 {
        if offset!(tcp_total_retrans) == MISSING {
            return 0;
        }
        // SAFETY: a trusted socket.
        let tcp = unsafe { tcp_socket(self.0) };
        if tcp.is_null() {
            return 0;
        }
        read!(tcp, tcp_total_retrans, u32)
    }

    #[inline(always)]
    fn position(self, way: u8) -> Option<u32> {
        if offset!(tcp_write_seq) == MISSING || offset!(tcp_copied_seq) == MISSING {
            return None;
        }
        // SAFETY: a trusted socket.
        let tcp = unsafe { tcp_socket(self.0) };
        if tcp.is_null() {
            None
        } else if way == direction::SENT {
            Some(read!(tcp, tcp_write_seq, u32))
        } else {
            Some(read!(tcp, tcp_copied_seq, u32))
        }
    }
}

#[inline(always)]
fn by_address(address: u64, create: bool) -> Option<&'static mut Connection> {
    if create
        && REQUEST_ADDRESSES.get_ptr_mut(&address).is_none()
        && REQUEST_ADDRESSES
            .insert(&address, &Connection::NEW, 0)
            .is_err()
    {
        lost(Loss::RequestStateFailed);
    }
    // SAFETY: a map value. It may be reused for another socket while the
    // program runs, which then loses a message.
    REQUEST_ADDRESSES
        .get_ptr_mut(&address)
        .map(|connection| unsafe { &mut *connection })
}

/// One of which only the address is known: every read is checked when it is
/// made.
#[derive(Clone, Copy)]
pub struct Found(u64);

/// `S_IFMT` and `S_IFSOCK` of include/uapi/linux/stat.h.
const FORMAT: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;

impl Found {
    /// The socket behind a descriptor of the current task.
    #[inline(always)]
    pub fn behind(descriptor: u32) -> Option<Self> {
        let files = read!(current(), task_files, u64);
        let table: u64 = peek(files + u64::from(offset!(files_fdt)));
        let limit: u32 = peek(table + u64::from(offset!(fdtable_max)));
        if table == 0 || descriptor >= limit {
            return None;
        }
        let array: u64 = peek(table + u64::from(offset!(fdtable_fd)));
        let file: u64 = peek(array + u64::from(descriptor) * 8);
        let inode: u64 = peek(file + u64::from(offset!(file_inode)));
        let mode: u16 = peek(inode + u64::from(offset!(inode_mode)));
        if file == 0 || mode & FORMAT != SOCKET {
            return None;
        }
        let socket: u64 = peek(file + u64::from(offset!(file_private)));
        let sk: u64 = peek(socket + u64::from(offset!(socket_sk)));
        if sk == 0 { None } else { Some(Self(sk)) }
    }
}

impl Socket for Found {
    #[inline(always)]
    fn field<T: Copy>(self, offset: u32) -> T {
        peek(self.0 + u64::from(offset))
    }

    #[inline(always)]
    fn state(self, create: bool) -> Option<&'static mut Connection> {
        by_address(self.0, create)
    }

    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn unix_peer(self) -> u64 {
        if offset!(unix_peer) == MISSING {
            return 0;
        }
        peek(self.0 + u64::from(offset!(unix_peer)))
    }

    #[inline(always)]
    fn retransmits(self) -> u32 {
        if offset!(tcp_total_retrans) == MISSING {
            return 0;
        }
        peek(self.0 + u64::from(offset!(tcp_total_retrans)))
    }

    #[inline(always)]
    fn position(self, way: u8) -> Option<u32> {
        let offset = if way == direction::SENT {
            offset!(tcp_write_seq)
        } else {
            offset!(tcp_copied_seq)
        };
        if offset == MISSING {
            return None;
        }
        Some(peek(self.0 + u64::from(offset)))
    }
}
