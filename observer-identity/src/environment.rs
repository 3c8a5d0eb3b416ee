//! The environment variables with which OpenTelemetry describes a resource,
//! the daemon's own as well as those of the processes it sees.

use observer_signals::outside::{LONGEST_NAME, bounded};

/// Attributes that are looked at: as many as SDKs keep (OpenTelemetry specification,
/// "Attribute Limits").
const MOST_ATTRIBUTES: usize = 128;

/// What a process says about itself in `OTEL_SERVICE_NAME` and
/// `OTEL_RESOURCE_ATTRIBUTES`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `service.name`; `OTEL_SERVICE_NAME` wins, as the specification says.
    pub service_name: Option<String>,
    /// The other attributes, in their order.
    pub attributes: Vec<(String, String)>,
}

impl Declared {
    /// From the values of the two variables; an empty one counts as unset.
    pub fn new(service_name: Option<&str>, resource_attributes: Option<&str>) -> Self {
        let mut declared = Self::default();
        for (key, value) in parse_resource_attributes(resource_attributes.unwrap_or_default()) {
            if key == "service.name" {
                declared.service_name = Some(value);
            } else {
                declared.attributes.push((key, value));
            }
        }
        if let Some(name) = service_name.filter(|n| !n.is_empty()) {
            declared.service_name = Some(name.to_owned());
        }
        declared
    }

    /// From the daemon's own environment.
    pub fn own() -> Self {
        let get = |key| std::env::var(key).ok();
        Self::new(
            get("OTEL_SERVICE_NAME").as_deref(),
            get("OTEL_RESOURCE_ATTRIBUTES").as_deref(),
        )
    }

    /// From a `/proc/PID/environ`; values that are longer than a name are cut.
    pub fn from_environ(environ: &[u8]) -> Self {
        let value_of = |wanted: &str| {
            environ
                .split(|b| *b == 0)
                .find_map(|entry| entry.strip_prefix(wanted.as_bytes())?.strip_prefix(b"="))
                .map(String::from_utf8_lossy)
        };
        let mut declared = Self::new(
            value_of("OTEL_SERVICE_NAME").as_deref(),
            value_of("OTEL_RESOURCE_ATTRIBUTES").as_deref(),
        );
        // Each goes with every series and span of the process.
        let short = |text: &mut String| {
            *text = bounded(std::mem::take(text), LONGEST_NAME).into_owned();
        };
        declared.service_name.iter_mut().for_each(short);
        declared
            .attributes
            .iter_mut()
            .for_each(|(_, value)| short(value));
        declared
    }

    /// The value of one attribute other than `service.name`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }
}

/// `key1=value1,key2=value2`, both percent-encoded (OpenTelemetry
/// specification, "Resource SDK"). If any part is malformed the whole is
/// discarded, as the specification demands. The last of equal keys wins. What comes after
/// [`MOST_ATTRIBUTES`] isn't looked at: a process's own say, and looking takes time.
pub fn parse_resource_attributes(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .take(MOST_ATTRIBUTES)
    {
        let Some((key, value)) = part.split_once('=') else {
            return Vec::new();
        };
        let (Some(key), Some(value)) = (percent_decode(key.trim()), percent_decode(value.trim()))
        else {
            return Vec::new();
        };
        if key.is_empty() {
            return Vec::new();
        }
        found.retain(|(k, _)| *k != key);
        found.push((key, value));
    }
    found
}

fn percent_decode(text: &str) -> Option<String> {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let [byte, behind @ ..] = rest {
        if *byte == b'%' {
            let [high, low, behind @ ..] = behind else {
                return None;
            };
            let digit = |byte: u8| char::from(byte).to_digit(16);
            out.push((digit(*high)? * 16 + digit(*low)?) as u8);
            rest = behind;
        } else {
            out.push(*byte);
            rest = behind;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that what a process says of itself is cut to names' length, and only so many
    /// attributes are looked at.
    #[test]
    fn declarations_are_bounded() {
        let long = "é".repeat(60_000);
        let many: String = (0..1000).map(|n| format!("k{n}=v,")).collect();
        let environ = format!(
            "OTEL_SERVICE_NAME={long}\0OTEL_RESOURCE_ATTRIBUTES=service.namespace={long},{many}\0"
        );
        let declared = Declared::from_environ(environ.as_bytes());
        let name = declared.service_name.as_deref().expect("a name");
        assert!(
            name.len() <= LONGEST_NAME && name.ends_with("é…"),
            "{}",
            name.len()
        );
        let namespace = declared.get("service.namespace").expect("a namespace");
        assert!(namespace.len() <= LONGEST_NAME);
        assert_eq!(declared.attributes.len(), MOST_ATTRIBUTES);
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    /// Checks the W3C-baggage-like syntax of OTEL_RESOURCE_ATTRIBUTES.
    #[test]
    fn resource_attributes_are_parsed_as_specified() {
        let table = [
            ("", pairs(&[])),
            ("a=b", pairs(&[("a", "b")])),
            (" a = b , c=d,", pairs(&[("a", "b"), ("c", "d")])),
            ("a=x%2Cy%3Dz%20%C3%A9", pairs(&[("a", "x,y=z é")])),
            ("a=b=c", pairs(&[("a", "b=c")])),
            ("a=1,a=2", pairs(&[("a", "2")])),
            ("a=", pairs(&[("a", "")])),
            ("a=1,novalue", pairs(&[])),
            ("a=%zz", pairs(&[])),
            ("a=%+1", pairs(&[])),
            ("a=%", pairs(&[])),
            ("=1", pairs(&[])),
        ];
        for (text, expected) in table {
            assert_eq!(parse_resource_attributes(text), expected, "{text:?}");
        }
    }

    /// Checks that OTEL_SERVICE_NAME wins over service.name among the attributes.
    #[test]
    fn service_name_has_precedence() {
        let environ = b"A=1\0OTEL_SERVICE_NAME=shop\0OTEL_RESOURCE_ATTRIBUTES=service.name=x,service.namespace=n\0XOTEL_SERVICE_NAME=no\0";
        let declared = Declared::from_environ(environ);
        assert_eq!(declared.service_name.as_deref(), Some("shop"));
        assert_eq!(declared.get("service.namespace"), Some("n"));
        let declared = Declared::new(Some(""), Some("service.name=x"));
        assert_eq!(declared.service_name.as_deref(), Some("x"));
        assert_eq!(Declared::from_environ(b"").service_name, None);
    }
}
