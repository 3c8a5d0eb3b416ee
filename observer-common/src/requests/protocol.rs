//! The protocols that are recognised: one row each.
//!
//! A protocol's own file under `protocol/` says what its first bytes look like
//! (`sniff`) and what begins where the side that asks takes its turn
//! (`beginning`). Everything that lists protocols takes them from here.

mod beginning;
mod dns;
mod first;
mod http1;
mod http2;
mod memcached;
mod mysql;
mod postgres;
mod redis;

pub use beginning::Beginning;
pub use first::{SNIFFED, Sniffed};
pub use redis::{REDIS_SELECT, REDIS_START};

/// Words behind `$before`, as one constant text.
macro_rules! list {
    ($before:literal, $separator:literal, $first:literal $(, $more:literal)*) => {
        concat!($before, $first $(, $separator, $more)*)
    };
}

/// Defines [`Protocol`] and all that is asked of it. Protocols are looked for in
/// the order of the rows.
macro_rules! protocols {
    ($(
        $(#[doc = $doc:literal])+
        $protocol:ident = $number:literal {
            file: $file:ident,
            name: $name:literal,
            title: $title:literal,
            network: $network:literal,
            version: $version:expr,
            in_order: $in_order:literal,
            answers_get_lost: $lost:literal,
            only_clients: $only_clients:literal,
            whole_connections: $whole:literal,
            parts: $parts:literal,
            told_at_end: $told:literal,
        }
    )+) => {
        /// Application protocols that are recognised. 0 is none.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Protocol {
            $(
                $(#[doc = $doc])+
                $protocol = $number,
            )+
        }

        impl Protocol {
            /// All of them.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$protocol),+];

            /// All names, for help texts.
            pub const NAMES: &str = list!("", ",", $($name),+);

            /// What the family observes.
            pub const OBSERVED: &str =
                list!("requests and answers on sockets: ", ", ", $($title),+);

            /// The protocol with this number.
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.into_iter().find(|p| *p as u8 == number)
            }

            /// The one word for it: in settings, and of its fuzz target.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$protocol => $name,)+
                }
            }

            /// What people call it, or what they know it by.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$protocol => $title,)+
                }
            }

            /// OpenTelemetry's `network.protocol.name`; of a database's protocol
            /// also its `db.system.name`.
            pub const fn network_name(self) -> &'static str {
                match self {
                    $(Self::$protocol => $network,)+
                }
            }

            /// OpenTelemetry's `network.protocol.version`, where the protocol
            /// says it.
            pub const fn network_version(self) -> Option<&'static str> {
                match self {
                    $(Self::$protocol => $version,)+
                }
            }

            /// Whether exchanges on a connection end in the order of their
            /// begin.
            pub const fn in_order(self) -> bool {
                !Self::overlaps(self as u8)
            }

            /// Whether an answer may never come though its connection lives:
            /// the parser's `expire` ends what waits for one.
            pub const fn answers_get_lost(self) -> bool {
                match self {
                    $(Self::$protocol => $lost,)+
                }
            }

            /// Whether exchanges of the protocol with this number begin while
            /// others are open, without a turn.
            #[inline(always)]
            pub const fn overlaps(number: u8) -> bool {
                false $(|| (!$in_order && number == $number))+
            }

            /// Whether servers aren't followed, since they answer many clients
            /// from one socket.
            #[inline(always)]
            pub const fn only_clients(number: u8) -> bool {
                false $(|| ($only_clients && number == $number))+
            }

            /// Whether heads are told by what went before, so that all of a
            /// connection is followed or nothing.
            #[inline(always)]
            pub const fn whole_connections(number: u8) -> bool {
                false $(|| ($whole && number == $number))+
            }

            /// Whether the last bytes of an answer say how it went.
            #[inline(always)]
            pub const fn told_at_end(number: u8) -> bool {
                false $(|| ($told && number == $number))+
            }

            /// Whether a message on a stream may be written in parts that each
            /// look like a beginning.
            #[inline(always)]
            pub const fn parts(number: u8) -> bool {
                false $(|| ($parts && number == $number))+
            }
        }

        /// Of a piece of a stream.
        #[inline(always)]
        pub(super) fn sniff_stream(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
            $(
                if let Some(found) = $file::sniff(first, length) {
                    return Some(found);
                }
            )+
            None
        }

        /// See [`super::beginning`].
        #[inline(always)]
        pub(super) fn begins(number: u8, first: u64, length: u32, pieces: u32) -> Beginning {
            $(
                if number == $number {
                    return $file::beginning(first, length, pieces);
                }
            )+
            Beginning::EXCHANGE
        }
    };
}

/// Of a datagram.
#[inline(always)]
pub(super) fn sniff_datagram(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    dns::datagram(first, length)
}

protocols! {
    /// HTTP/1.0 and HTTP/1.1 (RFC 9112).
    Http1 = 1 {
        file: http1,
        name: "http1",
        title: "HTTP",
        network: "http",
        version: None,
        in_order: true,
        answers_get_lost: false,
        only_clients: false,
        whole_connections: false,
        parts: false,
        told_at_end: false,
    }
    /// HTTP/2 (RFC 9113), and gRPC on it.
    Http2 = 2 {
        file: http2,
        name: "http2",
        title: "gRPC",
        network: "http",
        version: Some("2"),
        in_order: false,
        answers_get_lost: false,
        only_clients: false,
        whole_connections: true,
        parts: false,
        told_at_end: false,
    }
    /// PostgreSQL's frontend/backend protocol, version 3.
    Postgres = 3 {
        file: postgres,
        name: "postgresql",
        title: "PostgreSQL",
        network: "postgresql",
        version: None,
        in_order: true,
        answers_get_lost: false,
        only_clients: false,
        whole_connections: false,
        parts: false,
        told_at_end: true,
    }
    /// Redis, RESP2 and RESP3.
    Redis = 4 {
        file: redis,
        name: "redis",
        title: "Redis",
        network: "redis",
        version: None,
        in_order: true,
        answers_get_lost: false,
        only_clients: false,
        whole_connections: false,
        parts: false,
        told_at_end: false,
    }
    /// MySQL's client/server protocol.
    MySql = 6 {
        file: mysql,
        name: "mysql",
        title: "MySQL",
        network: "mysql",
        version: None,
        in_order: true,
        answers_get_lost: false,
        only_clients: false,
        whole_connections: false,
        parts: false,
        told_at_end: true,
    }
    /// Memcached's text, meta and binary protocols.
    Memcached = 7 {
        file: memcached,
        name: "memcached",
        title: "Memcached",
        network: "memcached",
        version: None,
        in_order: true,
        answers_get_lost: false,
        only_clients: false,
        whole_connections: false,
        parts: false,
        told_at_end: false,
    }
    /// DNS over UDP or TCP (RFC 1035).
    Dns = 5 {
        file: dns,
        name: "dns",
        title: "DNS",
        network: "dns",
        version: None,
        in_order: false,
        answers_get_lost: true,
        only_clients: true,
        whole_connections: false,
        parts: true,
        told_at_end: false,
    }
}

const _: () = {
    let mut numbers = 0u32;
    let mut index = 0;
    while index < Protocol::ALL.len() {
        let number = Protocol::ALL[index] as u32;
        assert!(number > 0 && number < 32, "a setting has a bit for each");
        assert!(numbers & (1 << number) == 0, "each number once");
        numbers |= 1 << number;
        index += 1;
    }
};
