//! Which parser reads a protocol.

use observer_common::requests::Protocol;

use crate::requests::http1::Http1;
use crate::requests::http2::Http2;
use crate::requests::postgres::Postgres;
use crate::requests::redis::Redis;
use crate::requests::{Chunk, Events, Parser};

/// What makes a connection's parser: its protocol, whether it carries
/// datagrams, whether its beginning wasn't seen.
pub type Make = fn(Protocol, bool, bool) -> Box<dyn Parser>;

/// The parser of a protocol.
pub fn parser_for(protocol: Protocol, datagram: bool, midstream: bool) -> Box<dyn Parser> {
    let _ = (datagram, midstream);
    match protocol {
        Protocol::Http1 => Box::new(Http1::new()),
        Protocol::Http2 => Box::new(Http2::new()),
        Protocol::Postgres => Box::new(Postgres::new()),
        Protocol::Redis => Box::new(Redis::new()),
        Protocol::Dns | Protocol::MySql => Box::new(Unread),
    }
}

/// Of a protocol without a parser: its connections are left alone.
struct Unread;

impl Parser for Unread {
    fn requested(&mut self, _chunk: &Chunk<'_>, _at: u64, out: &mut Events) {
        out.finished = true;
    }

    fn answered(&mut self, _chunk: &Chunk<'_>, out: &mut Events) {
        out.finished = true;
    }

    fn missed(&mut self, _out: &mut Events) {}

    fn closed(&mut self, _at: u64, _out: &mut Events) {}
}
