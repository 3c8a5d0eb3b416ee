//! The tracer: any records in any order, most of them of connections that make
//! sense.

#![no_main]

use std::collections::HashSet;
use std::mem::offset_of;

use libfuzzer_sys::fuzz_target;
use observer_common::requests::{Closed, Opened, Piece, Tag, ThreadClock, transport};
use observer_requests::tracer::{Options, Output, Sampler, Tracer};
use observer_requests::{Finished, Parent};

/// Connections that there may be at once.
const CONNECTIONS: usize = 8;

/// What is said on them, beside what the input brings.
const SAID: &[&[u8]] = &[
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /b HTTP/1.1\r\ntraceparent: 00-0102030405060708090a0b0c0d0e0f10-1112131415161718-01\r\n\r\n",
    b"GET /c HTTP/1.1\r\ntraceparent: 00-0102030405060708090a0b0c0d0e0f10-1112131415161718-00\r\n\r\n",
    b"GET /d HTTP/1.1\r\n\r\nGET /e HTTP/1.1\r\n\r\nGET /f HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84\0\0\x03\x01\x05\0\0\0\x03\x82\x86\x84",
    b"\0\0\x01\x01\x05\0\0\0\x03\x88\0\0\x01\x01\x05\0\0\0\x01\x88",
    b"Q\0\0\0\x19select * from users;\0",
    b"T\0\0\0\x06\0\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
    b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    b"$1\r\nb\r\n",
    b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
    b"\x12\x34\x81\x80\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
    b"\x09\0\0\0\x03select 1",
];

/// The input, from its beginning; zeroes after its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// A record, written field by field.
struct Record(Vec<u8>);

