//! Checks that signals arrive at a real receiver over every way there is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use observer_common::unwind::Outcome;
use observer_export::otlp::self_metrics::CATALOGUE;
use observer_export::otlp::telemetry::Telemetry;
use observer_export::otlp::{BySignal, Exporter, OtlpSettings, Signal};
use observer_export::self_stats::{
    Fill, ProbeLoss, ProfileOutcomes, ProgramStats, Refused, Seeing, SelfStats, SetAside,
};
use observer_signals::{Attribute, Resource};
use observer_signals::{BudgetStatus, StepCounts};
use observer_testkit::otlp_samples::{metrics, profile, spans};
use observer_testkit::receiver::Receiver;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Settings as the environment would make them.
fn settings(variables: &[(&str, &str)]) -> Result<OtlpSettings> {
    Ok(OtlpSettings::from_environment(|name| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })?)
}

fn export_all(exporter: &Exporter) {
    exporter.export_metrics(&metrics(1_000, 3, 5));
    exporter.export_spans(&spans(0, 4));
    exporter.export_profile(&profile());
}

/// Checks all three signals over gRPC and HTTP, plain and gzip: paths,
/// headers, content, and the exporter's own count.
#[tokio::test]
async fn every_protocol_and_compression() -> Result<()> {
    for protocol in ["grpc", "http/protobuf"] {
        for compression in ["none", "gzip"] {
            let receiver = Receiver::start().await?;
            let settings = settings(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint()),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b"),
            ])?;
            let exporter = Exporter::start(&settings)?;
            export_all(&exporter);
            let stats = exporter.shutdown(Duration::from_secs(20)).await;

            let case = format!("{protocol} {compression}");
            let received = receiver.received();
            assert_eq!(received.len(), 3, "{case}");
            for request in &received {
                let signal = request.signal().context("a known path")?;
                let expected = match protocol {
                    "grpc" => signal.grpc_path().to_owned(),
                    _ => format!("/{}", signal.http_path()),
                };
                assert_eq!(request.path, expected, "{case}");
                assert_eq!(request.compressed, compression == "gzip", "{case}");
                assert_eq!(request.headers["x-tenant"], "a b", "{case}");
                let agent = request.headers["user-agent"].to_str()?;
                assert!(agent.starts_with("OTel-OTLP-Exporter-"), "{agent}");
            }
            for (signal, items) in [
                (Signal::Metrics, 5),
                (Signal::Traces, 4),
                (Signal::Profiles, 3),
            ] {
                assert_eq!(receiver.taken(signal).len(), 1, "{case}");
                assert_eq!(stats.signal(signal).sent_items, items, "{case}");
                assert_eq!(stats.signal(signal).lost_total(), 0, "{case}");
            }
            let message = &receiver.taken(Signal::Traces)[0].message;
            let request = ExportTraceServiceRequest::decode(&message[..])?;
            let spans = &request.resource_spans[0].scope_spans[0].spans;
            assert_eq!(spans.len(), 4);
            assert_eq!(spans[3].name, "span 3");
            let message = &receiver.taken(Signal::Profiles)[0].message;
            let request = ExportProfilesServiceRequest::decode(&message[..])?;
            assert_eq!(request.resource_profiles.len(), 2, "one per workload");
        }
    }
    Ok(())
}

/// Checks that a signal goes where its own variables say, and that one that is
/// switched off goes nowhere.
#[tokio::test]
async fn signals_go_their_own_ways() -> Result<()> {
    let (base, own) = (Receiver::start().await?, Receiver::start().await?);
    let traces = format!("{}/my/traces", own.endpoint());
    let settings = settings(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &base.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_PROFILES_EXPORTER", "none"),
    ])?;
    own.answer_with(|_| observer_testkit::receiver::Answer::Ok);
    let exporter = Exporter::start(&settings)?;
    export_all(&exporter);
    exporter.shutdown(Duration::from_secs(20)).await;
    assert_eq!(base.received().len(), 1);
    assert_eq!(base.taken(Signal::Metrics).len(), 1);
    let received = own.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].path, "/my/traces");
    Ok(())
}

