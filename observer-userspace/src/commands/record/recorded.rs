//! What a recording comes to.

use crate::stacks::Symbolized;

/// What was recorded, with names.
pub(super) struct Recorded {
    /// What the outputs show.
    pub(super) shown: Symbolized,
    /// Time off CPU, where it is written beside them.
    pub(super) off_cpu: Option<Symbolized>,
}
