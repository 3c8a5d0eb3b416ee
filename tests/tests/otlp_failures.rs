//! Checks what happens when the OTLP endpoint is away, slow, full or unwilling:
//! what must arrive arrives once, what is lost is counted, memory is bounded.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use observer_export::otlp::client::{Client, Transport};
use observer_export::otlp::outcome::Outcome;
use observer_export::otlp::settings::Backoff;
use observer_export::otlp::{DropCause, ExportStats, Exporter, OtlpSettings, Signal};
use observer_signals::{Attribute, Resource, Span};
use observer_testkit::otlp_samples::{metrics, profile, spans};
use observer_testkit::receiver::{Answer, Received, Receiver};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];
const LONG: Duration = Duration::from_secs(60);

/// Settings for an endpoint, with pauses short enough for a test.
fn settings(endpoint: &str, protocol: &str) -> Result<OtlpSettings> {
    let mut settings = OtlpSettings::from_environment(|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.to_owned()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
        _ => None,
    })?;
    settings.backoff = Backoff {
        initial: Duration::from_millis(10),
        max: Duration::from_millis(50),
        unsupported: Duration::from_secs(600),
    };
    Ok(settings)
}

fn span_names(received: &[Received]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for request in received {
        let request = ExportTraceServiceRequest::decode(&request.message[..])?;
        for group in &request.resource_spans {
            names.extend(group.scope_spans[0].spans.iter().map(|s| s.name.clone()));
        }
    }
    Ok(names)
}

