//! Gathers a span's attributes.

use std::net::IpAddr;

use crate::finished::Finished;
use crate::redact::{Redacted, Told};
use observer_signals::Attribute;

/// A span's attributes while they are gathered: of what may be told, see [`Told`].
pub(super) struct Attributes(Vec<Attribute>);

impl Attributes {
    pub fn new(finished: &Finished) -> Self {
        // A server's HTTP request has so many (and as much memory is quickly
        // had of glibc, which caches up to a kilobyte); with its times, more.
        let usual = if finished.clock.is_some() { 32 } else { 18 };
        Self(Vec::with_capacity(usual))
    }

    pub fn put(&mut self, key: &'static str, value: impl Into<Told>) {
        self.0.push(Attribute::new(key, value.into()));
    }

    pub fn put_some(&mut self, key: &'static str, value: Option<impl Into<Told>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Adds a text, unless it is empty.
    pub fn put_text(&mut self, key: &'static str, text: Redacted) {
        if !text.is_empty() {
            self.put(key, text);
        }
    }

    /// Adds an address.
    pub fn put_address(&mut self, key: &'static str, address: IpAddr) {
        self.put(key, Redacted::from(address));
    }

    pub fn finish(self) -> Vec<Attribute> {
        self.0
    }
}
