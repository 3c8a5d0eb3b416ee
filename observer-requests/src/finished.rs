//! A request that is over, with everything that is known of it: what the tracer
//! makes, and what metrics and spans are made of.

use observer_common::workload::WorkloadId;
use std::net::IpAddr;
use std::sync::Arc;

use observer_common::requests::{Protocol, ThreadClock};

use super::Call;

/// On which side of the request its workload stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It was asked.
    Server,
    /// It asked.
    Client,
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// A Unix domain socket.
    Unix,
}

/// A connection, as seen from one of its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The workload's own address; `None` for Unix domain sockets.
    pub local: Option<(IpAddr, u16)>,
    /// The other end's.
    pub peer: Option<(IpAddr, u16)>,
    /// For whom a proxy, which is the peer then, says that it made the connection.
    pub client: Option<IpAddr>,
    /// What carries it.
    pub transport: Transport,
    /// Whether it was encrypted by a TLS library.
    pub tls: bool,
    /// What it speaks.
    pub protocol: Protocol,
}

/// How a span came by its parent; told on the span (`observer.parent`) where it
/// isn't plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parent {
    /// It has none: the trace begins here.
    Root,
    /// Its request's head named it.
    Remote,
    /// The span of the connection's other end, on the same host.
    OtherEnd,
    /// The request that the thread served, and the only one that it could be.
    Thread,
    /// A request that another thread had received: the thread answered it, or it
    /// was the only one that the process had.
    HandedOver,
    /// It may have one, but several requests could be it: none is named.
    Ambiguous,
    /// It may have one, since its process serves requests, but which one its
    /// thread works for can't be seen: none is named.
    Unknown,
}

/// A request that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Workload at this end of the connection.
    pub workload: WorkloadId,
    /// Process.
    pub tgid: u32,
    /// Thread that sent it or received it.
    pub tid: u32,
    /// Its side.
    pub role: Role,
    /// Never all zero.
    pub trace_id: [u8; 16],
    /// Never all zero.
    pub span_id: [u8; 8],
    /// The parent span, or zeroes.
    pub parent_span_id: [u8; 8],
    /// How it is known.
    pub parent: Parent,
    /// Kernel time (ns).
    pub begun: u64,
    /// Kernel time when the answer began.
    pub answered: Option<u64>,
    /// Kernel time when it was over; `begun` or later.
    pub ended: u64,
    /// What was asked and answered.
    pub call: Call,
    /// The route (`/users/{id}`) of an HTTP request; the same string for the
    /// same route.
    pub route: Option<Arc<str>>,
    /// Between whom.
    pub endpoints: Arc<Endpoints>,
    /// Where its thread's time went while it was open, for a server's request
    /// that one thread handled without another in between. Its sum is the
    /// span's duration within 2 %.
    pub clock: Option<ThreadClock>,
    /// Of the network's part, in nanoseconds: which calls it was spent on
    /// (`postgresql 127.0.0.1:5432`), longest first.
    pub waited_for: Vec<(Arc<str>, u64)>,
    /// Segments sent again on its connection while it was open.
    pub retransmits: u32,
    /// Whether its span is kept: by the head's decision, or at the end, for its
    /// error or its slowness.
    pub sampled: bool,
}

impl Endpoints {
    /// Who asks, to the end that serves (`client.address`).
    pub fn client_address(&self) -> Option<IpAddr> {
        self.client.or(self.peer.map(|(address, _)| address))
    }
}

impl Finished {
    /// How long it took in nanoseconds.
    pub fn duration(&self) -> u64 {
        self.ended.saturating_sub(self.begun)
    }
}