/// Waits until the exporter's own figures are as wanted.
async fn until(exporter: &Exporter, wanted: impl Fn(&ExportStats) -> bool) -> Result<()> {
    let waiting = async {
        while !wanted(&exporter.stats()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, waiting).await;
    waited.with_context(|| format!("{:?}", exporter.stats()))
}

/// Checks that a collector that stops and comes back gets everything, once and
/// in order.
#[tokio::test]
async fn outage_and_return() -> Result<()> {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start().await?;
        let address = receiver.address();
        let exporter = Exporter::start(&settings(&receiver.endpoint(), protocol)?)?;
        exporter.export_spans(&spans(0, 2));
        receiver.wait_until(|r| r.len() == 1).await?;
        receiver.stop().await;

        for i in 1..20 {
            exporter.export_spans(&spans(i * 2, 2));
            exporter.export_metrics(&metrics(i, 1, i as i64));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        until(&exporter, |stats| stats.signal(Signal::Traces).retries > 0).await?;
        let waiting = exporter.stats();
        assert_eq!(waiting.signal(Signal::Traces).queued_items, 38);

        let receiver = Receiver::start_at(address, None).await?;
        receiver
            .wait_until(|r| r.iter().filter(|r| r.taken).count() == 38)
            .await?;
        let stats = exporter.shutdown(LONG).await;
        let expected: Vec<_> = (2..40).map(|i| format!("span {i}")).collect();
        assert_eq!(span_names(&receiver.taken(Signal::Traces))?, expected);
        assert_eq!(receiver.taken(Signal::Metrics).len(), 19);
        assert_eq!(stats.signal(Signal::Traces).sent_items, 40);
        assert_eq!(stats.signal(Signal::Traces).lost_total(), 0);
        assert_eq!((stats.queued_bytes, stats.queued_requests), (0, 0));
    }
    Ok(())
}

/// Checks that the queue never holds more than its bound while nobody takes
/// anything, that the newest data survives, and that sent and lost add up.
#[tokio::test]
async fn memory_is_bounded_and_the_oldest_goes() -> Result<()> {
    let receiver = Receiver::start().await?;
    let (address, endpoint) = (receiver.address(), receiver.endpoint());
    receiver.stop().await;
    let mut settings = settings(&endpoint, "grpc")?;
    settings.queue_bytes = 50_000;
    let exporter = Exporter::start(&settings)?;
    for i in 0..200 {
        exporter.export_spans(&spans(i * 10, 10));
        assert!(exporter.stats().queued_bytes <= 50_000);
        tokio::task::yield_now().await;
    }
    let stats = exporter.stats();
    let traces = stats.signal(Signal::Traces);
    assert!(traces.lost_to(DropCause::QueueFull) > 1000);
    assert_eq!(traces.lost_total() + traces.queued_items, 2000);
    assert!(stats.queued_bytes > 40_000, "the room is used");
    let kept = traces.queued_items;

    let receiver = Receiver::start_at(address, None).await?;
    let stats = exporter.shutdown(LONG).await;
    let names = span_names(&receiver.taken(Signal::Traces))?;
    let expected: Vec<_> = (2000 - kept..2000).map(|i| format!("span {i}")).collect();
    assert_eq!(names, expected);
    assert_eq!(stats.signal(Signal::Traces).sent_items, kept);
    Ok(())
}

/// 64 digits that no packing makes half as short (splitmix64).
fn noise(seed: &mut u64) -> String {
    let digits = (0..4).map(|_| {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        format!("{:016x}", mixed ^ (mixed >> 27))
    });
    digits.collect()
}

/// Checks that a service keeps all its spans and metrics while the collector is away, beside
/// one that makes a hundred times the queue's room of spans in the same batches; that the other
/// one keeps its newest; and that what came and what was lost is what was made.
#[tokio::test]
async fn who_has_most_loses_its_own() -> Result<()> {
    const ROUNDS: u64 = 100;
    const FLOOD: u64 = 1000;
    let receiver = Receiver::start().await?;
    let (address, endpoint) = (receiver.address(), receiver.endpoint());
    receiver.stop().await;
    let mut settings = settings(&endpoint, "grpc")?;
    settings.queue_bytes = 400_000;
    let exporter = Exporter::start(&settings)?;
    let flood = Arc::new(Resource {
        attributes: vec![Attribute::new("service.name", "flood")],
    });
    let mut seed = 1;
    for round in 0..ROUNDS {
        let mut batch = spans(round, 1);
        batch.extend(spans(round * FLOOD, FLOOD).into_iter().map(|span| Span {
            resource: Arc::clone(&flood),
            // Nothing that packing makes small.
            name: format!("flood {round} {}", noise(&mut seed)),
            ..span
        }));
        exporter.export_spans(&batch);
        exporter.export_metrics(&metrics(round, 1, round as i64));
        assert!(exporter.stats().queued_bytes <= 400_000);
        tokio::task::yield_now().await;
    }
    let receiver = Receiver::start_at(address, None).await?;
    until(&exporter, |stats| stats.queued_requests == 0).await?;
    let stats = exporter.shutdown(LONG).await;
    let names = span_names(&receiver.taken(Signal::Traces))?;
    let (floods, steady): (Vec<_>, Vec<_>) = names
        .into_iter()
        .partition(|name| name.starts_with("flood"));
    let expected: Vec<_> = (0..ROUNDS).map(|i| format!("span {i}")).collect();
    assert_eq!(steady, expected);
    assert_eq!(receiver.taken(Signal::Metrics).len() as u64, ROUNDS);
    let newest = format!("flood {} ", ROUNDS - 1);
    assert!(floods.iter().any(|name| name.starts_with(&newest)));
    let traces = stats.signal(Signal::Traces);
    assert_eq!(
        floods.len() as u64 + traces.lost_to(DropCause::QueueFull),
        ROUNDS * FLOOD
    );
    assert_eq!(stats.signal(Signal::Metrics).lost_total(), 0);
    Ok(())
}

/// Checks that answers that may be retried are, and the others are not.
#[tokio::test]
async fn retries_what_the_specification_says() -> Result<()> {
    let retried = [
        ("grpc", Answer::Grpc(Code::Unavailable, None)),
        ("grpc", Answer::Grpc(Code::DataLoss, None)),
        (
            "grpc",
            Answer::Grpc(Code::ResourceExhausted, Some(Duration::from_millis(1))),
        ),
        ("grpc", Answer::Http(503, None)),
        ("grpc", Answer::Close),
        ("http/protobuf", Answer::Http(429, None)),
        ("http/protobuf", Answer::Http(504, None)),
        ("http/protobuf", Answer::Close),
    ];
    let refused = [
        ("grpc", Answer::Grpc(Code::ResourceExhausted, None)),
        ("grpc", Answer::Grpc(Code::InvalidArgument, None)),
        ("grpc", Answer::Http(401, None)),
        ("http/protobuf", Answer::Http(400, None)),
        ("http/protobuf", Answer::Http(500, None)),
        ("http/protobuf", Answer::Http(413, None)),
    ];
    let cases = retried.into_iter().map(|case| (case, true));
    for ((protocol, answer), again) in cases.chain(refused.into_iter().map(|case| (case, false))) {
        let case = format!("{protocol} {answer:?}");
        let receiver = Receiver::start().await?;
        receiver.answer_next([answer]);
        let exporter = Exporter::start(&settings(&receiver.endpoint(), protocol)?)?;
        exporter.export_spans(&spans(0, 3));
        receiver
            .wait_until(|r| r.len() == 1 + usize::from(again))
            .await?;
        let stats = exporter.shutdown(LONG).await;
        let traces = stats.signal(Signal::Traces);
        assert_eq!(receiver.received().len(), 1 + usize::from(again), "{case}");
        assert_eq!(traces.sent_items, if again { 3 } else { 0 }, "{case}");
        assert_eq!(
            traces.lost_to(DropCause::Refused),
            if again { 0 } else { 3 },
            "{case}"
        );
        assert_eq!(traces.retries, u64::from(again), "{case}");
    }
    Ok(())
}

/// Checks that an endpoint that names a time is not asked before it, though
/// new data comes in meanwhile.
#[tokio::test]
async fn waits_as_long_as_asked() -> Result<()> {
    for (protocol, answer) in [
        ("http/protobuf", Answer::Http(503, Some("1"))),
        (
            "grpc",
            Answer::Grpc(Code::Unavailable, Some(Duration::from_secs(1))),
        ),
    ] {
        let receiver = Receiver::start().await?;
        receiver.answer_next([answer]);
        let exporter = Exporter::start(&settings(&receiver.endpoint(), protocol)?)?;
        exporter.export_spans(&spans(0, 1));
        receiver.wait_until(|r| r.len() == 1).await?;
        exporter.export_spans(&spans(1, 1));
        receiver.wait_until(|r| r.len() == 3).await?;
        // From before the answer to behind the question, and only a lower bound: how much
        // later is the machine's business.
        let asked = receiver.received();
        let waited = asked[1].at - asked[0].at;
        assert!(
            waited >= Duration::from_millis(999),
            "{protocol}: {waited:?}"
        );
        exporter.shutdown(LONG).await;
        assert_eq!(
            span_names(&receiver.taken(Signal::Traces))?,
            ["span 0", "span 1"]
        );
    }
    Ok(())
}

/// Checks that an endpoint that asks for more patience than there's time left
/// doesn't keep Observer from ending, however absurd its wish.
#[tokio::test]
async fn shutdown_does_not_wait_for_a_wish() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.answer_with(|_| Answer::Http(503, Some("18446744073709551615")));
    let exporter = Exporter::start(&settings(&receiver.endpoint(), "http/protobuf")?)?;
    exporter.export_spans(&spans(0, 3));
    receiver.wait_until(|r| r.len() == 1).await?;
    exporter.export_metrics(&metrics(1, 1, 1));
    let minutes = Duration::from_secs(600);
    let stats = tokio::time::timeout(LONG, exporter.shutdown(minutes)).await?;
    let traces = stats.signal(Signal::Traces);
    assert_eq!(traces.lost_to(DropCause::Shutdown), 3);
    assert_eq!(receiver.received().len(), 2, "asked once per signal");
    Ok(())
}

