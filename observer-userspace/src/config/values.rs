//! Options that are one of a few words.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer};

use observer_common::family::Family;
use observer_common::requests::Protocol;
use observer_containers::{Kind, Socket};

use super::suggest::did_you_mean;
use super::units::deserialize_from_str;

/// A probe family, as an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenFamily(pub Family);

impl FromStr for ChosenFamily {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Family::ALL.map(|family| (family.as_str(), Self(family)));
        one_of(text, "probe", &names)
    }
}

/// A protocol whose requests are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestProtocol(pub Protocol);

impl FromStr for RequestProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        one_of(
            text,
            "protocol",
            &Protocol::ALL.map(|p| (p.name(), Self(p))),
        )
    }
}

/// Which time a recording shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordType {
    /// Samples on CPU.
    #[default]
    OnCpu,
    /// Nanoseconds off CPU.
    OffCpu,
    /// Both, as nanoseconds.
    Wall,
}

impl FromStr for RecordType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = [
            ("on-cpu", Self::OnCpu),
            ("off-cpu", Self::OffCpu),
            ("wall", Self::Wall),
        ];
        one_of(text, "type of recording", &names)
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = [
            ("auto", Self::Auto),
            ("text", Self::Text),
            ("json", Self::Json),
        ];
        one_of(text, "log format", &names)
    }
}

/// What is logged: tracing's filter directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// For `tracing_subscriber::EnvFilter`.
    pub fn directives(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self::of_level("info")
    }
}

impl LogFilter {
    /// Observer at this level, its libraries only when they complain.
    fn of_level(level: &str) -> Self {
        Self(format!(
            "warn,observer={level},observer_userspace={level},observer_ebpf={level}"
        ))
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const LEVELS: [(&str, &str); 6] = [
            ("off", "off"),
            ("error", "error"),
            ("warn", "warn"),
            ("info", "info"),
            ("debug", "debug"),
            ("trace", "trace"),
        ];
        if text.contains(['=', ',']) {
            return tracing_subscriber::EnvFilter::try_new(text)
                .map(|_| Self(text.to_owned()))
                .map_err(|error| format!("`{text}` is not a log filter: {error}"));
        }
        let level = one_of(&text.to_ascii_lowercase(), "log level", &LEVELS)?;
        if level == "off" {
            return Ok(Self("off".to_owned()));
        }
        Ok(Self::of_level(level))
    }
}

/// A header of an OTLP request.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Name of the header.
    pub name: String,
    /// Its value; often a secret.
    pub value: String,
}

impl fmt::Debug for Header {
    /// Without the value: configurations end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Never repeat the text: it may hold a secret.
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.trim().is_empty())
            .ok_or("a header is written NAME=VALUE")?;
        Ok(Self {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
        })
    }
}

/// A runtime's socket, as an option: `docker:/run/docker.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSocket(pub Socket);

impl FromStr for ContainerSocket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (runtime, path) = text
            .split_once(':')
            .filter(|(_, path)| path.starts_with('/'))
            .ok_or("a socket is written RUNTIME:/PATH, as docker:/run/docker.sock")?;
        let kind = one_of(
            runtime,
            "runtime",
            &Kind::ALL.map(|kind| (kind.name(), kind)),
        )?;
        let path = path.into();
        Ok(Self(Socket { kind, path }))
    }
}

deserialize_from_str!(
    ChosenFamily,
    ContainerSocket,
    RequestProtocol,
    RecordType,
    LogFormat,
    LogFilter
);

fn one_of<T: Copy>(text: &str, what: &str, names: &[(&str, T)]) -> Result<T, String> {
    let text = text.trim();
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let hint = did_you_mean(text, &words).map_or_else(
        || format!("; there are {}", words.join(", ")),
        |word| format!("; did you mean `{word}`?"),
    );
    Err(format!("there is no {what} `{text}`{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each family is found under its word, and others get a hint.
    #[test]
    fn probes_have_one_name() {
        for probe in Family::ALL {
            assert_eq!(probe.as_str().parse(), Ok(ChosenFamily(probe)));
        }
        let error = "syscall".parse::<ChosenFamily>().expect_err("not a probe");
        assert_eq!(
            error,
            "there is no probe `syscall`; did you mean `syscalls`?"
        );
        let error = "xyz".parse::<ChosenFamily>().expect_err("not a probe");
        assert!(
            error.contains("there are syscalls, tcp, block, cpu, sched, offcpu"),
            "{error}"
        );
    }

    /// Checks levels and directives of the log filter.
    #[test]
    fn log_filters_are_levels_or_directives() {
        let debug: LogFilter = "DEBUG".parse().expect("a level");
        assert!(debug.directives().contains("observer_userspace=debug"));
        assert!("hyper=trace,info".parse::<LogFilter>().is_ok());
        assert!("verbose".parse::<LogFilter>().is_err());
        assert!("hyper=verbose".parse::<LogFilter>().is_err());
    }

    /// Checks that a header's value isn't shown, neither in errors nor in logs.
    #[test]
    fn header_values_stay_secret() {
        let header: Header = "authorization=Bearer s3cret=".parse().expect("a header");
        assert_eq!(header.value, "Bearer s3cret=");
        assert!(!format!("{header:?}").contains("s3cret"));
        let error = "s3cret".parse::<Header>().expect_err("no header");
        assert!(!error.contains("s3cret"));
    }

    /// Checks that a socket is of a runtime that is known, and has a path.
    #[test]
    fn sockets_are_runtimes() {
        let socket = "cri-o:/run/crio/crio.sock".parse::<ContainerSocket>();
        let socket = socket.expect("a socket").0;
        assert_eq!(socket.kind, Kind::CriO);
        assert_eq!(socket.path, std::path::Path::new("/run/crio/crio.sock"));
        for wrong in [
            "/run/docker.sock",
            "docker:run",
            "dokcer:/run/docker.sock",
            "",
        ] {
            assert!(wrong.parse::<ContainerSocket>().is_err(), "{wrong}");
        }
    }
}
