//! The span of a slow operation.

use observer_common::block::SlowOperation;

use super::names;
use observer_signals::WallClock;
use observer_signals::attribute::SharedResource;
use observer_signals::{Attribute, Span, SpanKind, SpanStatus, Value};

/// Tells the story of one operation.
pub fn span(
    slow: &SlowOperation,
    device: String,
    operation: &str,
    resource: SharedResource,
    clock: WallClock,
) -> Span {
    // What was never issued was queued until it failed.
    let issued = if slow.issued == 0 {
        slow.ended
    } else {
        slow.issued
    };
    let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
    let mut attributes = vec![
        Attribute::new(
            "observer.disk.operation.device.duration",
            seconds(issued, slow.ended),
        ),
        Attribute::new("observer.disk.operation.name", operation.to_string()),
        Attribute::new(
            "observer.disk.operation.queue.duration",
            seconds(slow.started, issued),
        ),
        Attribute::new("observer.disk.operation.size", slow.bytes),
        Attribute::new("system.device", device),
    ];
    let mut status = SpanStatus::Unset;
    if slow.status != 0 {
        let error = names::error(slow.status);
        if let Value::String(name) = &error {
            status = SpanStatus::Error(name.to_string());
        }
        attributes.insert(0, Attribute::new("error.type", error));
    }
    Span {
        resource,
        trace_id: fastrand::u128(1..).to_ne_bytes(),
        span_id: fastrand::u64(1..).to_ne_bytes(),
        parent_span_id: [0; 8],
        name: format!("disk {operation}"),
        kind: SpanKind::Internal,
        start: clock.wall(slow.started),
        end: clock.wall(slow.ended),
        attributes,
        events: vec![],
        dropped_events: 0,
        status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_signals::Resource;

    /// Checks that queue and device time add up to the span's length, also
    /// when the operation never reached the device.
    #[test]
    fn parts_add_up() {
        for (issued, queue, in_device) in [(1_000_000_000, 1.0, 2.0), (0, 3.0, 0.0)] {
            let slow = SlowOperation {
                started: 0,
                issued,
                ended: 3_000_000_000,
                bytes: 4096,
                status: 10,
                ..SlowOperation::default()
            };
            let span = span(
                &slow,
                "vda".into(),
                "read",
                Resource::default().into(),
                crate::kernel::clock::measure(),
            );
            let get = |key: &str| {
                span.attributes
                    .iter()
                    .find(|a| a.key == key)
                    .map(|a| a.value.clone())
            };
            assert_eq!(span.name, "disk read");
            assert_eq!(span.end - span.start, 3_000_000_000);
            assert_eq!(
                get("observer.disk.operation.queue.duration"),
                Some(queue.into())
            );
            assert_eq!(
                get("observer.disk.operation.device.duration"),
                Some(in_device.into())
            );
            assert_eq!(span.status, SpanStatus::Error("EIO".into()));
            assert!(span.attributes.is_sorted_by(|a, b| a.key < b.key));
        }
    }
}
