//! A process's memory, as readers of runtimes want it.

use observer_runtimes::{Memory, Unread};

use super::process;
use super::token::Foreign;

/// That of a process.
pub(crate) struct ProcessMemory<'a> {
    /// Reading it may wait for its owner.
    pub(crate) foreign: &'a Foreign,
    /// The process.
    pub(crate) pid: u32,
}

impl Memory for ProcessMemory<'_> {
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Unread> {
        let read = process::memory(self.foreign, self.pid, address, to);
        read.ok_or(Unread::NotThere(address))
    }
}
