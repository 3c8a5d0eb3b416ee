//! `[requests]`.

use anyhow::Context;
use observer_common::requests::{CAPTURE, CAPTURE_MAX, Protocol, REQUEST_RING_BYTES};

use super::layer::RequestLayer;
use super::tables::ring_bytes;
use super::values::RequestProtocol;
use observer_requests::redact::{Glob, Redactor, Rule};
use observer_requests::routes::Pattern;
use observer_requests::tracer::Sampler;

/// Less isn't even a request's first line.
const CAPTURE_MIN: u32 = 64;

/// Traces per second and workload, where no sampler says how many.
const RATE: u32 = 1000;

/// What to see of requests, and what to tell of them.
#[derive(Clone, Debug)]
pub struct Requests {
    /// Which traces are kept.
    pub sampler: Sampler,
    /// Traces per second and workload, and how many at once; `None`: as many as
    /// the sampler keeps.
    pub span_limit: Option<(u32, u32)>,
    /// Protocols that are followed.
    pub protocols: Vec<Protocol>,
    /// Whether TLS libraries are looked into.
    pub tls: bool,
    /// Whether sockets are found by their descriptors in any case.
    pub by_descriptor: bool,
    /// At the start: see [`observer_common::tunables::Tunables::request_share`].
    pub share: u32,
    /// Bytes that are captured of a message's first piece, [`CAPTURE_MAX`] at
    /// most.
    pub capture: u32,
    /// Bytes of the ring buffer: a power of two, whole pages.
    pub ring_bytes: u32,
    /// What is hidden beside the usual.
    pub redact: Vec<Rule>,
    /// Parameters of query strings whose values aren't hidden.
    pub query_keys: Vec<Glob>,
    /// Routes that are known.
    pub routes: Vec<Pattern>,
}

impl Requests {
    /// What hides things as configured.
    pub fn redactor(&self) -> Redactor {
        Redactor::new(&self.redact, &self.query_keys)
    }

    pub(super) fn resolve(layer: RequestLayer) -> anyhow::Result<Self> {
        let argument = layer.traces_sampler_arg.as_deref();
        let sampler = match layer.traces_sampler.as_deref().map(str::trim) {
            Some(name) => Sampler::parse(name, argument)
                .context("--traces-sampler, traces-sampler or OTEL_TRACES_SAMPLER")?,
            None => Sampler::default(),
        };
        // Who chooses a sampler says how many spans are wanted.
        let rate = match (layer.rate, layer.burst) {
            (None, None) => layer.traces_sampler.is_none().then_some(RATE),
            (rate, _) => Some(rate.map_or(RATE, |n| n.0)),
        };
        let burst = |rate: u32| layer.burst.map_or(rate.saturating_mul(5), |n| n.0);
        let capture = layer.capture.map_or(CAPTURE.into(), |size| size.0);
        let capture = u32::try_from(capture)
            .ok()
            .filter(|bytes| (CAPTURE_MIN..=CAPTURE_MAX).contains(bytes))
            .with_context(|| {
                format!("of messages {CAPTURE_MIN} to {CAPTURE_MAX} bytes are taken, not {capture}")
            })?;
        let mut protocols = Protocol::ALL.to_vec();
        if let Some(chosen) = layer.protocols {
            protocols.retain(|protocol| chosen.contains(&RequestProtocol(*protocol)));
        }
        anyhow::ensure!(
            !protocols.is_empty(),
            "no protocol is chosen; leave `protocols` out for all"
        );
        Ok(Self {
            sampler,
            span_limit: rate.map(|rate| (rate, burst(rate))),
            protocols,
            tls: layer.tls.unwrap_or(true),
            by_descriptor: layer.by_descriptor.unwrap_or(false),
            share: layer.share.unwrap_or(0),
            capture,
            ring_bytes: ring_bytes(layer.ring, REQUEST_RING_BYTES.into())?,
            redact: layer.redact.unwrap_or_default(),
            query_keys: layer.query_keys.unwrap_or_default(),
            routes: layer.routes.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::Layer;

    fn resolve(text: &str) -> anyhow::Result<Requests> {
        let layer: Layer = toml::from_str(&format!("[requests]\n{text}"))?;
        Requests::resolve(layer.requests)
    }

    /// Checks the defaults, and that whoever chooses a sampler has no other
    /// limit but one of their own.
    #[test]
    fn limits_give_way_to_samplers() {
        let limit = |text| resolve(text).expect(text).span_limit;
        assert_eq!(limit(""), Some((1000, 5000)));
        assert_eq!(limit("traces-sampler='always_on'"), None);
        assert_eq!(limit("traces-sampler='always_on'\nrate=10"), Some((10, 50)));
        assert_eq!(limit("burst=7"), Some((1000, 7)));
        let defaults = resolve("").expect("defaults");
        assert_eq!(defaults.sampler, Sampler::default());
        assert_eq!((defaults.capture, defaults.ring_bytes), (512, 2 << 20));
        assert_eq!(defaults.protocols, Protocol::ALL);
    }

    /// Checks that what can't be is refused, with its reason.
    #[test]
    fn wrong_values_are_refused() {
        for (text, expected) in [
            ("traces-sampler='xray'", "unknown sampler"),
            (
                "traces-sampler='traceidratio'\ntraces-sampler-arg='2'",
                "ratio from 0 to 1",
            ),
            ("capture='8KiB'", "64 to 4096"),
            ("ring='5000000'", "power of two"),
            ("protocols=[]", "no protocol"),
            ("protocols=['http3']", "did you mean `http1`"),
            ("redact=['/a/b']", "hides nothing"),
            ("routes=['users']", "begins with"),
        ] {
            let error = format!("{:#}", resolve(text).expect_err(text));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    /// Checks that rules, keys, routes and protocols arrive.
    #[test]
    fn lists_arrive() {
        let requests = resolve(
            "redact=['*secret*']\nquery-keys=['page']\nroutes=['/a/{x}']\nprotocols=['redis','dns','redis']",
        )
        .expect("correct");
        assert_eq!(requests.protocols, [Protocol::Redis, Protocol::Dns]);
        let documented: Layer =
            toml::from_str(include_str!("../../../docs/observer.toml")).expect("a correct file");
        let documented = Requests::resolve(documented.requests).expect("correct");
        assert_eq!(documented.protocols, Protocol::ALL, "docs/observer.toml");
        assert_eq!(&**requests.routes[0].route(), "/a/{x}");
        assert_eq!(
            requests.redactor().query("page=2&x=3&page=secret"),
            "page=2&x=REDACTED&page=REDACTED"
        );
    }
}