/// Checks that rejected items of a partial success are counted and not sent
/// again, and that a mere warning costs nothing.
#[tokio::test]
async fn partial_success() -> Result<()> {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start().await?;
        receiver.answer_next([Answer::Partial(2, "too old"), Answer::Partial(0, "beware")]);
        let exporter = Exporter::start(&settings(&receiver.endpoint(), protocol)?)?;
        exporter.export_spans(&spans(0, 5));
        exporter.export_spans(&spans(5, 5));
        let stats = exporter.shutdown(LONG).await;
        let traces = stats.signal(Signal::Traces);
        assert_eq!(receiver.received().len(), 2, "{protocol}");
        assert_eq!(traces.lost_to(DropCause::PartialSuccess), 2, "{protocol}");
        assert_eq!(traces.sent_items, 8, "{protocol}");
    }
    Ok(())
}

/// Checks that an endpoint without profile support is asked once and not
/// again, that profiles are counted as lost, and that the others go on.
#[tokio::test]
async fn without_profile_support() -> Result<()> {
    for (protocol, answer) in [
        ("grpc", Answer::Grpc(Code::Unimplemented, None)),
        ("http/protobuf", Answer::Http(404, None)),
    ] {
        let receiver = Receiver::start().await?;
        receiver.answer_with(move |request| match request.signal() {
            Some(Signal::Profiles) => answer.clone(),
            _ => Answer::Ok,
        });
        let exporter = Exporter::start(&settings(&receiver.endpoint(), protocol)?)?;
        for i in 1..=5 {
            exporter.export_profile(&profile());
            exporter.export_metrics(&metrics(i, 1, 1));
            receiver
                .wait_until(|r| r.iter().filter(|r| r.taken).count() == i as usize)
                .await?;
        }
        let stats = exporter.shutdown(LONG).await;
        let asked = receiver.received();
        let asked = asked
            .iter()
            .filter(|r| r.signal() == Some(Signal::Profiles));
        assert_eq!(asked.count(), 1, "{protocol}");
        let profiles = stats.signal(Signal::Profiles);
        assert_eq!(profiles.lost_to(DropCause::Unsupported), 15, "{protocol}");
        assert_eq!(stats.signal(Signal::Metrics).sent_requests, 5, "{protocol}");
    }
    Ok(())
}

