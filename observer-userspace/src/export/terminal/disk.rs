//! Disks: operations and latencies by device and operation.

use super::Interval;
use super::view::View;

/// The section; `None` without operations.
pub fn section(_view: &View<'_>, _interval: &Interval<'_>) -> Option<String> {
    None
}