/// Checks that a batch too large for a gRPC receiver's usual 4 MiB comes in
/// several requests, whole.
#[tokio::test]
async fn large_batches_are_split() -> Result<()> {
    let receiver = Receiver::start().await?;
    let settings = settings(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ])?;
    let exporter = Exporter::start(&settings)?;
    exporter.export_spans(&spans(0, 40_000));
    let stats = exporter.shutdown(Duration::from_secs(20)).await;
    let taken = receiver.taken(Signal::Traces);
    assert!(taken.len() > 1);
    assert!(taken.iter().all(|r| r.message.len() < 4 << 20));
    assert_eq!(stats.signal(Signal::Traces).sent_items, 40_000);
    Ok(())
}

/// A CA, a server that shows its certificate and wants one of the same CA, and
/// the files of a client.
struct Certificates {
    folder: tempfile::TempDir,
    server: Arc<rustls::ServerConfig>,
}

impl Certificates {
    fn make() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(folder.path().join("ca.pem"), ca.pem())?;
        for name in ["localhost", "client"] {
            let key = KeyPair::generate()?;
            let certificate =
                CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &ca)?;
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem())?;
            std::fs::write(
                folder.path().join(format!("{name}.key")),
                key.serialize_pem(),
            )?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.path().join("ca.pem"))?)?;
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            provider.clone(),
        )
        .build()?;
        let chain = vec![CertificateDer::from_pem_file(
            folder.path().join("localhost.pem"),
        )?];
        let key = PrivateKeyDer::from_pem_file(folder.path().join("localhost.key"))?;
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            folder,
            server: Arc::new(server),
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// Checks TLS with a CA of one's own and a client certificate, over both
/// protocols; and that nothing is sent to a server that can't be trusted or has another
/// name, nor taken by one that doesn't trust us.
#[tokio::test]
async fn tls() -> Result<()> {
    let files = Certificates::make()?;
    let (ca, certificate, key) = (
        files.path("ca.pem"),
        files.path("client.pem"),
        files.path("client.key"),
    );
    let other = Certificates::make()?;
    for protocol in ["grpc", "http/protobuf"] {
        let server = Some(files.server.clone());
        let receiver = Receiver::start_at("127.0.0.1:0".parse()?, server).await?;
        let endpoint = receiver.endpoint();
        let base = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let client = [
            (
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                certificate.as_str(),
            ),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key.as_str()),
        ];
        // The certificate is of that server, but not of this name.
        let elsewhere = endpoint.replace("localhost", "127.0.0.1");
        assert_ne!(elsewhere, endpoint);
        let misnamed = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", elsewhere.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let other_ca = other.path("ca.pem");
        let trusting = [("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.as_str())];
        let mistaken = [("OTEL_EXPORTER_OTLP_CERTIFICATE", other_ca.as_str())];
        for (variables, arrives) in [
            ([&base[..], &client, &trusting].concat(), true),
            ([&base[..], &client, &mistaken].concat(), false),
            ([&base[..], &trusting].concat(), false),
            ([&misnamed[..], &client, &trusting].concat(), false),
        ] {
            let before = receiver.received().len();
            let exporter = Exporter::start(&settings(&variables)?)?;
            exporter.export_spans(&spans(0, 1));
            let stats = exporter.shutdown(Duration::from_secs(20)).await;
            let arrived = receiver.received().len() - before;
            assert_eq!(arrived, usize::from(arrives), "{variables:?}");
            assert_eq!(
                stats.signal(Signal::Traces).lost_total(),
                u64::from(!arrives)
            );
        }
    }
    Ok(())
}

/// Checks that TLS files that can't be used are an error that names them.
#[tokio::test]
async fn unusable_tls_files() -> Result<()> {
    let files = Certificates::make()?;
    let (ca, key) = (files.path("ca.pem"), files.path("client.key"));
    for (variable, path, named) in [
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "/does/not/exist",
            "/does/not/exist",
        ),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", &key, &key[..]),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &ca, "CLIENT_KEY"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key, "CLIENT_CERTIFICATE"),
    ] {
        let settings = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:1"),
            (variable, path),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", &ca),
        ])?;
        let Err(error) = Exporter::start(&settings) else {
            panic!("{variable}={path} was accepted")
        };
        assert!(format!("{error:#}").contains(named), "{error:#}");
    }
    Ok(())
}

