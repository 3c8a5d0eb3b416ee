//! Checks the process's real memory while the endpoint never comes back; alone
//! in its file because it measures the whole process.

use std::time::Duration;

use anyhow::Result;
use observer_export::otlp::{DropCause, Exporter, OtlpSettings, Signal};
use observer_export::self_stats::ProcessUsage;
use observer_testkit::otlp_samples::{metrics, spans};
use observer_testkit::receiver::Receiver;

/// Checks that resident memory grows by the queue's bound and little more,
/// though several times as much was exported, in requests of all sizes.
#[tokio::test]
async fn resident_memory_is_bounded() -> Result<()> {
    const LIMIT: usize = 8 << 20;
    let receiver = Receiver::start().await?;
    let endpoint = receiver.endpoint();
    receiver.stop().await;
    let mut settings = OtlpSettings::from_environment(|name| {
        (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| endpoint.clone())
    })?;
    settings.queue_bytes = LIMIT;
    let exporter = Exporter::start(&settings)?;

    let large = spans(0, 4_000);
    let small = metrics(1, 50, 1);
    let before = ProcessUsage::read()?.rss_bytes;
    let mut highest = 0;
    for round in 1..=80 {
        exporter.export_spans(&large[..round * 50]);
        exporter.export_metrics(&small);
        tokio::task::yield_now().await;
        assert!(exporter.stats().queued_bytes <= LIMIT as u64);
        highest = highest.max(ProcessUsage::read()?.rss_bytes);
    }
    let stats = exporter.stats();
    assert!(stats.signal(Signal::Traces).lost_to(DropCause::QueueFull) > 0);
    assert!(stats.queued_bytes > LIMIT as u64 / 2, "{stats:?}");
    let growth = highest.saturating_sub(before);
    // The messages being encoded, and what the allocator holds back.
    let slack = 16 << 20;
    assert!(growth <= LIMIT as u64 + slack, "grew by {growth} bytes");
    exporter.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
