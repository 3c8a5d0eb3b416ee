//! Values as people write them, with units; one parser for flags and file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A time span longer than zero: `10s`, `500ms`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text.trim()) {
            Ok(Duration::ZERO) => Err("must be longer than zero".to_owned()),
            Ok(duration) => Ok(Self(duration)),
            Err(_) => Err(format!(
                "`{text}` is not a duration; write a number and a unit, like 10s or 500ms"
            )),
        }
    }
}

/// A time span that may be zero: `0`, `1ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threshold(pub Duration);

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "0" {
            return Ok(Self(Duration::ZERO));
        }
        humantime::parse_duration(text.trim())
            .map(Self)
            .map_err(|_| {
                format!("`{text}` is not a duration; write a number and a unit, like 1ms, or 0")
            })
    }
}

/// Who may read and write a file, in octal digits: `0600`, `644`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim();
        let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let mode = octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
        // Set-user-id and the like have no business on what was written.
        let mode = mode.filter(|mode| *mode <= 0o777);
        mode.map(Self)
            .ok_or_else(|| format!("`{text}` is no file mode; write octal digits, like 0600"))
    }
}

impl<'de> Deserialize<'de> for FileMode {
    /// From a string only: TOML's numbers have bases of their own.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// An amount of memory in bytes: `32MiB`, `64KiB`, `1GB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text
            .bytes()
            .position(|b| !b.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: Option<u64> = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => Some(1),
            "kb" => Some(1_000),
            "mb" => Some(1_000_000),
            "gb" => Some(1_000_000_000),
            "k" | "kib" => Some(1 << 10),
            "m" | "mib" => Some(1 << 20),
            "g" | "gib" => Some(1 << 30),
            _ => None,
        };
        number
            .parse::<u64>()
            .ok()
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "`{text}` is not a size; write a whole number and a unit, like 32MiB or 64KiB"
                )
            })
    }
}

/// Samples per second and CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency(pub u32);

impl Frequency {
    /// The highest rate: ten thousand samples a second already cost a
    /// measurable share of every CPU.
    pub const MAX: u32 = 10_000;
}

impl FromStr for Frequency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .ok()
            .filter(|hertz| (1..=Self::MAX).contains(hertz))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a rate from 1 to {} (Hz)", Self::MAX))
    }
}

/// A share of the host's CPU, all online CPUs together: `1%`, `0.5`, or `off`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// From 0 to 1.
    Share(f64),
    /// There is none.
    Off,
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        if trimmed == "off" {
            return Ok(Self::Off);
        }
        let number = trimmed.strip_suffix('%').unwrap_or(trimmed).trim_end();
        number
            .parse()
            .ok()
            .filter(|percent: &f64| *percent > 0.0 && *percent <= 100.0)
            .map(|percent| Self::Share(percent / 100.0))
            .ok_or_else(|| {
                format!("`{text}` is not a budget; write percent of the host's CPU, like 1% or 0.5%, or off")
            })
    }
}

/// A whole number greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positive(pub u32);

impl FromStr for Positive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a whole number from 1 to {}", u32::MAX))
    }
}

/// Lets serde read a `FromStr` type from a string or a whole number, so that
/// the file accepts exactly what the command line accepts.
macro_rules! deserialize_from_str {
    ($($name:ty),+) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::units::from_text(deserializer)
            }
        }
    )+};
}
pub(super) use deserialize_from_str;

deserialize_from_str!(Period, Threshold, Size, Frequency, Budget, Positive);

/// Reads a string or a whole number with the type's `FromStr`.
pub(super) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    struct Text<T>(std::marker::PhantomData<T>);

    impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a whole number")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }
    deserializer.deserialize_any(Text(std::marker::PhantomData))
}

/// Reads a list of strings or whole numbers, each with the type's `FromStr`: for
/// types of other crates, which serde's trait can't be implemented for.
pub(super) fn from_texts<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    struct Item<T>(T);

    impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Item<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            from_text(deserializer).map(Self)
        }
    }
    let items = Vec::<Item<T>>::deserialize(deserializer)?;
    Ok(Some(items.into_iter().map(|Item(value)| value).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that durations need a unit and can't be zero.
    #[test]
    fn durations_have_units() {
        let parse = |text: &str| text.parse::<Period>().ok().map(|p| p.0);
        assert_eq!(parse("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("1m 30s"), Some(Duration::from_secs(90)));
        for wrong in ["", "10", "0", "0s", "-1s", "10 parsecs", "s"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    /// Checks that thresholds may be zero, and nothing else without a unit.
    #[test]
    fn thresholds_may_be_zero() {
        let parse = |text: &str| text.parse::<Threshold>().ok().map(|t| t.0);
        assert_eq!(parse("0"), Some(Duration::ZERO));
        assert_eq!(parse("0ms"), Some(Duration::ZERO));
        assert_eq!(parse("100us"), Some(Duration::from_micros(100)));
        for wrong in ["", "1", "-1ms", "soon"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    /// Checks that budgets are percent of the host, more than none, or off.
    #[test]
    fn budgets_are_percent() {
        let parse = |text: &str| text.parse::<Budget>().ok();
        assert_eq!(parse("1%"), Some(Budget::Share(0.01)));
        assert_eq!(parse(" 0.5 % "), Some(Budget::Share(0.005)));
        assert_eq!(parse("100"), Some(Budget::Share(1.0)));
        assert_eq!(parse("off"), Some(Budget::Off));
        for wrong in ["", "0", "0%", "-1%", "101%", "NaN", "inf", "1%%", "little"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    /// Checks binary and decimal units of sizes, and overflow.
    #[test]
    fn sizes_have_units() {
        let parse = |text: &str| text.parse::<Size>().ok().map(|s| s.0);
        assert_eq!(parse("4096"), Some(4096));
        assert_eq!(parse("32MiB"), Some(32 << 20));
        assert_eq!(parse("64 KiB"), Some(64 << 10));
        assert_eq!(parse("1GB"), Some(1_000_000_000));
        assert_eq!(parse("2k"), Some(2048));
        for wrong in ["", "MiB", "1.5MiB", "-1", "1XB", "99999999999GiB"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    /// Checks that modes are octal, and of reading, writing and executing only.
    #[test]
    fn modes_are_octal() {
        let parse = |text: &str| text.parse::<FileMode>().ok().map(|m| m.0);
        assert_eq!(parse("0600"), Some(0o600));
        assert_eq!(parse(" 644 "), Some(0o644));
        assert_eq!(parse("0777"), Some(0o777));
        for wrong in [
            "",
            "6",
            "0o600",
            "0680",
            "4755",
            "1777",
            "-600",
            "rw-r--r--",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    /// Checks the limits of the sampling rate.
    #[test]
    fn frequencies_have_limits() {
        let parse = |text: &str| text.parse::<Frequency>().ok().map(|f| f.0);
        assert_eq!(parse("1"), Some(1));
        assert_eq!(parse("10000"), Some(10_000));
        for wrong in ["0", "10001", "-5", "fast", "1.5"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
