//! Where OTLP settings come from: layers of named strings.
//!
//! Every source speaks in the OpenTelemetry variables' names, whether it is
//! the environment, the command line or a file; but it remembers how the user
//! called the thing, so that an error names that. A higher layer wins over a
//! lower one as a whole: `--otlp-endpoint` wins over
//! `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.

use super::signal::Signal;

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
        let digit = |byte: u8| char::from(byte).to_digit(16);
        if let [high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            bytes.push((high * 16 + low) as u8);
            rest = tail;
        } else {
            return Err(format!("`{text}`: a % must be followed by two hex digits"));
        }
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