/// Checks that the daemon's own metrics come through the SDK, over both
/// protocols: every one of the catalogue, with its unit, value and resource.
#[tokio::test]
async fn own_telemetry() -> Result<()> {
    for protocol in ["grpc", "http/protobuf"] {
        let receiver = Receiver::start().await?;
        let settings = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test",
            ),
        ])?;
        let exporter = Exporter::start(&settings)?;
        let fill = || {
            vec![Fill {
                name: "m".into(),
                ratio: 0.25,
            }]
        };
        let stats = Arc::new(Mutex::new(SelfStats {
            programs: vec![ProgramStats {
                name: "sys_enter".into(),
                run_time_ns: 1_500_000_000,
                run_count: 12,
            }],
            rings: fill(),
            maps: fill(),
            losses: vec![ProbeLoss {
                probe: "tcp".into(),
                cause: "ring_full".into(),
                meaning: "No room.",
                count: 3,
                quiet: false,
            }],
            refused: vec![Refused {
                table: "workloads",
                tenant: "user 65534".into(),
                count: 9,
            }],
            set_aside: vec![SetAside {
                kind: "process",
                tenant: "user 65534".into(),
                comm: "hangs".into(),
            }],
            seeing: vec![
                Seeing {
                    probe: "block".into(),
                    blind: Some(vec!["sees nothing".into()]),
                },
                Seeing {
                    probe: "sched".into(),
                    blind: None,
                },
            ],
            profiles: ProfileOutcomes {
                on_cpu: [(Outcome::Complete, 5)].into(),
                off_cpu: [(Outcome::NotWalked, 7)].into(),
            },
            governing: Some(BudgetStatus {
                budget: 0.01,
                steps: [("spans", StepCounts::default())].into(),
                ..BudgetStatus::default()
            }),
            ..SelfStats::default()
        }));
        let host = Resource {
            attributes: vec![Attribute::new("host.name", "h")],
        };
        let hour = Duration::from_secs(3600);
        let telemetry = Telemetry::start(&settings, &exporter, &host, hour, stats)?
            .context("metrics are exported")?;
        telemetry.shutdown();
        exporter.shutdown(Duration::from_secs(20)).await;

        let taken = receiver.taken(Signal::Metrics);
        assert_eq!(taken.len(), 1);
        let request = ExportMetricsServiceRequest::decode(&taken[0].message[..])?;
        let group = &request.resource_metrics[0];
        let resource = format!("{:?}", group.resource);
        for part in [
            "\"observer\"",
            "host.name",
            "deployment.environment.name",
            "telemetry.sdk",
        ] {
            assert!(resource.contains(part), "{part} in {resource}");
        }
        let metrics = &group.scope_metrics[0].metrics;
        for entry in CATALOGUE {
            let metric = metrics
                .iter()
                .find(|m| m.name == entry.def.name)
                .with_context(|| format!("{} is missing", entry.def.name))?;
            assert_eq!(metric.unit, entry.def.unit);
        }
        let run_time = metrics
            .iter()
            .find(|m| m.name == "observer.bpf.program.run_time");
        assert!(format!("{run_time:?}").contains("AsDouble(1.5)"));
        for (name, part) in [
            ("observer.tenant.refused", "user 65534"),
            ("observer.set_aside", "hangs"),
        ] {
            let metric = metrics.iter().find(|m| m.name == name);
            assert!(format!("{metric:?}").contains(part), "{metric:?}");
        }
        let blind = metrics.iter().find(|m| m.name == "observer.probe.blind");
        let blind = format!("{blind:?}");
        for (family, value) in [("block", "AsDouble(1.0)"), ("sched", "AsDouble(0.0)")] {
            let point = blind
                .split("NumberDataPoint")
                .find(|point| point.contains(&format!("\"{family}\"")));
            assert!(point.is_some_and(|point| point.contains(value)), "{blind}");
        }
    }
    Ok(())
}

/// Checks that with no endpoint nothing is started.
#[tokio::test]
async fn without_an_endpoint() -> Result<()> {
    let settings = settings(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])?;
    assert!(!settings.is_enabled());
    let exporter = Exporter::start(&settings)?;
    export_all(&exporter);
    let stats = Arc::default();
    let minute = Duration::from_secs(60);
    let telemetry = Telemetry::start(&settings, &exporter, &Resource::default(), minute, stats)?;
    assert!(telemetry.is_none());
    let stats = exporter.shutdown(Duration::from_secs(20)).await;
    assert_eq!(stats.signals, BySignal::default());
    Ok(())
}
