//! The two ends of a connection, told from its addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use observer_common::requests::{Opened, transport};

/// Both addresses of a connection as one of its ends sees them. Its other end,
/// if it is on the same host, sees them reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    local: [u64; 2],
    peer: [u64; 2],
    ports: (u16, u16),
    /// Address family; 0 for Unix domain sockets.
    family: u8,
    /// Whether datagrams.
    datagram: bool,
    /// Network namespace, where addresses mean something only in it.
    netns: u32,
}

impl Pair {
    /// The pair of a connection; `None` for a socket without another end that
    /// is known, as one that takes datagrams from anyone.
    pub fn of(opened: &Opened) -> Option<Self> {
        if opened.transport == transport::UNIX {
            let known = opened.local != [0; 2] && opened.peer != [0; 2];
            return known.then_some(Self {
                local: opened.local,
                peer: opened.peer,
                ports: (0, 0),
                family: 0,
                datagram: false,
                netns: 0,
            });
        }
        let (local, local_port) = address(opened.family, opened.local, opened.local_port)?;
        let (peer, peer_port) = address(opened.family, opened.peer, opened.peer_port)?;
        if local_port == 0 || peer_port == 0 || local.is_unspecified() || peer.is_unspecified() {
            return None;
        }
        let inside = local.is_loopback() || peer.is_loopback();
        Some(Self {
            local: words(local),
            peer: words(peer),
            ports: (local_port, peer_port),
            family: if local.is_ipv4() { 4 } else { 6 },
            datagram: opened.transport == transport::UDP,
            netns: if inside { opened.netns } else { 0 },
        })
    }

    /// As the other end sees it.
    pub fn reversed(&self) -> Self {
        Self {
            local: self.peer,
            peer: self.local,
            ports: (self.ports.1, self.ports.0),
            ..*self
        }
    }
}

fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u64::from(address.to_bits()), 0],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [(bits >> 64) as u64, bits as u64]
        }
    }
}

/// An address of [`Opened`]; `None` for Unix domain sockets. IPv4 in IPv6
/// (RFC 4291, 2.5.5.2) is IPv4: an IPv6 server's IPv4 client sees it so.
pub fn address(family: u8, words: [u64; 2], port: u16) -> Option<(IpAddr, u16)> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&words[1].to_ne_bytes());
    let address = match family {
        4 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        6 => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(local: &str, peer: &str, family: u8, netns: u32) -> Opened {
        let of = |text: &str| -> ([u64; 2], u16) {
            let address: std::net::SocketAddr = text.parse().unwrap();
            let mut bytes = [0; 16];
            match address.ip() {
                IpAddr::V4(v4) if family == 6 => bytes = v4.to_ipv6_mapped().octets(),
                IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
                IpAddr::V6(v6) => bytes = v6.octets(),
            }
            let (high, low) = bytes.split_at(8);
            let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
            ([word(high), word(low)], address.port())
        };
        let ((local, local_port), (peer, peer_port)) = (of(local), of(peer));
        Opened {
            local,
            peer,
            local_port,
            peer_port,
            family,
            netns,
            transport: transport::TCP,
            ..Opened::default()
        }
    }

    /// Checks which ends are taken for those of one connection.
    #[test]
    fn ends_meet() {
        let pair = |opened: &Opened| Pair::of(opened).unwrap();
        let client = opened("127.0.0.1:4000", "127.0.0.1:80", 4, 1);
        // A server that listens on both families.
        let server = opened("127.0.0.1:80", "127.0.0.1:4000", 6, 1);
        assert_eq!(pair(&client).reversed(), pair(&server));
        // Another namespace's loopback is another network.
        let elsewhere = opened("127.0.0.1:80", "127.0.0.1:4000", 4, 2);
        assert_ne!(pair(&client).reversed(), pair(&elsewhere));
        // A container and its host share none.
        let inside = opened("172.17.0.2:4000", "172.17.0.1:80", 4, 1);
        let outside = opened("172.17.0.1:80", "172.17.0.2:4000", 4, 2);
        assert_eq!(pair(&inside).reversed(), pair(&outside));
        let v6 = opened("[fd00::1]:4000", "[fd00::2]:80", 6, 1);
        let other = opened("[fd00::2]:80", "[fd00::1]:4000", 6, 9);
        assert_eq!(pair(&v6).reversed(), pair(&other));
        assert_ne!(pair(&v6).reversed(), pair(&v6));
        // Unix domain sockets know each other; one alone has no other end.
        let unix = |local, peer| {
            Pair::of(&Opened {
                local: [local, 0],
                peer: [peer, 0],
                transport: transport::UNIX,
                ..Opened::default()
            })
        };
        assert_eq!(unix(8, 16).unwrap().reversed(), unix(16, 8).unwrap());
        assert_eq!(unix(8, 0), None);
        // Datagrams from anyone have no other end.
        assert_eq!(Pair::of(&opened("127.0.0.1:53", "0.0.0.0:0", 4, 1)), None);
        assert_eq!(
            address(4, client.local, 1),
            Some(("127.0.0.1".parse().unwrap(), 1))
        );
        assert_eq!(address(0, [1, 2], 3), None);
    }
}
