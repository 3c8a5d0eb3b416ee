//! A host whose programs talk HTTP/1 with each other.

use observer_common::tcp::state::{CLOSE_WAIT, ESTABLISHED};
use observer_common::workload::WorkloadId;
use std::collections::HashMap;

use observer_common::requests::{
    Closed, Opened, Piece, Protocol, Tag, ThreadClock, context, direction, role, transport,
};

use crate::Finished;
use crate::tracer::{Options, Output, Tracer};

/// A thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thread {
    pub tid: u32,
    pub tgid: u32,
    pub workload: WorkloadId,
}

/// A connection between two processes of the host, by its ends' numbers.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub client: u64,
    pub server: u64,
}

/// The host.
pub struct Host {
    pub tracer: Tracer,
    pub now: u64,
    /// All that came out.
    pub finished: Vec<Finished>,
    pub kept: Vec<Finished>,
    /// Records that were made, if they aren't to be handled at once.
    pub ring: Option<Vec<Vec<u8>>>,
    /// Of connections that are made from now on.
    pub protocol: Protocol,
    pub transport: u8,
    output: Output,
    connections: u64,
    requests: u64,
    numbers: HashMap<u64, u32>,
    clocks: HashMap<u32, (u64, ThreadClock)>,
    /// How the next requests come, and by which wait: see [`Piece::wait`].
    pub comes: (u8, u8),
    /// The task in which what follows is sent.
    pub task: u64,
    /// What a thread's next time goes into.
    pub component: HashMap<u32, usize>,
}

/// The bytes of a record.
pub use observer_common::plain::bytes;

pub const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
pub const WRONG: &[u8] = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";
/// Time between two moments, ns.
pub const STEP: u64 = 10_000;

pub fn thread(tid: u32, tgid: u32) -> Thread {
    Thread {
        tid,
        tgid,
        workload: WorkloadId(tgid),
    }
}

