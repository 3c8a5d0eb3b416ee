//! Checks the reading of process contexts: as SDKs write them, and as nobody should.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::*;

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

/// A payload as the OTLP types of the SDK encode it: the message has the resource as its
/// first field.
fn payload(attributes: &[(&str, Value)]) -> Vec<u8> {
    let attributes = attributes.iter().map(|(key, value)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue {
            value: Some(value.clone()),
        }),
        ..KeyValue::default()
    });
    let resource = Resource {
        attributes: attributes.collect(),
        ..Resource::default()
    };
    let mut out = vec![0x0a];
    prost::encode_length_delimiter(resource.encoded_len(), &mut out).expect("room");
    resource.encode(&mut out).expect("room");
    out
}

/// Memory of a process: a header at 0x1000, a payload at 0x2000.
struct Memory {
    header: Vec<u8>,
    payload: Vec<u8>,
    /// Each read changes when it was published.
    restless: bool,
}

impl Memory {
    fn new(payload: Vec<u8>) -> Self {
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&VERSION.to_ne_bytes());
        header.extend_from_slice(&(payload.len() as u32).to_ne_bytes());
        header.extend_from_slice(&7u64.to_ne_bytes());
        header.extend_from_slice(&0x2000u64.to_ne_bytes());
        Self {
            header,
            payload,
            restless: false,
        }
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Option<()> {
        if self.restless {
            self.header[16] += 1;
        }
        let (base, bytes) = match at {
            0x1000..0x2000 => (0x1000, &self.header),
            _ => (0x2000, &self.payload),
        };
        let from = usize::try_from(at.checked_sub(base)?).ok()?;
        into.copy_from_slice(bytes.get(from..)?.get(..into.len())?);
        Some(())
    }

    fn context(&mut self) -> Result<Context, Unusable> {
        Context::read(0x1000, |at, into| self.read(at, into))
    }
}

/// Checks that what an SDK would write is read, numbers as text, and lists left out.
#[test]
fn contexts_are_read() {
    let list = Value::ArrayValue(ArrayValue {
        values: vec![AnyValue {
            value: Some(text("x")),
        }],
    });
    let payload = payload(&[
        ("service.name", text("shop")),
        ("service.instance.id", text("a-1")),
        ("n", Value::IntValue(-3)),
        ("b", Value::BoolValue(true)),
        ("list", list),
        ("service.name", text("again")),
        ("", text("nameless")),
    ]);
    let context = Memory::new(payload).context().expect("a context");
    assert_eq!(context.get("service.name"), Some("shop"));
    assert_eq!(context.get("service.instance.id"), Some("a-1"));
    assert_eq!(
        (context.get("n"), context.get("b")),
        (Some("-3"), Some("true"))
    );
    assert_eq!(context.attributes.len(), 4);
}

/// Checks that what can't be believed isn't, each for its reason.
#[test]
fn hostile_contexts_are_refused() {
    let good = || Memory::new(payload(&[("service.name", text("shop"))]));
    let with = |at: usize, bytes: &[u8]| {
        let mut memory = good();
        memory.header[at..at + bytes.len()].copy_from_slice(bytes);
        memory.context()
    };
    assert_eq!(with(0, b"X"), Err(Unusable::NoSignature));
    assert_eq!(with(8, &1u32.to_ne_bytes()), Err(Unusable::Version(1)));
    assert_eq!(with(12, &0u32.to_ne_bytes()), Err(Unusable::Size(0)));
    assert_eq!(
        with(12, &u32::MAX.to_ne_bytes()),
        Err(Unusable::Size(u32::MAX))
    );
    assert_eq!(with(16, &[0; 8]), Err(Unusable::Changing));
    assert_eq!(with(24, &0u64.to_ne_bytes()), Err(Unusable::Unreadable));
    assert_eq!(with(24, &u64::MAX.to_ne_bytes()), Err(Unusable::Unreadable));
    let mut restless = good();
    restless.restless = true;
    assert_eq!(restless.context(), Err(Unusable::Changing));
    let malformed = Memory::new(vec![0x0a, 0x7f, 0x01]).context();
    assert_eq!(malformed, Err(Unusable::Malformed));
    let mut short = good();
    short.header.truncate(31);
    assert_eq!(short.context(), Err(Unusable::Unreadable));
}

/// Checks that a context that was changed while it was read is read again, as it is then.
#[test]
fn torn_contexts_are_read_again() {
    let mut memory = Memory::new(payload(&[("service.name", text("old"))]));
    let new = Memory::new(payload(&[("service.name", text("newer"))]));
    let mut reads = 0;
    let context = Context::read(0x1000, |at, into| {
        reads += 1;
        if reads == 2 {
            memory.payload.clone_from(&new.payload);
            memory.header.clone_from(&new.header);
            memory.header[16] = 8;
        }
        memory.read(at, into)
    });
    assert_eq!(
        context.expect("a context").get("service.name"),
        Some("newer")
    );
    assert_eq!(reads, 6, "header, payload, header; and again");
}

/// Checks the names that the mapping can have among others.
#[test]
fn mappings_are_found_by_name() {
    let maps = b"\
7f00-7f10 rw-p 00000000 00:00 0                          [anon_shmem:OTEL_CTX]
8000-9000 rw-p 00000000 00:01 1026                       /memfd:OTEL_CTX (deleted)
a000-b000 rw-p 00000000 00:00 0                          [anon:OTEL_CTX]
c000-d000 rw-p 00000000 00:00 0                          [anon:OTHER]
d000-e000 rw-p 00000000 00:00 0
e000-f000 r--p 00000000 08:01 77                         /tmp/x/memfd:OTEL_CTX
zz-f000 r--p 00000000 08:01 77 [anon:OTEL_CTX]
";
    assert_eq!(mappings(maps), [0x7f00, 0x8000, 0xa000]);
    assert_eq!(mappings(b""), [0u64; 0]);
}

/// Checks that long and many attributes are cut.
#[test]
fn attributes_have_limits() {
    let long = "x".repeat(3000);
    let mut attributes = vec![("long", text(&long))];
    attributes.extend((0..500).map(|_| ("more", text("y"))));
    let context = Context::decode(&payload(&attributes)).expect("a context");
    assert_eq!(context.get("long").map(str::len), Some(text::VALUE_LIMIT));
    assert_eq!(context.attributes.len(), 2);
}
