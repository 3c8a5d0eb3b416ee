//! A socket: what is kept with it and lives as long, and its TCP side.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::helpers::generated::{bpf_sk_storage_get, bpf_skc_to_tcp_sock, bpf_sock_from_file};

use crate::kernel::read;
use crate::sequence::Meta;

/// Socket storage. aya-ebpf's own knows neither `FLAGS` (`BPF_F_CLONE`) nor raw
/// sockets; the layout is the same.
#[repr(C)]
pub struct SocketStorage<T, const FLAGS: usize> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

/// Flags that socket storage can't do without.
pub const PLAIN: usize = BPF_F_NO_PREALLOC as usize;

// SAFETY: the fields are placeholders that only the loader reads.
unsafe impl<T, const FLAGS: usize> Sync for SocketStorage<T, FLAGS> {}

impl<T, const FLAGS: usize> SocketStorage<T, FLAGS> {
    pub const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }

    /// What is kept with `sk`, made (zeroed) if `create`.
    ///
    /// # Safety
    ///
    /// `sk` must be a socket that the verifier trusts, and not null.
    #[expect(
        clippy::mut_from_ref,
        reason = "what is returned is kept with the socket: the map is only its name"
    )]
    #[inline(always)]
    pub unsafe fn get(&'static self, sk: *const u8, create: bool) -> Option<&'static mut T> {
        let flags = if create {
            u64::from(BPF_SK_STORAGE_GET_F_CREATE)
        } else {
            0
        };
        // SAFETY: the caller's promise; a null value means zeroes.
        let found: *mut T = unsafe {
            bpf_sk_storage_get(
                (&raw const *self).cast_mut().cast(),
                sk.cast_mut().cast(),
                core::ptr::null_mut(),
                flags,
            )
        }
        .cast();
        // SAFETY: null or a storage value that lives as long as the program runs.
        unsafe { found.as_mut() }
    }
}

/// The TCP socket behind `sk`; null when it is something else, or only half of
/// a socket (a handshake under way, TIME_WAIT).
///
/// # Safety
///
/// `sk` must be a socket that the verifier trusts, and not null.
#[inline(always)]
pub unsafe fn tcp_socket(sk: *const u8) -> *const u8 {
    // SAFETY: the caller's promise.
    unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) }
        .cast_const()
        .cast()
}

/// `struct bpf_iter__task_file` of kernel/bpf/task_iter.c.
#[repr(C)]
pub struct TaskFile {
    pub meta: *const Meta,
    pub task: *const u8,
    pub fd: u32,
    pub file: *const u8,
}

/// The socket that a file is; null if it is none.
///
/// # Safety
///
/// `file` must be a file that the verifier trusts, and not null.
#[inline(always)]
pub unsafe fn of_file(file: *const u8) -> *const u8 {
    // SAFETY: the caller's promise.
    let socket: *const u8 = unsafe { bpf_sock_from_file(file.cast_mut().cast()) }.cast();
    if socket.is_null() {
        return core::ptr::null();
    }
    read!(socket, socket_sk, *const u8)
}
