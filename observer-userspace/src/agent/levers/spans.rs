//! Which share of traces is kept.

use anyhow::{Context, Result};

use super::{Adjust, Parts, share};
use crate::governor::Lever;
use crate::kernel::tunables::MappedTunables;

/// Of the traces that would be kept one in this many is, level by level.
const ONE_IN: [u32; 3] = [1, 10, 100];

/// Traces, and spans of their own, that are kept.
pub(super) struct Traces;

impl Adjust for Traces {
    fn lever(&self) -> Lever {
        Lever {
            name: "spans",
            subject: "traces",
            levels: ONE_IN.iter().map(|n| share(*n)).collect(),
            ends_off: false,
            lowers_slow: false,
        }
    }

    fn set(
        &mut self,
        level: usize,
        _tunables: &mut MappedTunables,
        parts: &mut Parts<'_>,
    ) -> Result<()> {
        let one_in = ONE_IN.get(level).context("no such level")?;
        parts.limiter.divide(*one_in);
        for probe in parts.probes.iter_mut() {
            probe.keep_one_in(*one_in);
        }
        Ok(())
    }
}
