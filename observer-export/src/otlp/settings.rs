//! What the user wants from OTLP, out of flags, environment and file.
//!
//! The OpenTelemetry variables mean what the specification says ("OpenTelemetry
//! Protocol Exporter", "Environment Variable Specification"). Two things are
//! Observer's own: with no endpoint anywhere nothing is exported, and with no
//! protocol anywhere the well-known port 4317 means gRPC (any other port: the
//! specification's default, http/protobuf).

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::endpoint;
use super::signal::{BySignal, Signal};
use super::variables::{Layer, Layers, Setting, SettingError, key_value_list};
use observer_signals::Attribute;

pub use super::endpoint::Protocol;

/// How bodies are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// With gzip.
    Gzip,
}

/// OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// Everything since its start.
    #[default]
    Cumulative,
    /// Counters and histograms since the last time.
    Delta,
    /// Only histograms since the last time.
    LowMemory,
}

/// Whom to trust and how to show who we are; paths of PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsFiles {
    /// Trusted instead of the system's roots.
    pub ca: Option<PathBuf>,
    /// The client's certificate chain.
    pub client_certificate: Option<PathBuf>,
    /// Its private key.
    pub client_key: Option<PathBuf>,
}

/// Where and how one signal is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalSettings {
    /// The complete URL, path included.
    pub endpoint: Uri,
    /// How messages travel.
    pub protocol: Protocol,
    /// Added to every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How bodies are packed.
    pub compression: Compression,
    /// For one attempt, connection included; [`NO_TIMEOUT`] is none.
    pub timeout: Duration,
    /// Used by https endpoints.
    pub tls: TlsFiles,
}

/// The pauses between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubles with each further one.
    pub initial: Duration,
    /// Never longer than this, unless the endpoint asks for it.
    pub max: Duration,
    /// How long a signal that the endpoint doesn't know isn't sent.
    pub unsupported: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(10),
            unsupported: Duration::from_secs(600),
        }
    }
}

/// Where and how all signals are exported.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpSettings {
    /// By [`Signal::index`]; `None`: not exported.
    pub signals: BySignal<Option<SignalSettings>>,
    /// Cumulative or delta.
    pub temporality: Temporality,
    /// OTEL_METRIC_EXPORT_INTERVAL; `None`: the daemon's own `--interval`.
    pub metric_interval: Option<Duration>,
    /// OTEL_RESOURCE_ATTRIBUTES, without duplicates.
    pub resource_attributes: Vec<Attribute>,
    /// OTEL_SERVICE_NAME, else `service.name` of the resource attributes:
    /// the daemon's own name.
    pub service_name: Option<String>,
    /// Bound on the bytes that wait.
    pub queue_bytes: usize,
    /// The pauses between attempts.
    pub backoff: Backoff,
}

/// The default of [`OtlpSettings::queue_bytes`].
pub const DEFAULT_QUEUE_BYTES: usize = 32 << 20;

/// OTLP's default for one attempt.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a timeout of zero means: a day, which no request lasts.
pub const NO_TIMEOUT: Duration = Duration::from_secs(86_400);

impl Default for OtlpSettings {
    /// Nothing is exported.
    fn default() -> Self {
        Self {
            signals: BySignal::default(),
            temporality: Temporality::Cumulative,
            metric_interval: None,
            resource_attributes: Vec::new(),
            service_name: None,
            queue_bytes: DEFAULT_QUEUE_BYTES,
            backoff: Backoff::default(),
        }
    }
}

impl OtlpSettings {
    /// From the environment alone; `get` returns a variable's value.
    ///
    /// # Errors
    /// A variable's value is wrong; names the variable.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        Self::from_layers(&Layers(vec![Layer::environment(get)]))
    }

    /// From several sources, the strongest first:
    /// flags ([`Layer::given`]), [`Layer::environment`], file ([`Layer::given`]).
    ///
    /// # Errors
    /// A value is wrong; names its source.
    pub fn from_layers(layers: &Layers<'_>) -> Result<Self, SettingError> {
        let (resource_attributes, named) = resource_attributes(layers)?;
        let mut settings = Self {
            temporality: temporality(layers)?,
            metric_interval: layers
                .get("OTEL_METRIC_EXPORT_INTERVAL")
                .map(|s| milliseconds(&s))
                .transpose()?
                .filter(|interval| !interval.is_zero()),
            resource_attributes,
            service_name: layers.get("OTEL_SERVICE_NAME").map(|s| s.value).or(named),
            ..Self::default()
        };
        // Checked also when switched off: a mistake should show at once.
        for signal in Signal::ALL {
            let wanted = exporter_wanted(layers, signal)?;
            let resolved = signal_settings(layers, signal)?;
            settings.signals[signal] = resolved.filter(|_| wanted);
        }
        let disabled = layers.get("OTEL_SDK_DISABLED");
        if disabled.is_some_and(|s| is_true(&s)) {
            settings.signals = BySignal::default();
        }
        Ok(settings)
    }

    /// The settings of one signal; `None`: it isn't exported.
    pub fn signal(&self, signal: Signal) -> Option<&SignalSettings> {
        self.signals[signal].as_ref()
    }

    /// Some signal has somewhere to go.
    pub fn is_enabled(&self) -> bool {
        self.signals.iter().any(Option::is_some)
    }
}