/// Checks that profiles are tried again after the pause, for collectors are
/// upgraded.
#[tokio::test]
async fn profile_support_comes_later() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.answer_next([Answer::Http(404, None)]);
    let mut settings = settings(&receiver.endpoint(), "http/protobuf")?;
    settings.backoff.unsupported = Duration::from_millis(50);
    let exporter = Exporter::start(&settings)?;
    exporter.export_profile(&profile());
    let unsupported = |stats: &ExportStats| {
        let profiles = stats.signal(Signal::Profiles);
        profiles.lost_to(DropCause::Unsupported) == 3
    };
    until(&exporter, unsupported).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    exporter.export_profile(&profile());
    let stats = exporter.shutdown(LONG).await;
    assert_eq!(receiver.taken(Signal::Profiles).len(), 1);
    assert_eq!(stats.signal(Signal::Profiles).sent_items, 3);
    Ok(())
}

/// Checks that an endpoint that hangs on one signal neither blocks the caller
/// nor the other signals, that a timed-out request is sent again, and that
/// shutting down ends with the rest counted.
#[tokio::test]
async fn hanging_endpoint() -> Result<()> {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start().await?;
        receiver.answer_with(|request| match request.signal() {
            Some(Signal::Traces) => Answer::Hang,
            _ => Answer::Ok,
        });
        let mut settings = settings(&receiver.endpoint(), protocol)?;
        // Of the signal that hangs: others have the time that they need.
        let traces = settings.signals[Signal::Traces].as_mut();
        traces.context("on")?.timeout = Duration::from_millis(200);
        let exporter = Exporter::start(&settings)?;
        exporter.export_spans(&spans(0, 7));
        for i in 1..=3 {
            exporter.export_metrics(&metrics(i, 1, 1));
        }
        receiver
            .wait_until(|r| {
                let traces = r.iter().filter(|r| r.signal() == Some(Signal::Traces));
                traces.count() >= 2 && r.iter().filter(|r| r.taken).count() == 3
            })
            .await?;
        // Answered is not yet heard.
        let heard = |stats: &ExportStats| stats.signal(Signal::Metrics).sent_requests == 3;
        until(&exporter, heard).await?;
        let stats =
            tokio::time::timeout(LONG, exporter.shutdown(Duration::from_millis(300))).await?;
        let traces = stats.signal(Signal::Traces);
        assert_eq!(traces.lost_to(DropCause::Shutdown), 7, "{protocol}");
        assert_eq!(traces.queued_items, 0, "{protocol}");
        assert_eq!(stats.signal(Signal::Metrics).sent_requests, 3, "{protocol}");
        assert_eq!(stats.queued_bytes, 0, "{protocol}");
    }
    Ok(())
}

