//! Which files have one table: those whose contents were found to be the same.
//!
//! A hundred containers of one image have a hundred files, each with a device of its own
//! (overlayfs), and one table. Build id and length say which may be copies of each other;
//! what the table was made of, read again, says which are.

use std::sync::Arc;
use std::time::Instant;

use observer_unwind::Inputs;

use super::message::{Likeness, Order};
use crate::foreign;

/// Tables that a file is compared with. More of one build id and length are no copies:
/// somebody makes them.
const MAX_COMPARED: usize = 4;

/// What a table was made of.
pub(super) struct Made {
    likeness: Option<Likeness>,
    /// `None` if it isn't remembered; then nobody shares it.
    inputs: Option<Arc<Inputs>>,
}

impl Made {
    /// Of a file like this, of these pieces.
    pub(super) fn new(likeness: Option<Likeness>, inputs: Option<Inputs>) -> Self {
        // Nobody will ask.
        let inputs = inputs.filter(|_| likeness.is_some());
        Self {
            likeness,
            inputs: inputs.map(Arc::new),
        }
    }
}

/// Which of `tables` is also the table of the file that is ordered.
pub(super) fn find<'a>(order: &Order, tables: impl Iterator<Item = &'a Made>) -> Option<usize> {
    order.likeness.as_ref()?;
    let alike = tables
        .enumerate()
        .filter(|(_, made)| made.likeness == order.likeness);
    let alike = alike.filter_map(|(place, made)| Some((place, made.inputs.clone()?)));
    let alike: Vec<_> = alike.take(MAX_COMPARED).collect();
    if alike.is_empty() {
        return None;
    }
    let began = Instant::now();
    let file = order.file.try_clone().ok()?;
    let same = foreign::ask(order.id.subject(), foreign::A_WHILE, move |_| {
        let same = alike
            .into_iter()
            .find(|(_, inputs)| inputs.are_those_of(&file));
        same.map(|(place, _)| place)
    });
    let same = same.ok().flatten()?;
    let took = began.elapsed();
    tracing::debug!(?took, "{:?} has the unwinding table of another", order.id);
    Some(same)
}
