//! The three signals, the reasons why one can be lost, and the figures kept
//! about both.

use std::ops::{Index, IndexMut};

/// One of OTLP's signals that Observer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Metric data points.
    Metrics,
    /// Spans.
    Traces,
    /// Profile samples.
    Profiles,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Profiles];

    /// The name in messages and in the attribute `observer.signal`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Profiles => "profiles",
        }
    }

    /// The name in environment variables: `OTEL_EXPORTER_OTLP_<this>_ENDPOINT`.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Metrics => "METRICS",
            Self::Traces => "TRACES",
            Self::Profiles => "PROFILES",
        }
    }

    /// What is counted when the signal is sent or lost.
    pub fn item(self) -> &'static str {
        match self {
            Self::Metrics => "data points",
            Self::Traces => "spans",
            Self::Profiles => "samples",
        }
    }

    /// OTLP/HTTP path below a base endpoint.
    pub fn http_path(self) -> &'static str {
        match self {
            Self::Metrics => "v1/metrics",
            Self::Traces => "v1/traces",
            Self::Profiles => "v1development/profiles",
        }
    }

    /// OTLP/gRPC method.
    pub fn grpc_path(self) -> &'static str {
        match self {
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Profiles => {
                "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
            }
        }
    }
}

/// A value for each signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BySignal<T>([T; Signal::ALL.len()]);

impl<T> BySignal<T> {
    /// All values, in the order of [`Signal::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// All values, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// What `make` makes of each.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> BySignal<U> {
        BySignal(self.0.map(make))
    }
}

impl<T> Index<Signal> for BySignal<T> {
    type Output = T;

    fn index(&self, signal: Signal) -> &T {
        let [metrics, traces, profiles] = &self.0;
        match signal {
            Signal::Metrics => metrics,
            Signal::Traces => traces,
            Signal::Profiles => profiles,
        }
    }
}

impl<T> IndexMut<Signal> for BySignal<T> {
    fn index_mut(&mut self, signal: Signal) -> &mut T {
        let [metrics, traces, profiles] = &mut self.0;
        match signal {
            Signal::Metrics => metrics,
            Signal::Traces => traces,
            Signal::Profiles => profiles,
        }
    }
}

/// A value for each cause of loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByCause<T>([T; DropCause::ALL.len()]);

impl<T> ByCause<T> {
    /// All values, in the order of [`DropCause::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// What `make` makes of each.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> ByCause<U> {
        ByCause(self.0.map(make))
    }
}

impl<T> Index<DropCause> for ByCause<T> {
    type Output = T;

    fn index(&self, cause: DropCause) -> &T {
        let [full, large, refused, partial, unsupported, shutdown] = &self.0;
        match cause {
            DropCause::QueueFull => full,
            DropCause::TooLarge => large,
            DropCause::Refused => refused,
            DropCause::PartialSuccess => partial,
            DropCause::Unsupported => unsupported,
            DropCause::Shutdown => shutdown,
        }
    }
}

impl<T> IndexMut<DropCause> for ByCause<T> {
    fn index_mut(&mut self, cause: DropCause) -> &mut T {
        let [full, large, refused, partial, unsupported, shutdown] = &mut self.0;
        match cause {
            DropCause::QueueFull => full,
            DropCause::TooLarge => large,
            DropCause::Refused => refused,
            DropCause::PartialSuccess => partial,
            DropCause::Unsupported => unsupported,
            DropCause::Shutdown => shutdown,
        }
    }
}

/// Why data didn't arrive. The names are what users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropCause {
    /// The queue was full: of who had most in it, the oldest data made room for newer.
    QueueFull,
    /// One request was larger than the whole queue.
    TooLarge,
    /// The endpoint answered that it will never take this request.
    Refused,
    /// The endpoint took a request but not these items of it.
    PartialSuccess,
    /// The endpoint doesn't know the signal.
    Unsupported,
    /// Observer ended before the endpoint took it.
    Shutdown,
}

impl DropCause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::TooLarge,
        Self::Refused,
        Self::PartialSuccess,
        Self::Unsupported,
        Self::Shutdown,
    ];

    /// The name in messages and in the attribute `error.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::PartialSuccess => "partial_success",
            Self::Unsupported => "unsupported",
            Self::Shutdown => "shutdown",
        }
    }

    /// What happened, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::QueueFull => {
                "The queue was full: of who had most in it, the oldest data made room for newer."
            }
            Self::TooLarge => "One request was larger than the whole queue.",
            Self::Refused => "The endpoint answered that it will never take this request.",
            Self::PartialSuccess => "The endpoint took a request but not these items of it.",
            Self::Unsupported => "The endpoint doesn't know the signal.",
            Self::Shutdown => "Observer ended before the endpoint took it.",
        }
    }
}

/// What happened to one signal since start. Items are data points, spans or
/// samples; a request holds many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalStats {
    /// Requests that the endpoint took.
    pub sent_requests: u64,
    /// Items in them that the endpoint didn't reject.
    pub sent_items: u64,
    /// Their bytes on the wire, compressed, without protocol headers.
    pub sent_bytes: u64,
    /// Attempts that failed in a way that may be tried again.
    pub retries: u64,
    /// Items lost.
    pub lost: ByCause<u64>,
    /// Items waiting or under way.
    pub queued_items: u64,
}

impl SignalStats {
    /// Items lost for one reason.
    pub fn lost_to(&self, cause: DropCause) -> u64 {
        self.lost[cause]
    }

    /// Items lost for any reason.
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().sum()
    }
}

/// The state of the export queue and what it has done since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportStats {
    /// Bytes waiting or under way.
    pub queued_bytes: u64,
    /// Requests waiting or under way.
    pub queued_requests: u64,
    /// The bound on `queued_bytes`.
    pub limit_bytes: u64,
    /// The figures of each.
    pub signals: BySignal<SignalStats>,
}

impl ExportStats {
    /// The figures of one signal.
    pub fn signal(&self, signal: Signal) -> &SignalStats {
        &self.signals[signal]
    }
}
