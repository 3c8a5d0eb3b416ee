//! Programs that are detached while there is too much.

use anyhow::Result;

use super::{Adjust, Parts};
use crate::governor::Lever;
use crate::kernel::tunables::MappedTunables;

/// Programs without which something isn't measured, but nothing miscounted.
pub(super) struct Programs {
    /// The lever's name in metrics.
    pub(super) name: &'static str,
    /// What they measure, for people.
    pub(super) subject: &'static str,
    /// Their names in the kernel object, in the order in which they are attached: those
    /// that are.
    pub(super) programs: Vec<&'static str>,
}

impl Adjust for Programs {
    fn lever(&self) -> Lever {
        Lever {
            name: self.name,
            subject: self.subject,
            levels: ["on", "off"].map(str::to_owned).to_vec(),
            ends_off: true,
            lowers_slow: false,
        }
    }

    fn set(
        &mut self,
        level: usize,
        _tunables: &mut MappedTunables,
        parts: &mut Parts<'_>,
    ) -> Result<()> {
        // The second must never stand before the first.
        if level == 0 {
            for program in &self.programs {
                parts.kernel.attach_again(program)?;
            }
        } else {
            for program in self.programs.iter().rev() {
                parts.kernel.detach(program)?;
            }
        }
        Ok(())
    }
}
