//! Programs that are detached while there is too much.

use anyhow::Result;

use super::{Adjust, Parts};
use crate::governor::Lever;
use crate::kernel::tunables::MappedTunables;

/// A program without which something isn't measured, but nothing miscounted.
pub(super) struct Program {
    /// The lever's name in metrics.
    pub(super) name: &'static str,
    /// What the program measures, for people.
    pub(super) subject: &'static str,
    /// Its name in the kernel object.
    pub(super) program: &'static str,
}

impl Adjust for Program {
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
        if level == 0 {
            parts.kernel.attach_again(self.program)?;
        } else {
            parts.kernel.detach(self.program)?;
        }
        Ok(())
    }
}