impl Record {
    fn new(size: usize, tag: Tag) -> Self {
        let mut record = Self(vec![0; size]);
        record.put(0, &(tag as u32).to_ne_bytes());
        record
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// A host in which anything happens.
struct Host {
    tracer: Tracer,
    output: Output,
    now: u64,
    numbers: [u32; 256],
    clock: u64,
    seen: HashSet<[u8; 8]>,
    all: u64,
}

impl Host {
    fn opened(&mut self, input: &mut Input<'_>) {
        let mut record = Record::new(size_of::<Opened>(), Tag::Opened);
        let (connection, what, ends) = (input.byte(), input.byte(), input.byte());
        self.numbers[usize::from(connection)] = 0;
        record.put(
            offset_of!(Opened, connection),
            &u64::from(connection).to_ne_bytes(),
        );
        record.put(offset_of!(Opened, at), &self.now.to_ne_bytes());
        let (a, b) = (ends >> 4, ends & 15);
        let family = if what & 0x40 == 0 { 4 } else { 6 };
        for (at, port, end) in [
            (offset_of!(Opened, local), offset_of!(Opened, local_port), a),
            (offset_of!(Opened, peer), offset_of!(Opened, peer_port), b),
        ] {
            record.put(at, &[10, 0, 0, end]);
            record.put(port, &(1000 + u16::from(end)).to_ne_bytes());
        }
        let carried = match what >> 4 & 3 {
            1 => transport::UDP,
            2 => transport::UNIX,
            _ => transport::TCP,
        };
        record.put(
            offset_of!(Opened, family),
            &[family, carried, what & 7, 1 + (what >> 3 & 1)],
        );
        record.put(offset_of!(Opened, flags), &[what >> 7]);
        self.tracer.record(&record.0);
    }

    fn piece(&mut self, input: &mut Input<'_>) {
        let mut record = Record::new(size_of::<Piece>(), Tag::Piece);
        let (connection, what, thread) = (input.byte(), input.byte(), input.byte());
        let (request, time, data) = (input.byte(), input.byte(), input.byte());
        let number = &mut self.numbers[usize::from(connection)];
        *number = number.wrapping_add(u32::from(what >> 5 & 1));
        record.put(offset_of!(Piece, number), &number.to_ne_bytes());
        *number = number.wrapping_add(1);
        self.now += 1 << (time & 31);
        self.clock += 1 << (time & 31);
        let began = self.now.saturating_sub(1 << (time >> 3));
        record.put(
            offset_of!(Piece, connection),
            &u64::from(connection).to_ne_bytes(),
        );
        record.put(offset_of!(Piece, began), &began.to_ne_bytes());
        record.put(offset_of!(Piece, ended), &self.now.to_ne_bytes());
        record.put(
            offset_of!(Piece, request),
            &u64::from(request).to_ne_bytes(),
        );
        record.put(offset_of!(Piece, tid), &u32::from(thread).to_ne_bytes());
        record.put(
            offset_of!(Piece, tgid),
            &u32::from(thread >> 2).to_ne_bytes(),
        );
        let clock = offset_of!(Piece, clock) + offset_of!(ThreadClock, time);
        let part = usize::from(thread % 7) * 8;
        record.put(clock + part, &self.clock.to_ne_bytes());
        record.put(offset_of!(Piece, direction), &[what & 1]);
        record.put(offset_of!(Piece, role), &[1 + (what >> 1 & 1)]);
        record.put(offset_of!(Piece, context), &[what >> 2 & 7]);
        record.put(offset_of!(Piece, protocol), &[data & 7]);
        let said = match SAID.get(usize::from(data)) {
            Some(said) => said,
            None => input.bytes(usize::from(data)),
        };
        let hidden = u32::from(what >> 6) * 700;
        let length = said.len() as u32 + hidden;
        record.put(offset_of!(Piece, length), &length.to_ne_bytes());
        record.put(
            offset_of!(Piece, captured),
            &(said.len() as u16).to_ne_bytes(),
        );
        record.0.extend_from_slice(said);
        self.tracer.record(&record.0);
    }

    fn closed(&mut self, connection: u8) {
        let mut record = Record::new(size_of::<Closed>(), Tag::Closed);
        record.put(
            offset_of!(Closed, connection),
            &u64::from(connection).to_ne_bytes(),
        );
        record.put(offset_of!(Closed, at), &self.now.to_ne_bytes());
        self.tracer.record(&record.0);
    }

    fn advance(&mut self, by: u8) {
        self.now += 1 << (by & 63).min(40);
        self.tracer.advance(self.now, &mut self.output);
        self.check();
    }

    fn check(&mut self) {
        for finished in self.output.finished() {
            assert!(self.seen.insert(finished.span_id), "each once");
            check(finished);
            self.all += 1;
        }
        for kept in self.output.kept() {
            assert!(self.seen.contains(&kept.span_id), "told before");
            assert!(kept.sampled);
            check(kept);
        }
        let open: u64 = self.tracer.active().iter().map(|it| it.count).sum();
        assert!(open <= (CONNECTIONS * 1025) as u64);
    }
}

/// What holds for every request that is over.
fn check(finished: &Finished) {
    assert!(finished.ended >= finished.begun);
    assert_ne!(finished.trace_id, [0; 16]);
    assert_ne!(finished.span_id, [0; 8]);
    let root = matches!(finished.parent, Parent::Root | Parent::Ambiguous);
    assert_eq!(root, finished.parent_span_id == [0; 8]);
    assert_ne!(finished.parent_span_id, finished.span_id);
    if let Some(clock) = &finished.clock {
        let off = clock.total().abs_diff(finished.duration());
        assert!(off <= finished.duration() / 50);
    }
    assert!(finished.clock.is_some() || finished.waited_for.is_empty());
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let how = input.byte();
    let (name, argument) = match how & 3 {
        0 => ("parentbased_always_on", None),
        1 => ("parentbased_traceidratio", Some("0.1")),
        2 => ("traceidratio", Some("0.5")),
        _ => ("always_off", None),
    };
    let mut host = Host {
        tracer: Tracer::new(Options {
            sampler: Sampler::parse(name, argument).expect("a sampler"),
            span_limit: (how & 4 != 0).then_some((10.0, 2.0)),
            max_connections: CONNECTIONS,
            ..Options::default()
        }),
        output: Output::default(),
        now: 1 << 40,
        numbers: [0; 256],
        clock: 0,
        seen: HashSet::new(),
        all: 0,
    };
    while !input.0.is_empty() {
        match input.byte() & 15 {
            0 | 1 => host.opened(&mut input),
            2..=10 => host.piece(&mut input),
            11 => host.closed(input.byte()),
            12 | 13 => host.advance(input.byte()),
            14 => {
                let _ = host.tracer.link(u64::from(input.byte()));
            }
            _ => {
                let length = usize::from(input.byte());
                host.tracer.record(input.bytes(length));
            }
        }
    }
    host.tracer.flush(host.now, &mut host.output);
    host.check();
});
