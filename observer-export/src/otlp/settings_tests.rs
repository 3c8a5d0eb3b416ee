//! Checks the meaning of the OpenTelemetry variables against the
//! specification's tables.

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<OtlpSettings, SettingError> {
    OtlpSettings::from_environment(|name| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn good(variables: &[(&str, &str)]) -> OtlpSettings {
    read(variables).unwrap_or_else(|error| panic!("{variables:?}: {error}"))
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");

/// Checks that nothing set means nothing exported, and that empty is unset.
#[test]
fn nothing() {
    assert_eq!(good(&[]), OtlpSettings::default());
    let empty = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", ""),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", " "),
        ("OTEL_RESOURCE_ATTRIBUTES", ""),
        ("OTEL_METRICS_EXPORTER", ""),
    ];
    assert_eq!(good(&empty), OtlpSettings::default());
}

/// Checks the defaults that the specification gives once there's an endpoint.
#[test]
fn defaults() {
    let settings = good(&[ENDPOINT]);
    for signal in Signal::ALL {
        let own = settings.signal(signal).expect("it is exported");
        assert_eq!(own.protocol, Protocol::HttpProtobuf);
        assert_eq!(own.compression, Compression::None);
        assert_eq!(own.timeout, Duration::from_secs(10));
        assert!(own.headers.is_empty());
        assert_eq!(
            own.endpoint.to_string(),
            format!("http://c:4318/{}", signal.http_path())
        );
    }
    assert_eq!(settings.temporality, Temporality::Cumulative);
    assert_eq!(settings.metric_interval, None);
}

/// Checks that every variable has a form for one signal, and that it is
/// stronger than the common one but leaves the other signals alone.
#[test]
fn per_signal() {
    let settings = good(&[
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/x"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2,c=%2C"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/tca"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/tcert"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/tkey"),
        ("OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", "p:1"),
        ("OTEL_EXPORTER_OTLP_PROFILES_INSECURE", "TRUE"),
    ]);
    let metrics = settings.signal(Signal::Metrics).expect("on");
    assert_eq!(metrics.endpoint, "http://c:4318/v1/metrics");
    assert_eq!(metrics.headers.len(), 1);
    assert_eq!(metrics.timeout, Duration::from_secs(5));
    assert_eq!(metrics.tls.ca, Some("/ca".into()));
    assert_eq!(metrics.compression, Compression::None);
    let traces = settings.signal(Signal::Traces).expect("on");
    assert_eq!(traces.endpoint, "https://t/x");
    let headers: Vec<_> = traces
        .headers
        .iter()
        .map(|(k, v)| (k.as_str(), v.to_str().expect("text")))
        .collect();
    assert_eq!(headers, [("b", "2"), ("c", ",")]);
    assert_eq!(traces.compression, Compression::Gzip);
    assert_eq!(traces.timeout, NO_TIMEOUT);
    assert_eq!(traces.tls.client_key, Some("/tkey".into()));
    let profiles = settings.signal(Signal::Profiles).expect("on");
    assert_eq!(profiles.protocol, Protocol::Grpc);
    assert_eq!(
        profiles.endpoint.authority().map(|a| a.as_str()),
        Some("p:1")
    );
    assert_eq!(profiles.endpoint.scheme_str(), Some("http"));
    assert_eq!(profiles.headers.len(), 1);
}

/// Checks the switches: one signal, all of them, and what isn't true.
#[test]
fn switches() {
    let settings = good(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]);
    assert!(settings.signal(Signal::Traces).is_none());
    assert!(settings.signal(Signal::Metrics).is_some());
    let settings = good(&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "otlp,none")]);
    assert!(settings.signal(Signal::Metrics).is_some());
    assert!(!good(&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")]).is_enabled());
    for value in ["1", "yes", "false", ""] {
        assert!(good(&[ENDPOINT, ("OTEL_SDK_DISABLED", value)]).is_enabled());
    }
}

/// Checks the protocol: as said, else by the well-known port, else HTTP.
#[test]
fn protocols() {
    let grpc_port = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
    let of = |variables: &[(&str, &str)]| {
        good(variables)
            .signal(Signal::Metrics)
            .expect("on")
            .protocol
    };
    assert_eq!(of(&[grpc_port]), Protocol::Grpc);
    assert_eq!(of(&[ENDPOINT]), Protocol::HttpProtobuf);
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    assert_eq!(of(&[grpc_port, http]), Protocol::HttpProtobuf);
    assert_eq!(
        of(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]),
        Protocol::Grpc
    );
}

/// Checks metrics' own variables and the resource.
#[test]
fn others() {
    let settings = good(&[
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "LowMemory",
        ),
        ("OTEL_METRIC_EXPORT_INTERVAL", "2500"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=x,a=%2C%3D,a=2,b=c d",
        ),
    ]);
    assert_eq!(settings.temporality, Temporality::LowMemory);
    assert_eq!(settings.metric_interval, Some(Duration::from_millis(2500)));
    assert_eq!(settings.service_name.as_deref(), Some("x"));
    assert_eq!(
        settings.resource_attributes,
        [
            Attribute::new("service.name", "x"),
            Attribute::new("a", "2"),
            Attribute::new("b", "c d"),
        ]
    );
    let settings = good(&[
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x"),
        ("OTEL_SERVICE_NAME", "y"),
    ]);
    assert_eq!(settings.service_name.as_deref(), Some("y"));
}

/// Checks that a bad value is an error that names the variable and the value,
/// and that a header's value is not repeated.
#[test]
fn bad_values() {
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "ftp://x"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "alpha"),
        ("OTEL_RESOURCE_ATTRIBUTES", "%zz"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
    ] {
        let error = read(&[(variable, value)]).expect_err(value).to_string();
        assert!(error.starts_with(&format!("{variable}: ")), "{error}");
        assert!(error.contains(value), "{error}");
        assert!(!error.contains('\n'));
    }
    for value in ["secret", "a b=secret", "a=%00secret"] {
        let error = read(&[("OTEL_EXPORTER_OTLP_HEADERS", value)]).expect_err(value);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

/// Checks that flags win over the environment, even over a signal's own
/// variable, and the environment over a file, and that errors name them.
#[test]
fn layers() {
    let given = |value: &str, from: &str| {
        let variable = "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned();
        Layer::given(vec![(variable, value.to_owned(), from.to_owned())])
    };
    let environment = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => Some("http://env/traces".to_owned()),
        _ => None,
    };
    let resolve = |layers: Vec<Layer<'_>>| {
        let settings = OtlpSettings::from_layers(&Layers(layers))?;
        Ok::<_, SettingError>(
            Signal::ALL.map(|s| settings.signal(s).map(|s| s.endpoint.to_string())),
        )
    };
    let [metrics, traces, _] = resolve(vec![
        given("http://flag", "--otlp-endpoint"),
        Layer::environment(environment),
    ])
    .expect("valid");
    assert_eq!(metrics.as_deref(), Some("http://flag/v1/metrics"));
    assert_eq!(traces.as_deref(), Some("http://flag/v1/traces"));
    let [metrics, traces, _] = resolve(vec![
        Layer::environment(environment),
        given("http://file", "otlp.endpoint"),
    ])
    .expect("valid");
    assert_eq!(metrics.as_deref(), Some("http://file/v1/metrics"));
    assert_eq!(traces.as_deref(), Some("http://env/traces"));
    let error = resolve(vec![given("nonsense", "--otlp-endpoint")]);
    let error = error.expect_err("no URL").to_string();
    assert!(error.starts_with("--otlp-endpoint: "), "{error}");
}
