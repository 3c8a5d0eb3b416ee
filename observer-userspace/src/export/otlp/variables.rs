//! Where OTLP settings come from: layers of named strings.
//!
//! Every source speaks in the OpenTelemetry variables' names, whether it is
//! the environment, the command line or a file; but it remembers how the user
//! called the thing, so that an error names that. A higher layer wins over a
//! lower one as a whole: `--otlp-endpoint` wins over
//! `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.

use std::time::Duration;

use crate::export::Signal;

/// A value and how its giver named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value, not empty.
    pub value: String,
    /// `OTEL_…`, `--otlp-endpoint`, `otlp.endpoint in observer.toml`, …
    pub from: String,
    /// It was given for one signal alone.
    pub own: bool,
}

/// A value that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from}: {message}")]
pub struct SettingError {
    /// The variable, flag or key.
    pub from: String,
    /// What is wrong with it.
    pub message: String,
}

impl Setting {
    /// An error about this setting.
    pub fn error(&self, message: impl Into<String>) -> SettingError {
        SettingError {
            from: self.from.clone(),
            message: message.into(),
        }
    }
}

/// Finds a variable's value and how its giver named it.
type Lookup<'a> = dyn Fn(&str) -> Option<(String, String)> + 'a;

/// One source of settings.
pub struct Layer<'a>(Box<Lookup<'a>>);

impl<'a> Layer<'a> {
    /// Environment variables, got by `get` (`|name| std::env::var(name).ok()`).
    pub fn environment(get: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self(Box::new(move |name| {
            get(name).map(|value| (value, name.to_owned()))
        }))
    }

    /// Values given elsewhere: `(variable it stands for, value, how the user
    /// calls it)`.
    pub fn given(values: Vec<(String, String, String)>) -> Self {
        Self(Box::new(move |name| {
            values
                .iter()
                .find(|(variable, _, _)| variable == name)
                .map(|(_, value, from)| (value.clone(), from.clone()))
        }))
    }

    /// Empty means unset, as the specification says.
    fn get(&self, name: &str, own: bool) -> Option<Setting> {
        let (value, from) = (self.0)(name)?;
        let value = value.trim().to_owned();
        (!value.is_empty()).then_some(Setting { value, from, own })
    }
}

/// What a command line or a file may say about OTLP; all signals alike.
/// Values are checked later, together with those of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpOptions {
    /// Base endpoint.
    pub endpoint: Option<String>,
    /// `grpc` or `http/protobuf`.
    pub protocol: Option<String>,
    /// `key=value,key2=value2`, percent-encoded.
    pub headers: Option<String>,
    /// `gzip` or `none`.
    pub compression: Option<String>,
    /// For one attempt.
    pub timeout: Option<Duration>,
    /// Path of a CA file.
    pub certificate: Option<String>,
    /// Path of the client's certificate.
    pub client_certificate: Option<String>,
    /// Path of the client's key.
    pub client_key: Option<String>,
    /// Plaintext for gRPC endpoints without a scheme.
    pub insecure: Option<bool>,
    /// `cumulative`, `delta` or `lowmemory`.
    pub temporality: Option<String>,
    /// Whether each signal is exported, by [`Signal::index`].
    pub signals: [Option<bool>; Signal::ALL.len()],
}

impl OtlpOptions {
    /// A layer of these options. `name` tells how the user calls a field:
    /// `|field| format!("--otlp-{}", field.replace('_', "-"))` or
    /// `|field| format!("otlp.{field} in {path}")`.
    pub fn layer(&self, name: impl Fn(&str) -> String) -> Layer<'static> {
        let otlp = |suffix: &str| format!("OTEL_EXPORTER_OTLP_{suffix}");
        let timeout = self.timeout.map(|t| t.as_millis().to_string());
        let insecure = self.insecure.map(|b| b.to_string());
        let mut fields = vec![
            (otlp("ENDPOINT"), self.endpoint.clone(), "endpoint"),
            (otlp("PROTOCOL"), self.protocol.clone(), "protocol"),
            (otlp("HEADERS"), self.headers.clone(), "headers"),
            (otlp("COMPRESSION"), self.compression.clone(), "compression"),
            (otlp("TIMEOUT"), timeout, "timeout"),
            (otlp("CERTIFICATE"), self.certificate.clone(), "certificate"),
            (
                otlp("CLIENT_CERTIFICATE"),
                self.client_certificate.clone(),
                "client_certificate",
            ),
            (otlp("CLIENT_KEY"), self.client_key.clone(), "client_key"),
            (otlp("INSECURE"), insecure, "insecure"),
            (
                otlp("METRICS_TEMPORALITY_PREFERENCE"),
                self.temporality.clone(),
                "temporality",
            ),
        ];
        for signal in Signal::ALL {
            let value = self.signals[signal.index()].map(|on| if on { "otlp" } else { "none" });
            fields.push((
                format!("OTEL_{}_EXPORTER", signal.variable()),
                value.map(str::to_owned),
                signal.as_str(),
            ));
        }
        Layer::given(
            fields
                .into_iter()
                .filter_map(|(variable, value, field)| Some((variable, value?, name(field))))
                .collect(),
        )
    }
}

/// All sources, the strongest first.
pub struct Layers<'a>(pub Vec<Layer<'a>>);

impl Layers<'_> {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<Setting> {
        self.0.iter().find_map(|layer| layer.get(name, false))
    }

    /// The value of `OTEL_EXPORTER_OTLP_<SIGNAL>_<suffix>`, else of
    /// `OTEL_EXPORTER_OTLP_<suffix>`, in the first layer that has either.
    pub fn otlp(&self, signal: Signal, suffix: &str) -> Option<Setting> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{suffix}", signal.variable());
        let base = format!("OTEL_EXPORTER_OTLP_{suffix}");
        self.0
            .iter()
            .find_map(|layer| layer.get(&own, true).or_else(|| layer.get(&base, false)))
    }
}

/// Decodes `%41` and the like. The error says where.
pub fn percent_decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let code = rest
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => bytes.push(code),
            None => return Err(format!("`{text}`: a % must be followed by two hex digits")),
        }
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("`{text}` is not UTF-8 after decoding"))
}

/// Reads `key=value,key2=value2` with percent-encoded parts: the form of
/// OTEL_RESOURCE_ATTRIBUTES and of headers (W3C Baggage without properties).
pub fn key_value_list(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("`{pair}` is not of the form key=value"))?;
            let key = percent_decode(key.trim())?;
            if key.is_empty() {
                return Err(format!("`{pair}` has no key"));
            }
            Ok((key, percent_decode(value.trim())?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks decoding against values written by hand.
    #[test]
    fn decodes() {
        assert_eq!(percent_decode("a%2Cb%3d%C3%A9").as_deref(), Ok("a,b=é"));
        assert_eq!(percent_decode("a+b").as_deref(), Ok("a+b"));
        for bad in ["%", "%4", "%+1", "%zz", "%ff"] {
            assert!(percent_decode(bad).is_err(), "{bad}");
        }
        assert_eq!(
            key_value_list(" a = 1 ,b=x=y,,c=%20 "),
            Ok(vec![
                ("a".into(), "1".into()),
                ("b".into(), "x=y".into()),
                ("c".into(), " ".into())
            ])
        );
        assert!(key_value_list("a").is_err());
        assert!(key_value_list("=1").is_err());
    }
}
