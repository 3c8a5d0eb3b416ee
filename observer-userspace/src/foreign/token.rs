//! What only readers have.

/// Who has it may wait for ever.
#[derive(Debug)]
pub(crate) struct Foreign(());

impl Foreign {
    /// For a reader.
    pub(super) fn new() -> Self {
        Self(())
    }
}
