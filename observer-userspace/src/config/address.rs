//! Addresses to listen at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer};

use super::units::deserialize_from_str;

/// Where to listen: `127.0.0.1:9435`, `[::1]:9435`, `localhost:9435`, or a port of the
/// loopback, `9435`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeAddress(pub SocketAddr);

impl FromStr for ScrapeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let port = text.strip_prefix("localhost:").unwrap_or(text);
        if let Ok(port) = port.strip_prefix(':').unwrap_or(port).parse() {
            return Ok(Self(SocketAddr::new(loopback, port)));
        }
        text.parse().map(Self).map_err(|_| {
            format!("`{text}` is no address to listen at; write an IP address and a port, like 127.0.0.1:9435 or [::]:9435, or only a port")
        })
    }
}

deserialize_from_str!(ScrapeAddress);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<String> {
        let parsed: Result<ScrapeAddress, String> = text.parse();
        parsed.ok().map(|address| address.0.to_string())
    }

    /// Checks that a port alone is the loopback's, and that what is no address is refused.
    #[test]
    fn addresses_are_read() {
        for (text, read) in [
            ("9435", "127.0.0.1:9435"),
            (":9435", "127.0.0.1:9435"),
            ("localhost:9435", "127.0.0.1:9435"),
            (" 0.0.0.0:80 ", "0.0.0.0:80"),
            ("[::1]:9435", "[::1]:9435"),
        ] {
            assert_eq!(address(text).as_deref(), Some(read));
        }
        for wrong in [
            "",
            "host:9435",
            "127.0.0.1",
            "70000",
            "-1",
            "http://[::1]:9",
            "::1",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
