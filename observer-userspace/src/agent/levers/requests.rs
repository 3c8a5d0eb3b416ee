//! Which share of requests is followed.

use anyhow::Result;
use observer_common::tunables::Tunables;

use super::{Adjust, Parts, share};
use crate::governor::Lever;
use crate::kernel::tunables::MappedTunables;

/// Of 2ⁿ exchanges one is followed, level by level; at the one behind them none
/// is.
const SHARES: [u32; 3] = [0, 3, 6];

/// Requests that are followed.
pub(super) struct Followed {
    /// Of 2ⁿ exchanges one, at most.
    configured: u32,
}

impl Followed {
    /// Never more than one of 2^`configured` exchanges.
    pub(super) fn new(configured: u32) -> Self {
        Self { configured }
    }
}

impl Adjust for Followed {
    fn lever(&self) -> Lever {
        let levels = SHARES.iter().map(|shift| share(1 << shift));
        Lever {
            name: "requests",
            subject: "followed requests",
            levels: levels.chain(["none".to_owned()]).collect(),
            ends_off: true,
            lowers_slow: false,
        }
    }

    fn set(
        &mut self,
        level: usize,
        tunables: &mut MappedTunables,
        _parts: &mut Parts<'_>,
    ) -> Result<()> {
        let share = SHARES.get(level).copied().unwrap_or(Tunables::NO_REQUESTS);
        tunables.set(Tunables {
            request_share: share.max(self.configured),
            ..tunables.get()
        });
        Ok(())
    }
}
