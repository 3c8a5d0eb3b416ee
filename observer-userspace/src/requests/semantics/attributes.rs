//! Gathers a span's attributes.

use crate::signals::{Attribute, Value};

/// A span's attributes while they are gathered.
pub(super) struct Attributes(Vec<Attribute>);

impl Attributes {
    pub fn new() -> Self {
        // A server's request with its times has about so many.
        Self(Vec::with_capacity(32))
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

    pub fn into_sorted(mut self) -> Vec<Attribute> {
        self.0.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        self.0
    }
}
