//! What is turned while the programs run.

use std::os::fd::AsFd;

use anyhow::{Result, bail};
use aya::maps::Map;
use observer_common::knobs::Knobs;

use super::Kernel;
use super::mapped::Mapped;

/// The knobs of the kernel half, mapped into our memory.
#[derive(Debug)]
pub struct Board(Mapped<Knobs>);

impl Board {
    /// How they stand.
    pub fn get(&self) -> Knobs {
        self.0.get(0).unwrap_or_default()
    }

    /// Turns them: programs that begin from now on do as they say.
    pub fn set(&mut self, knobs: Knobs) {
        // There is one value.
        self.0.set(0, knobs);
    }
}

impl Kernel {
    /// The knobs. Several may have them; who sets them sets them all.
    ///
    /// # Errors
    /// When the kernel half has none, or they can't be mapped.
    pub fn knobs(&mut self) -> Result<Board> {
        match self.map_mut("KNOBS")? {
            Map::Array(data) => Mapped::map(data.fd().as_fd(), 1).map(Board),
            _ => bail!("KNOBS is not an array"),
        }
    }
}
