//! What the kernel half must know of system calls: where they have the bytes
//! that they send or receive, and what they may wait for.

use observer_common::requests::{SENDS, SYSCALLS, Shape, Wait};

/// Calls with a place for bytes.
const SHAPES: &[(libc::c_long, Shape)] = &[
    (libc::SYS_read, Shape::Buffer),
    (libc::SYS_write, Shape::Buffer),
    (libc::SYS_sendto, Shape::Buffer),
    (libc::SYS_recvfrom, Shape::Buffer),
    (libc::SYS_readv, Shape::Vector),
    (libc::SYS_writev, Shape::Vector),
    (libc::SYS_preadv2, Shape::Vector),
    (libc::SYS_pwritev2, Shape::Vector),
    (libc::SYS_sendmsg, Shape::Message),
    (libc::SYS_recvmsg, Shape::Message),
    (libc::SYS_sendmmsg, Shape::Messages),
    (libc::SYS_recvmmsg, Shape::Messages),
    (libc::SYS_sendfile, Shape::File),
];

/// Calls that can wait, by what for.
const WAITS: &[(libc::c_long, Wait)] = &[
    (libc::SYS_sendto, Wait::Network),
    (libc::SYS_recvfrom, Wait::Network),
    (libc::SYS_sendmsg, Wait::Network),
    (libc::SYS_recvmsg, Wait::Network),
    (libc::SYS_sendmmsg, Wait::Network),
    (libc::SYS_recvmmsg, Wait::Network),
    (libc::SYS_connect, Wait::Network),
    (libc::SYS_accept, Wait::Network),
    (libc::SYS_accept4, Wait::Network),
    (libc::SYS_futex, Wait::Lock),
    (libc::SYS_flock, Wait::Lock),
    (libc::SYS_nanosleep, Wait::Sleep),
    (libc::SYS_clock_nanosleep, Wait::Sleep),
    (libc::SYS_ppoll, Wait::Poll),
    (libc::SYS_pselect6, Wait::Poll),
    (libc::SYS_epoll_pwait, Wait::EventLoop),
    (libc::SYS_epoll_pwait2, Wait::EventLoop),
    (libc::SYS_read, Wait::Stream),
    (libc::SYS_write, Wait::Stream),
    (libc::SYS_readv, Wait::Stream),
    (libc::SYS_writev, Wait::Stream),
    (libc::SYS_sendfile, Wait::Stream),
    (libc::SYS_splice, Wait::Stream),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, Wait::Poll),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, Wait::Poll),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, Wait::EventLoop),
];

/// Calls that send.
const SENDERS: &[libc::c_long] = &[
    libc::SYS_write,
    libc::SYS_sendto,
    libc::SYS_writev,
    libc::SYS_pwritev2,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendfile,
];

/// This machine's table, as [`observer_common::config::Config::syscalls`] has it.
pub fn table() -> [u8; SYSCALLS] {
    let mut table = [0; SYSCALLS];
    let mut or = |number: libc::c_long, bits: u8| {
        let entry = usize::try_from(number).ok().and_then(|n| table.get_mut(n));
        if let Some(entry) = entry {
            *entry |= bits;
        }
    };
    for (number, shape) in SHAPES {
        or(*number, (*shape as u8) << 4);
    }
    for (number, wait) in WAITS {
        or(*number, *wait as u8);
    }
    for number in SENDERS {
        or(*number, SENDS);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that every call that was named has its place in the table.
    #[test]
    fn every_call_fits() {
        let table = table();
        for (number, shape) in SHAPES {
            assert_eq!(table[*number as usize] >> 4, *shape as u8);
        }
        for (number, wait) in WAITS {
            assert_eq!(table[*number as usize] & 7, *wait as u8);
        }
    }
}
