//! Attributes and the resource they describe.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::outside::{LONGEST, bounded};

/// An attribute's value; the subset of OTLP's `AnyValue` that Observer emits.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A UTF-8 string.
    String(Cow<'static, str>),
    /// A signed 64-bit integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// A homogeneous list of strings (e.g. `process.command_args`).
    Strings(Vec<String>),
    /// A homogeneous list of doubles.
    Doubles(Vec<f64>),
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        std::mem::discriminant(self).hash(hasher);
        match self {
            Self::String(s) => s.hash(hasher),
            Self::Int(i) => i.hash(hasher),
            Self::Double(d) => d.to_bits().hash(hasher),
            Self::Bool(b) => b.hash(hasher),
            Self::Strings(list) => list.hash(hasher),
            Self::Doubles(list) => list.iter().for_each(|d| d.to_bits().hash(hasher)),
        }
    }
}

impl From<&'static str> for Value {
    fn from(v: &'static str) -> Self {
        Self::String(Cow::Borrowed(v))
    }
}
impl From<String> for Value {
    /// What is longer than [`LONGEST`] is cut.
    fn from(v: String) -> Self {
        Self::String(bounded(v, LONGEST))
    }
}
impl From<Cow<'static, str>> for Value {
    /// What is longer than [`LONGEST`] is cut.
    fn from(v: Cow<'static, str>) -> Self {
        Self::String(bounded(v, LONGEST))
    }
}
impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}
impl From<u32> for Value {
    fn from(v: u32) -> Self {
        Self::Int(i64::from(v))
    }
}
impl From<u64> for Value {
    /// OTLP has no unsigned integer; values above `i64::MAX` saturate.
    fn from(v: u64) -> Self {
        Self::Int(i64::try_from(v).unwrap_or(i64::MAX))
    }
}
impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Double(v)
    }
}
impl From<Vec<String>> for Value {
    /// Texts that are longer than [`LONGEST`] are cut.
    fn from(v: Vec<String>) -> Self {
        let texts = v
            .into_iter()
            .map(|text| bounded(text, LONGEST).into_owned());
        Self::Strings(texts.collect())
    }
}
impl From<Vec<f64>> for Value {
    fn from(v: Vec<f64>) -> Self {
        Self::Doubles(v)
    }
}
impl From<u16> for Value {
    fn from(v: u16) -> Self {
        Self::Int(i64::from(v))
    }
}
impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}

/// One key with its value. Keys are OpenTelemetry semantic-convention names
/// where one exists.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Attribute {
    /// The attribute's name, e.g. `network.transport`.
    pub key: Cow<'static, str>,
    /// Value under the key.
    pub value: Value,
}

impl Attribute {
    /// An attribute with the given name and value.
    pub fn new(key: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

/// How the attributes of points travel: cheap to clone.
pub type SharedAttributes = Arc<[Attribute]>;

/// Whom a signal is about: an OTLP resource. Shared, because thousands of
/// points name the same workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// The identifying attributes, host and workload together.
    pub attributes: Vec<Attribute>,
}

impl Resource {
    /// A number that equal resources have in common, and few others.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.attributes.hash(&mut hasher);
        hasher.finish()
    }

    /// The value of the attribute `key`, if the resource has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attributes
            .iter()
            .find(|a| a.key == key)
            .map(|a| &a.value)
    }

    /// The string value of the attribute `key`, if the resource has one.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::String(s)) => Some(s),
            _ => None,
        }
    }
}

/// How resources travel: cheap to clone, compared by pointer first.
pub type SharedResource = Arc<Resource>;