fn signal_settings(
    layers: &Layers<'_>,
    signal: Signal,
) -> Result<Option<SignalSettings>, SettingError> {
    let endpoint = layers.otlp(signal, "ENDPOINT");
    let protocol = match layers.otlp(signal, "PROTOCOL") {
        Some(setting) => protocol(&setting)?,
        None => match endpoint
            .as_ref()
            .and_then(|e| endpoint::explicit_port(&e.value))
        {
            Some(endpoint::GRPC_PORT) => Protocol::Grpc,
            _ => Protocol::HttpProtobuf,
        },
    };
    let insecure = layers.otlp(signal, "INSECURE").is_some_and(|s| is_true(&s));
    let headers = match layers.otlp(signal, "HEADERS") {
        Some(setting) => headers(&setting)?,
        None => Vec::new(),
    };
    let compression = match layers.otlp(signal, "COMPRESSION") {
        Some(setting) => compression(&setting)?,
        None => Compression::None,
    };
    let timeout = match layers.otlp(signal, "TIMEOUT") {
        Some(setting) => milliseconds(&setting)?,
        None => DEFAULT_TIMEOUT,
    };
    let file = |suffix| layers.otlp(signal, suffix).map(|s| PathBuf::from(s.value));
    let tls = TlsFiles {
        ca: file("CERTIFICATE"),
        client_certificate: file("CLIENT_CERTIFICATE"),
        client_key: file("CLIENT_KEY"),
    };
    let Some(setting) = endpoint else {
        return Ok(None);
    };
    let endpoint = endpoint::resolve(&setting.value, setting.own, protocol, insecure, signal)
        .map_err(|message| setting.error(message))?;
    Ok(Some(SignalSettings {
        endpoint,
        protocol,
        headers,
        compression,
        timeout: if timeout.is_zero() {
            NO_TIMEOUT
        } else {
            timeout
        },
        tls,
    }))
}

/// OTEL_METRICS_EXPORTER and its siblings: a comma-separated list.
fn exporter_wanted(layers: &Layers<'_>, signal: Signal) -> Result<bool, SettingError> {
    let Some(setting) = layers.get(&format!("OTEL_{}_EXPORTER", signal.variable())) else {
        return Ok(true);
    };
    let mut wanted = false;
    for name in setting.value.split(',').map(str::trim) {
        match name {
            "otlp" => wanted = true,
            "none" | "" => {}
            other => {
                return Err(setting.error(format!(
                    "`{other}` is not an exporter that Observer has; use otlp or none"
                )));
            }
        }
    }
    Ok(wanted)
}

fn protocol(setting: &Setting) -> Result<Protocol, SettingError> {
    match setting.value.as_str() {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        other => Err(setting.error(format!(
            "`{other}` is not a protocol that Observer speaks; use grpc or http/protobuf"
        ))),
    }
}

fn compression(setting: &Setting) -> Result<Compression, SettingError> {
    match setting.value.as_str() {
        "gzip" => Ok(Compression::Gzip),
        "none" => Ok(Compression::None),
        other => Err(setting.error(format!(
            "`{other}` is not a compression that Observer knows; use gzip or none"
        ))),
    }
}

fn temporality(layers: &Layers<'_>) -> Result<Temporality, SettingError> {
    let variable = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    let Some(setting) = layers.get(variable) else {
        return Ok(Temporality::Cumulative);
    };
    match setting.value.to_ascii_lowercase().as_str() {
        "cumulative" => Ok(Temporality::Cumulative),
        "delta" => Ok(Temporality::Delta),
        "lowmemory" => Ok(Temporality::LowMemory),
        other => Err(setting.error(format!(
            "`{other}` is not a temporality; use cumulative, delta or lowmemory"
        ))),
    }
}

/// Only a case-insensitive "true" is true; the specification wants everything
/// else to be false, with a warning.
fn is_true(setting: &Setting) -> bool {
    let value = setting.value.to_ascii_lowercase();
    if value != "true" && value != "false" {
        tracing::warn!(
            "{}: `{value}` is neither true nor false; taken as false",
            setting.from
        );
    }
    value == "true"
}

fn milliseconds(setting: &Setting) -> Result<Duration, SettingError> {
    setting
        .value
        .parse()
        .map(Duration::from_millis)
        .map_err(|_| {
            setting.error(format!(
                "`{}` is not a number of milliseconds",
                setting.value
            ))
        })
}

fn headers(setting: &Setting) -> Result<Vec<(HeaderName, HeaderValue)>, SettingError> {
    let pairs = key_value_list(&setting.value).map_err(|_| {
        // The value may be a secret: don't repeat it.
        setting.error("it must be of the form key=value,key2=value2, percent-encoded")
    })?;
    pairs
        .into_iter()
        .map(|(key, value)| {
            let name: HeaderName = key
                .parse()
                .map_err(|_| setting.error(format!("`{key}` can't be the name of a header")))?;
            let mut value: HeaderValue = value
                .parse()
                .map_err(|_| setting.error(format!("the value of `{key}` can't be in a header")))?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect()
}

/// The attributes, and the service name among them.
fn resource_attributes(
    layers: &Layers<'_>,
) -> Result<(Vec<Attribute>, Option<String>), SettingError> {
    let Some(setting) = layers.get("OTEL_RESOURCE_ATTRIBUTES") else {
        return Ok((Vec::new(), None));
    };
    let pairs = key_value_list(&setting.value).map_err(|message| setting.error(message))?;
    let mut attributes: Vec<Attribute> = Vec::new();
    let mut service_name = None;
    for (key, value) in pairs {
        if key == "service.name" {
            service_name = Some(value.clone());
        }
        attributes.retain(|a| a.key != key);
        attributes.push(Attribute::new(key, value));
    }
    Ok((attributes, service_name))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