impl Host {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        Self {
            tracer: Tracer::new(options),
            now: 1_000_000_000,
            finished: Vec::new(),
            kept: Vec::new(),
            ring: None,
            protocol: Protocol::Http1,
            transport: transport::TCP,
            output: Output::default(),
            connections: 0,
            requests: 0,
            numbers: HashMap::new(),
            clocks: HashMap::new(),
            comes: (context::RECEIVED, 0),
            task: 0,
            component: HashMap::new(),
        }
    }

    pub fn record(&mut self, bytes: &[u8]) {
        match &mut self.ring {
            Some(ring) => ring.push(bytes.to_vec()),
            None => self.tracer.record(bytes),
        }
    }

    /// Time passes.
    pub fn step(&mut self) -> u64 {
        self.now += STEP;
        self.now
    }

    fn open(&mut self, whose: u8, from: (u32, u16), to: (u32, u16), by: Thread) -> u64 {
        self.connections += 1;
        let word = |address: u32| {
            [
                u64::from_ne_bytes((u64::from(address) << 32).to_be_bytes()),
                0,
            ]
        };
        let opened = Opened {
            tag: Tag::Opened as u32,
            tgid: by.tgid,
            connection: self.connections,
            at: self.now,
            workload: by.workload,
            netns: 1,
            local: word(from.0),
            peer: word(to.0),
            local_port: from.1,
            peer_port: to.1,
            family: 4,
            transport: self.transport,
            protocol: self.protocol as u8,
            role: whose,
            ..Opened::default()
        };
        self.record(bytes(&opened));
        self.connections
    }

    /// A connection between two of the host's processes.
    pub fn connect(&mut self, client: Thread, server: Thread, port: u16) -> Link {
        let from = (0x7f00_0001, 10_000 + self.connections as u16);
        let to = (0x7f00_0001, port);
        Link {
            client: self.open(role::CLIENT, from, to, client),
            server: self.open(role::SERVER, to, from, server),
        }
    }

    /// A connection from elsewhere; both ends are the server's.
    pub fn accept(&mut self, server: Thread) -> u64 {
        let from = (0x0a00_0001, 10_000 + self.connections as u16);
        self.open(role::SERVER, (0x0a00_0002, 80), from, server)
    }

    fn clock(&mut self, tid: u32) -> ThreadClock {
        let component = self.component.get(&tid).copied().unwrap_or(0);
        let now = self.now;
        let (at, clock) = self
            .clocks
            .entry(tid)
            .or_insert((now, ThreadClock::default()));
        clock.time[component] += now - *at;
        *at = now;
        *clock
    }

    /// A thread's time goes into this from now on.
    pub fn goes_into(&mut self, by: Thread, component: usize) {
        self.clock(by.tid);
        self.component.insert(by.tid, component);
    }

    /// One piece; what it is by the caller.
    pub fn piece(&mut self, piece: Piece, by: Thread, data: &[u8]) {
        let number = self.numbers.entry(piece.connection).or_default();
        let piece = Piece {
            tag: Tag::Piece as u32,
            tgid: by.tgid,
            tid: by.tid,
            workload: by.workload,
            length: data.len() as u32,
            captured: data.len() as u16,
            number: *number,
            protocol: self.protocol as u8,
            ..piece
        };
        *number += 1;
        let clock = self.clock(by.tid);
        let mut record = bytes(&Piece { clock, ..piece }).to_vec();
        record.extend_from_slice(data);
        self.record(&record);
    }

    /// The last record's piece was longer than what was captured.
    pub fn lengthen(&mut self, by: u32) {
        let at = std::mem::offset_of!(Piece, length);
        let record = self.ring.as_mut().and_then(|ring| ring.last_mut());
        let length: &mut [u8; 4] = record
            .and_then(|record| record[at..].first_chunk_mut())
            .expect("a record");
        *length = (u32::from_ne_bytes(*length) + by).to_ne_bytes();
    }

    /// Pieces of this connection get lost.
    pub fn lose(&mut self, connection: u64, count: u32) {
        *self.numbers.entry(connection).or_default() += count;
    }

    /// The client asks, as a thread that serves `request` for this reason.
    pub fn ask(&mut self, connection: u64, by: Thread, request: u64, reason: u8, data: &[u8]) {
        let began = self.step();
        self.now += STEP / 10;
        let piece = Piece {
            connection,
            began,
            ended: self.now,
            request,
            context: reason,
            wait: self.comes.1,
            task: self.task,
            direction: direction::SENT,
            role: role::CLIENT,
            ..Piece::default()
        };
        self.piece(piece, by, data);
    }

    /// The server receives; the request's number.
    pub fn receive(&mut self, connection: u64, by: Thread, data: &[u8]) -> u64 {
        self.step();
        self.requests += 1;
        let piece = Piece {
            connection,
            began: self.now - STEP / 2,
            ended: self.now,
            request: self.requests,
            context: self.comes.0,
            wait: self.comes.1,
            direction: direction::RECEIVED,
            role: role::SERVER,
            ..Piece::default()
        };
        self.piece(piece, by, data);
        self.requests
    }

    /// The server answers.
    pub fn answer(&mut self, connection: u64, by: Thread, request: u64, data: &[u8]) {
        let began = self.step();
        self.now += STEP / 10;
        let piece = Piece {
            connection,
            began,
            ended: self.now,
            request,
            context: context::OWN,
            task: self.task,
            direction: direction::SENT,
            role: role::SERVER,
            ..Piece::default()
        };
        self.piece(piece, by, data);
    }

    /// The client gets its answer.
    pub fn hear(&mut self, connection: u64, by: Thread, data: &[u8]) {
        self.step();
        let piece = Piece {
            connection,
            began: self.now - STEP / 2,
            ended: self.now,
            wait: self.comes.1,
            direction: direction::RECEIVED,
            role: role::CLIENT,
            ..Piece::default()
        };
        self.piece(piece, by, data);
    }

    /// A whole call and its answer; the server does nothing in between.
    pub fn call(&mut self, link: Link, by: Thread, server: Thread, request: u64, reason: u8) {
        self.ask(link.client, by, request, reason, GET);
        let inner = self.receive(link.server, server, GET);
        self.answer(link.server, server, inner, OK);
        self.hear(link.client, by, OK);
    }

    pub fn close(&mut self, connection: u64) {
        self.close_after(connection, false);
    }

    /// The same, where the other end may have closed it before.
    pub fn close_after(&mut self, connection: u64, by_peer: bool) {
        let closed = Closed {
            tag: Tag::Closed as u32,
            was: if by_peer { CLOSE_WAIT } else { ESTABLISHED }.into(),
            connection,
            at: self.step(),
            ..Closed::default()
        };
        self.record(bytes(&closed));
    }

    /// Handles what is due, as after a batch of records.
    pub fn batch(&mut self) {
        self.tracer.advance(self.now, &mut self.output);
        self.take();
    }

    /// Handles what is due when the ring is known to be empty.
    pub fn advance(&mut self) {
        self.batch();
        self.batch();
    }

    fn take(&mut self) {
        self.finished.extend_from_slice(self.output.finished());
        self.kept.extend_from_slice(self.output.kept());
    }

    /// Handles all.
    pub fn flush(&mut self) {
        self.tracer.flush(self.now, &mut self.output);
        self.take();
    }

    /// The request that this workload finished on this side; the only one.
    pub fn only(&self, workload: WorkloadId, role: crate::Role) -> &Finished {
        let mut found = self
            .finished
            .iter()
            .filter(|it| it.workload == workload && it.role == role);
        let first = found.next().expect("one");
        assert!(found.next().is_none(), "one");
        first
    }
}