/// Checks that ending waits neither for a pause nor for an endpoint that is
/// gone: well before a deadline of an hour.
#[tokio::test]
async fn shutdown_without_an_endpoint() -> Result<()> {
    let receiver = Receiver::start().await?;
    let endpoint = receiver.endpoint();
    receiver.stop().await;
    let mut settings = settings(&endpoint, "grpc")?;
    settings.backoff.initial = Duration::from_secs(3600);
    settings.backoff.max = settings.backoff.initial;
    let exporter = Exporter::start(&settings)?;
    exporter.export_spans(&spans(0, 7));
    while exporter.stats().signal(Signal::Traces).retries == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let hour = Duration::from_secs(3600);
    let stats = tokio::time::timeout(LONG, exporter.shutdown(hour)).await?;
    let traces = stats.signal(Signal::Traces);
    assert_eq!(traces.lost_to(DropCause::Shutdown), 7);
    Ok(())
}

/// Checks that http/protobuf spoken to a gRPC server says so, and the other way round: the
/// most likely mistake of all.
#[tokio::test]
async fn wrong_protocol_is_named() -> Result<()> {
    // An HTTP/2 server's first words: an empty SETTINGS frame.
    let grpc: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let asked = reasons(grpc, "http/protobuf").await?;
    let named = asked.iter().any(|it| it.contains("--otlp-protocol grpc"));
    assert!(named, "{asked:?}");
    let asked = reasons(http, "grpc").await?;
    let named = asked
        .iter()
        .any(|it| it.contains("--otlp-protocol http/protobuf"));
    assert!(named, "{asked:?}");
    Ok(())
}

/// Why a server that answers so takes nothing, several times.
async fn reasons(answer: &'static [u8], protocol: &str) -> Result<Vec<String>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = async {
                stream.read_u8().await?;
                stream.write_all(answer).await?;
                stream.read_to_end(&mut Vec::new()).await
            };
            // The client hangs up; how doesn't matter.
            let _ = answer.await;
        }
    });
    let settings = settings(&endpoint, protocol)?;
    let own = settings.signal(Signal::Traces).context("on")?.clone();
    let transport = Transport::new(own.protocol, &own.tls, false)?;
    let client = Client::new(Signal::Traces, own, Arc::new(transport));
    let mut reasons = Vec::new();
    // hyper reports a broken connection to the request or to the connection's
    // own task, whichever is there first; only the former has the cause.
    for _ in 0..20 {
        match client.send(Default::default()).await {
            Outcome::Retry { reason, .. } => reasons.push(reason),
            other => panic!("{other:?}"),
        }
    }
    server.abort();
    Ok(reasons)
}
