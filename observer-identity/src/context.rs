//! The process context that OpenTelemetry's SDKs publish in a process's memory (OTEP 4719,
//! "Process Context: Sharing Resource Attributes with External Readers").
//!
//! A mapping of a certain name begins with a header, which points to a protobuf message.
//! All of it is the process's to write, at any moment: what a header says is believed
//! only as far as it can be checked, and what changed while it was read is read again.
//!
//! The header, in the machine's byte order:
//!
//! | at | field |
//! |---|---|
//! | 0 | signature, `OTEL_CTX` |
//! | 8 | version, u32: 2 |
//! | 12 | size of the payload, u32 |
//! | 16 | when it was published (`CLOCK_BOOTTIME`, ns), u64; 0 while it is being changed |
//! | 24 | address of the payload, u64 |

use prost::Message as _;

use crate::text;

const SIGNATURE: &[u8; 8] = b"OTEL_CTX";
const VERSION: u32 = 2;
/// Bytes of the header.
const HEADER: usize = 32;

/// The largest payload that is read, in bytes. SDKs write hundreds; the document says
/// "in the KB range".
pub const PAYLOAD_LIMIT: usize = 64 * 1024;

/// So many attributes are taken.
const ATTRIBUTES: usize = 128;

/// How often it is read again because it changed meanwhile.
const TRIES: usize = 3;

/// The name of the mapping in `/proc/PID/maps`: by whether `memfd_create` and `prctl` were
/// there to whoever published it.
const NAMES: [&[u8]; 3] = [
    b"[anon_shmem:OTEL_CTX]",
    b"[anon:OTEL_CTX]",
    b"/memfd:OTEL_CTX",
];

/// So many mappings of such a name are looked at: there must not be more than one.
const MAPPINGS: usize = 4;

/// What a process says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    /// Attributes of the resource that are text, numbers or truth values, as text.
    pub attributes: Vec<(String, String)>,
}

/// Why there is no context in a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The memory isn't there or isn't ours to read.
    Unreadable,
    /// It doesn't begin with the signature.
    NoSignature,
    /// A version that isn't known.
    Version(u32),
    /// The payload is empty or larger than [`PAYLOAD_LIMIT`].
    Size(u32),
    /// It was changed each time that it was read.
    Changing,
    /// The payload isn't the message.
    Malformed,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable => f.write_str("its memory can't be read"),
            Self::NoSignature => f.write_str("it doesn't begin with OTEL_CTX"),
            Self::Version(version) => write!(f, "version {version} isn't known"),
            Self::Size(size) => write!(f, "a size of {size} bytes"),
            Self::Changing => f.write_str("it is being changed"),
            Self::Malformed => f.write_str("it is no ProcessContext"),
        }
    }
}

impl std::error::Error for Unusable {}

impl Context {
    /// The value of one attribute.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Reads the context whose mapping begins at `start`. `memory` fills a buffer with what
    /// is at an address of the process, all of it or none.
    ///
    /// # Errors
    /// There is no context that can be believed.
    pub fn read(
        start: u64,
        mut memory: impl FnMut(u64, &mut [u8]) -> Option<()>,
    ) -> Result<Self, Unusable> {
        for _ in 0..TRIES {
            let mut header = [0; HEADER];
            memory(start, &mut header).ok_or(Unusable::Unreadable)?;
            let before = Header::parse(&header)?;
            if before.published_at == 0 {
                continue;
            }
            let mut payload = vec![0; before.size()?];
            // Where it was freed meanwhile the header says so.
            let is_read = memory(before.payload, &mut payload).is_some();
            memory(start, &mut header).ok_or(Unusable::Unreadable)?;
            if Header::parse(&header)? != before {
                continue;
            }
            if !is_read {
                return Err(Unusable::Unreadable);
            }
            return Self::decode(&payload);
        }
        Err(Unusable::Changing)
    }

    /// From the payload, a `ProcessContext` of OTLP.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(payload: &[u8]) -> Result<Self, Unusable> {
        let message = wire::ProcessContext::decode(payload).map_err(|_| Unusable::Malformed)?;
        let all = message.resource.unwrap_or_default().attributes;
        let mut attributes: Vec<(String, String)> = Vec::new();
        for attribute in all.into_iter().take(ATTRIBUTES) {
            let key = text::name(&attribute.key);
            let value = attribute.value.and_then(|value| value.text());
            if let (Some(key), Some(value)) = (key, value)
                && attributes.iter().all(|(known, _)| *known != key)
            {
                attributes.push((key, value));
            }
        }
        Ok(Self { attributes })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    payload_size: u32,
    published_at: u64,
    payload: u64,
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Result<Self, Unusable> {
        let (signature, rest) = bytes.split_first_chunk().ok_or(Unusable::NoSignature)?;
        if signature != SIGNATURE {
            return Err(Unusable::NoSignature);
        }
        let (version, rest) = rest.split_first_chunk().ok_or(Unusable::Unreadable)?;
        let (size, rest) = rest.split_first_chunk().ok_or(Unusable::Unreadable)?;
        let (published, rest) = rest.split_first_chunk().ok_or(Unusable::Unreadable)?;
        let payload = rest.first_chunk().ok_or(Unusable::Unreadable)?;
        match u32::from_ne_bytes(*version) {
            VERSION => {}
            version => return Err(Unusable::Version(version)),
        }
        Ok(Self {
            payload_size: u32::from_ne_bytes(*size),
            published_at: u64::from_ne_bytes(*published),
            payload: u64::from_ne_bytes(*payload),
        })
    }

    fn size(self) -> Result<usize, Unusable> {
        match usize::try_from(self.payload_size) {
            Ok(size @ 1..=PAYLOAD_LIMIT) => Ok(size),
            _ => Err(Unusable::Size(self.payload_size)),
        }
    }
}

/// Where mappings begin that could have a context, by a `/proc/PID/maps`.
pub fn mappings(maps: &[u8]) -> Vec<u64> {
    let starts = maps.split(|byte| *byte == b'\n').filter_map(|line| {
        // proc(5): from-to permissions offset device inode name
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let range = fields.next()?;
        let name = fields.nth(4)?.trim_ascii_start();
        NAMES.iter().find(|known| name.starts_with(known))?;
        let start = range.split(|byte| *byte == b'-').next()?;
        u64::from_str_radix(std::str::from_utf8(start).ok()?, 16).ok()
    });
    starts.take(MAPPINGS).collect()
}

/// The message, as far as it is read: `opentelemetry/proto/processcontext/v1development`,
/// `resource/v1/resource.proto` and `common/v1/common.proto`. Values that are lists are
/// skipped, so that nothing is nested deeper than this.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ProcessContext {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AnyValue {
        #[prost(oneof = "Value", tags = "1, 2, 3, 4")]
        pub(super) value: Option<Value>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Value {
        #[prost(string, tag = "1")]
        String(String),
        #[prost(bool, tag = "2")]
        Bool(bool),
        #[prost(int64, tag = "3")]
        Int(i64),
        #[prost(double, tag = "4")]
        Double(f64),
    }

    impl AnyValue {
        pub(super) fn text(self) -> Option<String> {
            match self.value? {
                Value::String(text) => crate::text::value(&text),
                Value::Bool(value) => Some(value.to_string()),
                Value::Int(value) => Some(value.to_string()),
                Value::Double(value) => Some(value.to_string()),
            }
        }
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
