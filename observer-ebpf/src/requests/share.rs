//! Which exchanges are followed, where the daemon wants only a share of them
//! (`observer_common::tunables`). The others cost a look at their first bytes.
//!
//! A trace is to be whole or absent: calls go the way of the request for which
//! they are made, and a server on the same host that of its client. Both ends
//! know an exchange by where it begins in the stream.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use observer_common::offsets::MISSING;
use observer_common::requests::{
    Connection, Protocol, REDIS_SELECT, REDIS_START, beginning, chosen, direction, flag, mixed,
    protocol_state, request, role, unfollowed,
};
use observer_common::slot::Slot;
use observer_common::tally::Kind as Tally;
use observer_common::tunables::Tunables;
use observer_common::workload::WorkloadId;

use super::capture::{self, Source};
use super::connection::turned;
use super::room::requests_room;
use super::socket::{Kind, Socket};
use crate::kernel::{offset, peek};
use crate::tally;
use crate::tunables::tunables;

/// Choices of clients that are remembered for their servers, which ask within
/// microseconds; a power of two.
const CHOICES: usize = 512;

/// By a part of the seed: the seed, and in bit 0 whether the client follows it.
#[btf_map]
static REQUEST_CHOICES: Array<u64, CHOICES> = Array::new();

/// A piece of a recognised connection.
pub struct Next {
    /// One of [`direction`].
    pub way: u8,
    /// Whether that is another than before.
    pub turn: bool,
    /// Bytes.
    pub length: u32,
    /// Whether it is a message of its own.
    pub datagram: bool,
}

impl Next {
    /// See its fields.
    #[inline(always)]
    pub fn new(way: u8, turn: bool, length: u32, datagram: bool) -> Self {
        Self {
            way,
            turn,
            length,
            datagram,
        }
    }
}

#[inline(always)]
fn asks(connection: &Connection, way: u8) -> bool {
    (connection.role == role::SERVER) == (way == direction::RECEIVED)
}

/// Whether exchanges begin without a turn, too.
#[inline(always)]
fn overlaps(connection: &Connection) -> bool {
    Protocol::overlaps(connection.protocol)
}

/// Handles a piece with which nothing can begin, of an exchange that isn't
/// followed; false if it isn't one. `find` finds the current thread's slot.
#[inline(always)]
pub fn passes_by(
    connection: &mut Connection,
    way: u8,
    find: impl Fn() -> Option<&'static mut Slot>,
) -> bool {
    if connection.flags & flag::UNFOLLOWED == 0
        || connection.protocol >= protocol_state::TLS_RECORDS
    {
        return false;
    }
    let turns = connection.direction != way + 1;
    if asks(connection, way) && (turns || overlaps(connection)) {
        return false;
    }
    if turns {
        turned(connection, way);
        if let Some(slot) = find() {
            serves(connection, slot, way);
        }
    }
    true
}

/// Whether the next piece belongs to an exchange that is followed. `seed` says
/// by which number both ends know it.
#[inline(always)]
pub fn follows(
    connection: &mut Connection,
    slot: &mut Slot,
    source: &Source,
    next: &Next,
    seed: impl FnOnce(&Connection) -> u64,
) -> bool {
    let asks = asks(connection, next.way);
    let (share, why) = share(connection, slot, asks && next.turn);
    let was = connection.flags & flag::UNFOLLOWED != 0;
    if share == 0 && !was {
        return true;
    }
    if asks && (next.turn || overlaps(connection)) {
        let begins = begins(connection, source, next.length);
        if next.turn && begins & EXCHANGE != 0 {
            let needed = begins & NEEDED != 0;
            if chooses(connection, slot, share, needed, seed) {
                if was {
                    connection.flags |= flag::SKIPPED;
                }
                if connection.announced == 0 {
                    connection.flags |= (was as u8) * flag::MIDSTREAM;
                }
                connection.flags &= !flag::UNFOLLOWED;
            } else {
                connection.flags |= flag::UNFOLLOWED | (needed as u8 * flag::BLIND);
            }
        }
        let counted = begins & COUNTED != 0
            && (next.turn || next.datagram || !Protocol::parts(connection.protocol));
        if connection.flags & flag::UNFOLLOWED != 0 && counted {
            let label =
                u32::from(connection.protocol) | u32::from(connection.role) << 8 | why << 16;
            requests_unfollowed(slot.workload.0, label);
        }
    }
    if connection.flags & flag::UNFOLLOWED == 0 {
        return true;
    }
    if next.turn {
        serves(connection, slot, next.way);
    }
    false
}

/// Of 2ⁿ exchanges one is followed, and why only that: what the daemon wants; none that
/// begins while there is no room for it, but for those that are told by what went before.
#[inline(always)]
fn share(connection: &Connection, slot: &Slot, begins: bool) -> (u32, u32) {
    if begins
        && !Protocol::whole_connections(connection.protocol)
        && requests_room(slot.workload.0) == 0
    {
        return (Tunables::NO_REQUESTS, unfollowed::NO_ROOM);
    }
    match tunables().request_share {
        // What isn't followed found no room when it began.
        0 => (0, unfollowed::NO_ROOM),
        share => (share, unfollowed::SHARE),
    }
}

