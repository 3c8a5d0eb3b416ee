//! Protobuf's wire format, written straight into a buffer.
//!
//! A daemon that exports tens of thousands of spans a second, or points at a time, can't
//! afford a message of allocated strings for each of them, only to walk it twice. Of the
//! format (protobuf.dev/programming-guides/encoding) this is what they need.

use observer_signals::{Attribute, Value};

/// Wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// A message in the making. Fields with the value zero aren't written, as
/// proto3 has it, but for those of a `oneof`.
#[derive(Debug, Default)]
pub struct Wire {
    /// What is written so far.
    pub bytes: Vec<u8>,
}

impl Wire {
    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A whole number.
    pub fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    /// A whole number with a sign (`sint32`).
    pub fn signed(&mut self, field: u32, value: i32) {
        let zigzag = (value << 1) ^ (value >> 31);
        self.number(field, u64::from(zigzag as u32));
    }

    /// A list of whole numbers, packed.
    pub fn numbers(&mut self, field: u32, values: &[u64]) {
        if !values.is_empty() {
            self.message(field, |list| {
                values.iter().for_each(|value| list.varint(*value));
            });
        }
    }

    /// Writes a field of type `fixed64`.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.some_fixed64(field, value);
        }
    }

    /// Likewise, one that may be absent or of a `oneof`: written even if it is zero.
    pub fn some_fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a field of type `double`.
    pub fn double(&mut self, field: u32, value: f64) {
        if value != 0.0 {
            self.some_double(field, value);
        }
    }

    /// See [`Self::some_fixed64`].
    pub fn some_double(&mut self, field: u32, value: f64) {
        self.some_fixed64(field, value.to_bits());
    }

    /// Writes a field of type `fixed32`.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.tag(field, FIXED32);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Bytes or a string.
    pub fn blob(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.element(field, value);
        }
    }

    /// One of a list, or of a `oneof`: written even if it is empty.
    pub fn element(&mut self, field: u32, value: &[u8]) {
        self.length(field, value.len());
        self.bytes.extend_from_slice(value);
    }

    /// Announces a field of so many bytes, which the caller writes next.
    pub fn length(&mut self, field: u32, bytes: usize) {
        self.tag(field, LENGTH);
        self.varint(bytes as u64);
    }

    /// A message within this one.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, LENGTH);
        let at = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let end = self.bytes.len();
        let length = end - at - 1;
        // Most messages are short, so room for one byte was left; the rest of a
        // longer length is written behind the message, then moved before it.
        let goes_on = length >= 0x80;
        if let Some(first) = self.bytes.get_mut(at) {
            *first = length as u8 & 0x7f | u8::from(goes_on) << 7;
        }
        if goes_on {
            self.varint(length as u64 >> 7);
            let more = self.bytes.len() - end;
            if let Some(behind) = self.bytes.get_mut(at + 1..) {
                behind.rotate_right(more);
            }
        }
    }

    /// A list of `KeyValue`s (opentelemetry/proto/common/v1/common.proto).
    pub fn attributes(&mut self, field: u32, attributes: &[Attribute]) {
        for attribute in attributes {
            self.message(field, |kv| {
                kv.blob(1, attribute.key.as_bytes());
                kv.message(2, |any| any.any_value(&attribute.value));
            });
        }
    }

    /// The fields of an `AnyValue`.
    fn any_value(&mut self, value: &Value) {
        match value {
            Value::String(s) => self.element(1, s.as_bytes()),
            Value::Bool(b) => {
                self.tag(2, VARINT);
                self.varint(u64::from(*b));
            }
            Value::Int(i) => {
                self.tag(3, VARINT);
                // Negative numbers are written as their two's complement.
                self.varint(*i as u64);
            }
            Value::Double(d) => self.some_double(4, *d),
            Value::Strings(list) => self.message(5, |array| {
                for text in list {
                    array.message(1, |any| any.element(1, text.as_bytes()));
                }
            }),
            Value::Doubles(list) => self.message(5, |array| {
                for number in list {
                    array.message(1, |any| any.some_double(4, *number));
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::KeyValueList;
    use prost::Message as _;

    use crate::otlp::attributes::key_values;

    /// Checks values of every type, and lengths around the limits of one, two
    /// and three bytes, against prost.
    #[test]
    fn attributes_are_as_prost_writes_them() {
        let mut attributes = vec![
            Attribute::new("int", -1_i64),
            Attribute::new("zero", 0_i64),
            Attribute::new("large", i64::MAX),
            Attribute::new("double", 0.0),
            Attribute::new("half", 0.5),
            Attribute::new("yes", true),
            Attribute::new("no", false),
            Attribute::new("", ""),
            Attribute {
                key: "list".into(),
                value: Value::Strings(vec![String::new(), "b".repeat(200)]),
            },
            Attribute {
                key: "numbers".into(),
                value: Value::Doubles(vec![0.0, 1.5]),
            },
        ];
        for length in [100, 120, 125, 126, 127, 128, 129, 16380, 16384, 70_000] {
            for text in ["é".repeat(length / 2), "a".repeat(length)] {
                attributes.push(Attribute {
                    key: "text".into(),
                    value: Value::String(text.into()),
                });
            }
        }
        let mut wire = Wire::default();
        wire.attributes(1, &attributes);
        let values = key_values(&attributes);
        assert_eq!(wire.bytes, KeyValueList { values }.encode_to_vec());
    }
}
