//! Builds a table.

use std::time::Instant;

use super::message::{Built, NotBuilt, Order, Wanted};
use crate::foreign;

/// Has a reader build the table that was ordered.
pub(super) fn build(order: Order) -> (Wanted, Built) {
    let Order {
        id,
        likeness,
        file,
        tenant,
    } = order;
    let began = Instant::now();
    let built = foreign::ask(id.subject(), foreign::A_WHILE, move |_| {
        observer_unwind::build_recorded(&file)
    });
    tracing::debug!(took = ?began.elapsed(), "unwinding table of {id:?}");
    let built = match built {
        Ok(built) => built.map_err(NotBuilt::from),
        Err(error) => Err(error.into()),
    };
    ((id, likeness, tenant), built)
}
