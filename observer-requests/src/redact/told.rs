//! What may be told: the only texts that spans and metrics are made of.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Deref;

use observer_signals::Value;
use observer_signals::outside::{LONGEST, LONGEST_NAME, bounded};

/// Codes are a few letters and digits; what is longer isn't one.
const LONGEST_CODE: usize = 64;

/// What stands for something that should be a code, and isn't.
const NO_CODE: &str = "_OTHER";

/// Text that may leave the daemon: the [`Redactor`](super::Redactor) has seen it, or
/// nobody outside wrote it. Attributes and names of spans and metrics are made of nothing
/// else, so what was on the wire doesn't get into them by being forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redacted(Cow<'static, str>);

impl Redacted {
    /// What the redactor lets through.
    pub(super) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(bounded(text, LONGEST))
    }

    /// A code or a number: letters, digits, `_`, `-` and `.`; anything else becomes
    /// `_OTHER`.
    pub fn code(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        let usual = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        let is_code = text.len() <= LONGEST_CODE && text.bytes().all(usual);
        Self(if is_code { text } else { NO_CODE.into() })
    }

    /// A route, in which [`Routes`](crate::routes::Routes) hid what the redactor's rules
    /// and the looks of its segments say.
    pub(crate) fn route(route: &str) -> Self {
        Self::new(route.to_owned())
    }

    /// A protocol and an address, as the tracer writes them.
    pub(crate) fn server(server: &str) -> Self {
        Self::new(server.to_owned())
    }

    /// This, `between`, and `behind`.
    #[must_use]
    pub fn and(self, between: &'static str, behind: &Self) -> Self {
        Self::new([&*self.0, between, &*behind.0].concat())
    }

    /// Cut to the length of a name, which many series or spans bear.
    #[must_use]
    pub fn name(self) -> Self {
        Self(bounded(self.0, LONGEST_NAME))
    }

    /// It as a string.
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Redacted {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Redacted {
    /// What is written in this program.
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl From<IpAddr> for Redacted {
    fn from(address: IpAddr) -> Self {
        Self(address_text(address).into())
    }
}

impl PartialEq<str> for Redacted {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Redacted {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

/// A value that may be told: a number, or text that is [`Redacted`].
#[derive(Clone, Debug, PartialEq)]
pub struct Told(Value);

impl From<Told> for Value {
    fn from(told: Told) -> Self {
        told.0
    }
}

impl From<Redacted> for Told {
    fn from(text: Redacted) -> Self {
        Self(text.0.into())
    }
}

impl From<Vec<Redacted>> for Told {
    fn from(texts: Vec<Redacted>) -> Self {
        let texts: Vec<String> = texts.into_iter().map(Redacted::into_string).collect();
        Self(texts.into())
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl From<$type> for Told {
            fn from(value: $type) -> Self {
                Self(value.into())
            }
        }
    )*};
}
numbers!(bool u16 u32 u64 i64 f64 Vec<f64> &'static str);

/// An address as text: what `Display` writes, for IPv4 without its machinery,
/// because each span has two or three of them.
fn address_text(address: IpAddr) -> String {
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

    /// Checks that only codes are codes, and that texts have a longest length.
    #[test]
    fn codes_and_lengths() {
        assert_eq!(Redacted::code("NXDOMAIN"), "NXDOMAIN");
        assert_eq!(Redacted::code("42P01".to_owned()), "42P01");
        for wrong in ["a b", "a\n", "é", "token=x"] {
            assert_eq!(Redacted::code(wrong), "_OTHER");
        }
        let long = Redacted::new("x".repeat(100_000));
        assert_eq!(long.len(), LONGEST);
        assert_eq!(long.name().len(), LONGEST_NAME);
    }
}
