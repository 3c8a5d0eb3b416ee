//! Endpoint URLs by the rules of "OpenTelemetry Protocol Exporter".

use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};

use super::signal::Signal;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    HttpProtobuf,
}

/// OTLP/gRPC's port where an endpoint without a scheme names none.
pub const GRPC_PORT: u16 = 4317;

/// Makes the URL that requests of `signal` go to. `own` says that `text` was
/// given for this signal alone (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`): over
/// HTTP it is then used as it is, else the signal's path is appended. gRPC
/// also takes `host:port`, with TLS unless `insecure`.
///
/// The error is a sentence without the name of the variable.
pub fn resolve(
    text: &str,
    own: bool,
    protocol: Protocol,
    insecure: bool,
    signal: Signal,
) -> Result<Uri, String> {
    let bad = |why: &str| Err(format!("`{text}` is not an endpoint URL: {why}"));
    let url = match (text.contains("://"), protocol) {
        (true, _) => text.to_owned(),
        (false, Protocol::Grpc) if insecure => format!("http://{text}"),
        (false, Protocol::Grpc) => format!("https://{text}"),
        (false, Protocol::HttpProtobuf) => {
            return bad("it must begin with http:// or https://");
        }
    };
    let uri: Uri = match url.parse() {
        Ok(uri) => uri,
        Err(error) => return bad(&format!("{error}")),
    };
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
        return bad("it needs a scheme and a host, like http://localhost:4318");
    };
    if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
        return bad("it must begin with http:// or https://");
    }
    if authority.host().is_empty() {
        return bad("the host is missing");
    }
    if authority.as_str().contains('@') {
        return bad("user and password belong into a header (OTEL_EXPORTER_OTLP_HEADERS)");
    }
    // `Authority` takes ports of any size; IPv6 hosts keep their brackets.
    let after_host = authority.as_str().strip_prefix(authority.host());
    let port = after_host.and_then(|rest| rest.strip_prefix(':'));
    let port = port.map(str::parse::<u16>);
    if port.is_some_and(|port| port.map_or(true, |port| port == 0)) {
        return bad("the port is not a number from 1 to 65535");
    }
    let authority =
        if protocol == Protocol::Grpc && !text.contains("://") && authority.port().is_none() {
            match format!("{authority}:{GRPC_PORT}").parse::<Authority>() {
                Ok(authority) => authority,
                Err(error) => return bad(&format!("{error}")),
            }
        } else {
            authority.clone()
        };
    let path = match protocol {
        Protocol::Grpc => signal.grpc_path().to_owned(),
        Protocol::HttpProtobuf if own => uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
            .to_owned(),
        Protocol::HttpProtobuf => {
            format!(
                "{}/{}",
                uri.path().trim_end_matches('/'),
                signal.http_path()
            )
        }
    };
    Uri::builder()
        .scheme(scheme.clone())
        .authority(authority)
        .path_and_query(path)
        .build()
        .or_else(|error| bad(&format!("{error}")))
}

/// The port of an endpoint as the user wrote it, if any.
pub fn explicit_port(text: &str) -> Option<u16> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority: Authority = rest.split(['/', '?']).next()?.parse().ok()?;
    authority.port_u16()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(text: &str, own: bool, signal: Signal) -> Result<String, String> {
        resolve(text, own, Protocol::HttpProtobuf, false, signal).map(|u| u.to_string())
    }

    fn grpc(text: &str, insecure: bool) -> Result<String, String> {
        resolve(text, false, Protocol::Grpc, insecure, Signal::Metrics).map(|u| {
            format!(
                "{}://{}",
                u.scheme_str().unwrap_or(""),
                u.authority().map_or("", |a| a.as_str())
            )
        })
    }

    /// Checks the examples of the specification, section "Endpoint URLs for
    /// OTLP/HTTP", and this signal's own path.
    #[test]
    fn http_paths() {
        use Signal::{Metrics, Profiles, Traces};
        for (text, own, signal, expected) in [
            (
                "http://collector:4318",
                false,
                Traces,
                "http://collector:4318/v1/traces",
            ),
            (
                "http://collector:4318",
                false,
                Metrics,
                "http://collector:4318/v1/metrics",
            ),
            (
                "http://collector:4318/",
                false,
                Profiles,
                "http://collector:4318/v1development/profiles",
            ),
            (
                "http://collector:4318/mycollector/",
                false,
                Traces,
                "http://collector:4318/mycollector/v1/traces",
            ),
            (
                "http://collector:4318/mycollector",
                false,
                Metrics,
                "http://collector:4318/mycollector/v1/metrics",
            ),
            (
                "http://collector:4318",
                true,
                Traces,
                "http://collector:4318/",
            ),
            (
                "https://collector.example.com/v1/metrics",
                true,
                Metrics,
                "https://collector.example.com/v1/metrics",
            ),
            ("https://c/a/b/?k=v", true, Metrics, "https://c/a/b/?k=v"),
            (
                "http://[::1]:4318",
                false,
                Traces,
                "http://[::1]:4318/v1/traces",
            ),
        ] {
            assert_eq!(http(text, own, signal).as_deref(), Ok(expected), "{text}");
        }
    }

    /// Checks gRPC targets: with a scheme, without one, secure by default.
    #[test]
    fn grpc_targets() {
        assert_eq!(
            grpc("http://c:4317/ignored", false).as_deref(),
            Ok("http://c:4317")
        );
        assert_eq!(grpc("https://c", true).as_deref(), Ok("https://c"));
        assert_eq!(grpc("c:1", false).as_deref(), Ok("https://c:1"));
        assert_eq!(grpc("c", true).as_deref(), Ok("http://c:4317"));
    }

    /// Checks that nonsense is refused with a sentence.
    #[test]
    fn refuses_nonsense() {
        for text in [
            "localhost:4318",
            "ftp://c",
            "http://",
            "http://u:p@c",
            "http://c:99999",
            "http://c:x",
            "://",
            "http://a b",
            "http://c:",
        ] {
            let error = http(text, false, Signal::Traces).expect_err(text);
            assert!(error.contains(text), "{error}");
        }
    }

    /// Checks that the port that the user wrote is found in every form.
    #[test]
    fn ports() {
        for (text, port) in [
            ("http://c:4317", Some(4317)),
            ("c:4317", Some(4317)),
            ("http://c:4318/x", Some(4318)),
            ("https://c/4317", None),
            ("http://[::1]:4317", Some(4317)),
        ] {
            assert_eq!(explicit_port(text), port, "{text}");
        }
    }
}
