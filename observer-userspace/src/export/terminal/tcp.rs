//! TCP health of the host.

use super::Interval;
use super::view::View;

/// The section; `None` without traffic.
pub fn section(_view: &View<'_>, _interval: &Interval<'_>) -> Option<String> {
    None
}
