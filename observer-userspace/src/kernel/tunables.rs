//! What can be changed while the programs run.

use std::os::fd::AsFd;

use anyhow::{Result, bail};
use aya::maps::Map;
use observer_common::names::maps;
use observer_common::tunables::Tunables;

use super::Kernel;
use super::mapped::Mapped;

/// The tunables of the kernel half, mapped into our memory.
#[derive(Debug)]
pub struct MappedTunables(Mapped<Tunables>);

impl MappedTunables {
    /// Their values.
    pub fn get(&self) -> Tunables {
        self.0.get(0).unwrap_or_default()
    }

    /// Sets all: programs that begin from now on go by `values`.
    pub fn set(&mut self, values: Tunables) {
        // The map has one element.
        self.0.set(0, values);
    }
}

impl Kernel {
    /// The tunables. Several parts of the daemon may have them; who changes one
    /// keeps the others as they are.
    ///
    /// # Errors
    /// The kernel half has none, or they can't be mapped.
    pub fn tunables(&mut self) -> Result<MappedTunables> {
        match self.map_mut(maps::TUNABLES)? {
            Map::Array(data) => Mapped::map(data.fd().as_fd(), 1).map(MappedTunables),
            _ => bail!("TUNABLES is not an array"),
        }
    }
}
