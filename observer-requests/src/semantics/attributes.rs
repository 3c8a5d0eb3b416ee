//! Gathers a span's attributes.

use std::net::IpAddr;

use crate::finished::Finished;
use observer_signals::{Attribute, Value};

/// A span's attributes while they are gathered.
pub(super) struct Attributes(Vec<Attribute>);

impl Attributes {
    pub fn new(finished: &Finished) -> Self {
        // A server's HTTP request has so many (and as much memory is quickly
        // had of glibc, which caches up to a kilobyte); with its times, more.
        let usual = if finished.clock.is_some() { 32 } else { 18 };
        Self(Vec::with_capacity(usual))
    }

    pub fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push(Attribute::new(key, value));
    }

    pub fn put_some(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Adds a text, unless it is empty.
    pub fn put_text(&mut self, key: &'static str, text: &str) {
        if !text.is_empty() {
            self.put(key, text.to_owned());
        }
    }

    /// Adds an address.
    pub fn put_address(&mut self, key: &'static str, address: IpAddr) {
        self.put(key, address_text(address));
    }

    pub fn finish(self) -> Vec<Attribute> {
        self.0
    }
}

/// An address as text: what `Display` writes, for IPv4 without its machinery,
/// because each span has two or three of them.
pub(super) fn address_text(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else {
        return address.to_string();
    };
    let mut out = String::with_capacity(15);
    for (i, byte) in address.octets().into_iter().enumerate() {
        if i > 0 {
            out.push('.');
        }
        let digits = [byte / 100, byte / 10 % 10, byte % 10];
        let zeros = match byte {
            0..10 => 2,
            10..100 => 1,
            _ => 0,
        };
        let digits = digits.into_iter().skip(zeros);
        out.extend(digits.map(|digit| char::from(b'0' + digit)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every byte against the standard library.
    #[test]
    fn addresses_are_written_as_usual() {
        for byte in 0..=255 {
            let address = IpAddr::from([byte, 255 - byte, byte, 7]);
            assert_eq!(address_text(address), address.to_string());
        }
        let address = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(address_text(address), "::1");
    }
}
