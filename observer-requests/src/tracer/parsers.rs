//! Which parser reads a protocol.

use observer_common::requests::Protocol;

use crate::Parser;
use crate::dns::Dns;
use crate::http1::Http1;
use crate::http2::Http2;
use crate::memcached::Memcached;
use crate::mysql::MySql;
use crate::postgres::Postgres;
use crate::redis::Redis;

/// What makes a connection's parser: its protocol, whether it carries
/// datagrams, whether its beginning wasn't seen.
pub type Make = fn(Protocol, bool, bool) -> Box<dyn Parser>;

/// The parser of a protocol. Parsers find their place in a connection whose
/// beginning wasn't seen by themselves.
pub fn parser_for(protocol: Protocol, datagram: bool, _midstream: bool) -> Box<dyn Parser> {
    match protocol {
        Protocol::Http1 => Box::new(Http1::new()),
        Protocol::Http2 => Box::new(Http2::new()),
        Protocol::Postgres => Box::new(Postgres::new()),
        Protocol::MySql => Box::new(MySql::new()),
        Protocol::Redis => Box::new(Redis::new()),
        Protocol::Memcached => Box::new(Memcached::new()),
        Protocol::Dns => Box::new(Dns::new(datagram)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Checks that each protocol has a fuzz target with a corpus, and that the
    /// documentation names it.
    #[test]
    fn each_protocol_is_tried_and_told_of() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
        for protocol in Protocol::ALL {
            let (name, title) = (protocol.name(), protocol.title());
            let target = format!("fuzz/src/bin/{name}.rs");
            assert!(root.join(&target).is_file(), "no {target}");
            let corpus = root.join("fuzz/corpus").join(name);
            let inputs = std::fs::read_dir(&corpus).expect(name).count();
            assert!(inputs > 0, "fuzz/corpus/{name} is empty");
            for page in ["README.md", "docs/requests.md"] {
                assert!(read(page).contains(title), "{page} doesn't name {title}");
            }
        }
    }
}