/// Whether an exchange that begins is followed.
#[inline(always)]
fn chooses(
    connection: &Connection,
    slot: &Slot,
    share: u32,
    needed: bool,
    seed: impl FnOnce(&Connection) -> u64,
) -> bool {
    if share == 0 || share >= Tunables::NO_REQUESTS {
        return share == 0;
    }
    let was = connection.flags & flag::UNFOLLOWED != 0;
    let streams = Protocol::whole_connections(connection.protocol);
    // Its heads are told by what went before: all of a connection or nothing.
    if streams && (connection.number != 0 || was) {
        return !was;
    }
    if needed {
        return true;
    }
    let made_for = if connection.role == role::SERVER {
        SERVES
    } else if streams {
        request::NONE
    } else if connection.connected != 0 {
        connection.request
    } else {
        slot.request
    };
    requests_chosen(seed(connection), share, made_for) != 0
}

/// [`requests_chosen`]: it is asked for a server. (No request's number.)
const SERVES: u64 = u64::MAX - 1;

/// Whether the exchange with this seed is followed: a client's that it makes
/// for a request (which may be none), or a server's.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_chosen(seed: u64, share: u32, made_for: u64) -> u32 {
    let place = mixed(seed) as u32 & (CHOICES as u32 - 1);
    let Some(choice) = REQUEST_CHOICES.get_ptr_mut(place) else {
        return 0;
    };
    if made_for == SERVES {
        // SAFETY: a map value; other CPUs may write it, so the seed is compared.
        let choice = unsafe { choice.read_volatile() };
        if choice >> 1 == seed {
            return choice as u32 & 1;
        }
    } else if made_for != request::NONE {
        let follow = made_for != request::UNFOLLOWED;
        // SAFETY: as above.
        unsafe { choice.write_volatile(seed << 1 | follow as u64) };
        return follow as u32;
    }
    chosen(seed, share) as u32
}

/// Which request the thread serves, where a turn of an exchange that isn't
/// followed begins.
#[inline(always)]
fn serves(connection: &mut Connection, slot: &mut Slot, way: u8) {
    match (connection.role == role::SERVER, way) {
        (true, direction::RECEIVED) => {
            connection.request = request::UNFOLLOWED;
            slot.request = request::UNFOLLOWED;
        }
        (true, _) => {
            if slot.request == request::UNFOLLOWED {
                slot.request = request::NONE;
            }
        }
        (false, direction::SENT) => {
            if connection.connected == 0 {
                connection.request = slot.request;
            }
            connection.connected = 0;
        }
        (false, _) => {
            if connection.request != request::NONE {
                slot.request = connection.request;
            }
        }
    }
}

/// By which number both ends of a socket's connection know an exchange that
/// begins with a piece of `length` bytes; never 0, 62 bits.
#[inline(always)]
pub fn seed(sk: impl Socket, kind: Kind, connection: &Connection, way: u8, length: u32) -> u64 {
    if matches!(kind, Kind::Tcp)
        && let Some(position) = sk.position(way)
    {
        return 1 << 40 | u64::from(position.wrapping_sub(length));
    }
    if matches!(kind, Kind::Unix) && offset!(unix_peer) != MISSING {
        // Both addresses, read from memory as the verifier lets nobody
        // calculate with pointers.
        let offset = u64::from(offset!(unix_peer));
        let own: u64 = peek(sk.unix_peer() + offset);
        let peer: u64 = peek(own + offset);
        return turn_seed(own ^ peer, connection);
    }
    turn_seed(connection.id, connection)
}

/// The same by `pair`, a number that belongs to a connection, and its turn.
#[inline(always)]
pub fn turn_seed(pair: u64, connection: &Connection) -> u64 {
    (pair ^ u64::from(connection.turns) << 44) & ((1 << 62) - 1) | 1
}

/// Bits of [`requests_begins`].
const EXCHANGE: u32 = 1;
const COUNTED: u32 = 2;
const NEEDED: u32 = 4;

#[inline(always)]
fn begins(connection: &Connection, source: &Source, length: u32) -> u32 {
    // Most of Redis's commands say nothing about later ones.
    if connection.protocol == Protocol::Redis as u8
        && connection.number >= REDIS_START
        && length != REDIS_SELECT
        && length != REDIS_SELECT + 1
    {
        return EXCHANGE | COUNTED;
    }
    let (shape, address) = source.place();
    let pieces = if connection.number < 255 {
        connection.number
    } else {
        255
    };
    let kind = u32::from(connection.protocol) | pieces << 8;
    requests_begins(kind, shape, address, length)
}

/// What a piece begins: see [`beginning`]. `kind` is the protocol and, from bit
/// 8 on, how many pieces were before, at most 255.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_begins(kind: u32, shape: u32, address: u64, length: u32) -> u32 {
    let first = capture::first(shape, address, length);
    let begins = beginning(kind as u8, first, length, kind >> 8);
    (begins.exchange as u32 * EXCHANGE)
        | (begins.counted as u32 * COUNTED)
        | (begins.needed as u32 * NEEDED)
}

/// Counts an exchange that isn't followed.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_unfollowed(workload: u32, label: u32) -> u32 {
    tally::count(
        Tally::RequestUnfollowed,
        WorkloadId(workload),
        u64::from(label),
        1,
    );
    0
}
