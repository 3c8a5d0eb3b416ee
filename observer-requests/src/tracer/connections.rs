//! Connections: who talks with whom on them, what is open there, and which two
//! are the ends of the same one.

use observer_common::workload::WorkloadId;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use observer_common::requests::{Opened, Piece, Protocol, flag, role, transport};
use rustc_hash::FxHashMap;

use super::ends::Pair;
use super::slab::Key;
use crate::{Endpoints, Exchange, Parser, Role, Transport, proxy};

/// One end of a connection.
pub struct Connection {
    /// Its number.
    pub id: u64,
    /// Who uses it.
    pub workload: WorkloadId,
    /// Who asks on it.
    pub role: Role,
    /// Between whom; shared by its spans.
    pub endpoints: Arc<Endpoints>,
    /// Reads it; `None` once it speaks something else.
    pub parser: Option<Box<dyn Parser>>,
    /// Exchanges that are open, in order of their begin, which is that of
    /// their numbers.
    pub open: VecDeque<(Exchange, Key)>,
    /// Where its other end is, if that is on this host.
    pub other: Option<Slot>,
    /// Whether its other end closed it, which is on this host.
    pub left: bool,
    /// Whether the side that asks has said anything yet.
    pub asked: bool,
    /// Whether something on it may end by time alone, and [`Connections::unsure`] has it.
    pub watched: bool,
    /// Segments sent again so far.
    pub retransmits: u32,
    /// What calls on it are called where they are waited for.
    pub called: Option<Arc<str>>,
    pair: Option<Pair>,
    /// Number that the next piece should have; `None` before the first.
    next: Option<u32>,
    /// When it was used last, a second more or less.
    pub last: u64,
    newer: Slot,
    older: Slot,
}

/// Where a connection is kept.
pub type Slot = u32;

const NONE: Slot = Slot::MAX;

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

impl Connection {
    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        self.endpoints.protocol
    }

    /// The side that asks says this. How many of the first bytes aren't its protocol's:
    /// a PROXY header before all else, which names the client.
    pub fn asks(&mut self, data: &[u8]) -> usize {
        if std::mem::replace(&mut self.asked, true) {
            return 0;
        }
        let Some(header) = proxy::header(data) else {
            return 0;
        };
        if header.client.is_some() {
            Arc::make_mut(&mut self.endpoints).client = header.client;
        }
        header.length
    }

    /// Takes exchange `number` out of those that are open.
    pub fn remove(&mut self, number: Exchange) -> Option<Key> {
        let place = match self.open.front() {
            Some((first, _)) if *first == number => 0,
            _ => self
                .open
                .binary_search_by_key(&number, |(number, _)| *number)
                .ok()?,
        };
        self.open.remove(place).map(|(_, key)| key)
    }

    /// Takes out those that began before exchange `number`.
    pub fn remove_before(&mut self, number: Exchange) -> impl Iterator<Item = Key> {
        std::iter::from_fn(move || {
            let first = self.open.pop_front_if(|(first, _)| *first < number)?;
            Some(first.1)
        })
    }

    /// Exchange `number`, if it is open.
    pub fn find(&self, number: Exchange) -> Option<Key> {
        let place = self
            .open
            .binary_search_by_key(&number, |(number, _)| *number);
        let (_, key) = self.open.get(place.ok()?)?;
        Some(*key)
    }

    /// How many numbers lie between the last piece and the one with this
    /// number, if any. The kernel half counts what it couldn't tell of too.
    pub fn skips(&self, number: u32) -> Option<u32> {
        let missing = number.wrapping_sub(self.next?);
        (missing as i32 > 0).then_some(missing)
    }

    /// Goes on behind the piece with this number.
    pub fn passed(&mut self, number: u32) {
        let next = number.wrapping_add(1);
        if self
            .next
            .is_none_or(|before| next.wrapping_sub(before) as i32 > 0)
        {
            self.next = Some(next);
        }
    }
}

/// All connections, by number, by their two ends and by when they were used.
pub struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<Slot>,
    numbers: FxHashMap<u64, Slot>,
    pairs: FxHashMap<Pair, Slot>,
    /// Numbers of those on which something may end by time alone, with some that are
    /// gone.
    unsure: Vec<u64>,
    newest: Slot,
    oldest: Slot,
    max: usize,
}

impl Connections {
    /// Room for `max` of them.
    pub fn new(max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            numbers: FxHashMap::default(),
            pairs: FxHashMap::default(),
            unsure: Vec::new(),
            newest: NONE,
            oldest: NONE,
            max: max.clamp(1, 1 << 24),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether one more has room only if another goes.
    pub fn full(&self) -> bool {
        self.len() >= self.max
    }

    /// Where the one with this number is.
    pub fn slot(&self, number: u64) -> Option<Slot> {
        self.numbers.get(&number).copied()
    }

    /// The one at `slot`.
    pub fn get(&self, slot: Slot) -> Option<&Connection> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The one at `slot`.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Takes the numbers of those on which something may end by time alone; they are to
    /// be unmarked, and [`Self::watch`] gives those back for which that stays so.
    pub fn unsure(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unsure)
    }

    /// Something on this one may end by time alone.
    pub fn watch(&mut self, slot: Slot) {
        let connection = self.slots.get_mut(slot as usize);
        if let Some(connection) = connection.and_then(Option::as_mut)
            && !std::mem::replace(&mut connection.watched, true)
        {
            self.unsure.push(connection.id);
        }
    }

