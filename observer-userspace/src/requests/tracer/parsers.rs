//! Which parser reads a protocol.

use observer_common::requests::Protocol;

use crate::requests::Parser;

/// What makes a connection's parser: its protocol, whether it carries
/// datagrams, whether its beginning wasn't seen.
pub type Make = fn(Protocol, bool, bool) -> Box<dyn Parser>;
