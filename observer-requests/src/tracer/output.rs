//! What comes out.

use crate::Finished;

/// What [`super::Tracer::advance`] found. Give the same one to each call: what
/// wasn't kept so far is taken back from it, should it be kept later.
#[derive(Debug, Default)]
pub struct Output {
    pub(super) finished: Vec<Finished>,
    pub(super) kept: Vec<Finished>,
}

impl Output {
    /// Every request that is over since the last call, for metrics;
    /// [`Finished::sampled`] says whether its span is kept, as far as it is
    /// known.
    pub fn finished(&self) -> &[Finished] {
        &self.finished
    }

    /// Requests that were in [`Output::finished`] of former calls, there not
    /// sampled, whose spans are kept after all.
    pub fn kept(&self) -> &[Finished] {
        &self.kept
    }

    /// All whose spans are to be exported now.
    pub fn spans(&self) -> impl Iterator<Item = &Finished> {
        let finished = self.finished.iter().filter(|finished| finished.sampled);
        finished.chain(&self.kept)
    }
}