    /// The one that wasn't used for longest, and when it was.
    pub fn oldest(&self) -> Option<(Slot, u64)> {
        let connection = self.get(self.oldest)?;
        Some((self.oldest, connection.last))
    }

    /// A connection that was told of. Its number must be new.
    pub fn open(&mut self, opened: &Opened, protocol: Protocol, parser: Box<dyn Parser>) -> Slot {
        let endpoints = Endpoints {
            local: super::ends::address(opened.family, opened.local, opened.local_port),
            peer: super::ends::address(opened.family, opened.peer, opened.peer_port),
            client: None,
            transport: match opened.transport {
                transport::UDP => Transport::Udp,
                transport::UNIX => Transport::Unix,
                _ => Transport::Tcp,
            },
            tls: opened.flags & flag::TLS != 0,
            protocol,
        };
        let slot = self.insert(
            opened.connection,
            opened.at,
            opened.workload,
            opened.role,
            endpoints,
            parser,
        );
        let pair = Pair::of(opened);
        let other = pair
            .as_ref()
            .and_then(|pair| self.pairs.get(&pair.reversed()).copied())
            .filter(|other| *other != slot);
        if let Some(pair) = pair {
            // One with the same ends is gone, though its end wasn't told.
            if let Some(before) = self.pairs.insert(pair, slot)
                && let Some(before) = self.get_mut(before)
            {
                before.other = None;
                before.pair = None;
            }
            if let Some(connection) = self.get_mut(slot) {
                connection.pair = Some(pair);
                connection.next = Some(0);
                connection.other = other;
            }
        } else if let Some(connection) = self.get_mut(slot) {
            connection.next = Some(0);
        }
        if let Some(other) = other.and_then(|other| self.get_mut(other)) {
            other.other = Some(slot);
        }
        slot
    }

    /// A connection that wasn't told of, but has a piece: nothing is known of
    /// its ends. Its number must be new.
    pub fn guess(&mut self, piece: &Piece, protocol: Protocol, parser: Box<dyn Parser>) -> Slot {
        let endpoints = Endpoints {
            local: None,
            peer: None,
            client: None,
            transport: Transport::Tcp,
            tls: piece.flags & flag::TLS != 0,
            protocol,
        };
        self.insert(
            piece.connection,
            piece.ended,
            piece.workload,
            piece.role,
            endpoints,
            parser,
        )
    }

    fn insert(
        &mut self,
        id: u64,
        at: u64,
        workload: WorkloadId,
        whose: u8,
        endpoints: Endpoints,
        parser: Box<dyn Parser>,
    ) -> Slot {
        let protocol = endpoints.protocol;
        let connection = Connection {
            id,
            workload,
            role: if whose == role::CLIENT {
                Role::Client
            } else {
                Role::Server
            },
            endpoints: Arc::new(endpoints),
            parser: Some(parser),
            open: VecDeque::new(),
            other: None,
            left: false,
            asked: false,
            watched: false,
            retransmits: 0,
            called: None,
            pair: None,
            next: None,
            last: at,
            newer: NONE,
            older: NONE,
        };
        let free = self.free.pop();
        let free = free.and_then(|slot| Some((slot, self.slots.get_mut(slot as usize)?)));
        let slot = match free {
            Some((slot, place)) => {
                *place = Some(connection);
                slot
            }
            None => {
                self.slots.push(Some(connection));
                self.slots.len() as Slot - 1
            }
        };
        self.numbers.insert(id, slot);
        if protocol.answers_get_lost() {
            self.watch(slot);
        }
        self.link_newest(slot);
        slot
    }

    /// Takes one out.
    pub fn remove(&mut self, slot: Slot) -> Option<Connection> {
        self.unlink(slot);
        let connection = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        self.numbers.remove(&connection.id);
        if let Some(pair) = &connection.pair
            && self.pairs.get(pair) == Some(&slot)
        {
            self.pairs.remove(pair);
        }
        if let Some(other) = connection.other.and_then(|other| self.get_mut(other)) {
            other.other = None;
        }
        Some(connection)
    }

    /// One is used now. Order among those of the same second doesn't matter.
    pub fn touch(&mut self, slot: Slot, at: u64) {
        let Some(connection) = self.get_mut(slot) else {
            return;
        };
        if at.saturating_sub(connection.last) < SECOND {
            return;
        }
        connection.last = at;
        if self.newest != slot {
            self.unlink(slot);
            self.link_newest(slot);
        }
    }

    fn link_newest(&mut self, slot: Slot) {
        let before = self.newest;
        if let Some(connection) = self.get_mut(slot) {
            connection.older = before;
            connection.newer = NONE;
        }
        match self.get_mut(before) {
            Some(before) => before.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    fn unlink(&mut self, slot: Slot) {
        let Some(connection) = self.get(slot) else {
            return;
        };
        let (newer, older) = (connection.newer, connection.older);
        match self.get_mut(newer) {
            Some(connection) => connection.older = older,
            None => self.newest = older,
        }
        match self.get_mut(older) {
            Some(connection) => connection.newer = newer,
            None => self.oldest = newer,
        }
    }
}

/// What calls of a protocol to `peer` are called where they are waited for:
/// `postgresql 127.0.0.1:5432`.
pub fn called(protocol: Protocol, peer: Option<(IpAddr, u16)>) -> Arc<str> {
    let system = protocol.network_name();
    match peer {
        Some((address, port)) => {
            let address = std::net::SocketAddr::new(address, port);
            format!("{system} {address}").into()
        }
        None => system.into(),
    }
}
