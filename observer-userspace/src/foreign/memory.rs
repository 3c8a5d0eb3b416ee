//! A process's memory, as readers of runtimes want it.

use std::cell::Cell;

use observer_runtimes::{Memory, Unread};

use super::process;
use super::token::Foreign;

/// So often it is read for one purpose: what is followed there is the process's own, and
/// limits of what is followed multiply.
const READS: u32 = 100_000;
/// The same in bytes.
const BYTES: u64 = 64 << 20;

/// That of a process.
pub(crate) struct ProcessMemory<'a> {
    /// Reading it may wait for its owner.
    foreign: &'a Foreign,
    pid: u32,
    reads: Cell<u32>,
    bytes: Cell<u64>,
}

impl<'a> ProcessMemory<'a> {
    /// That of a process, to be read for one purpose.
    pub(crate) fn of(foreign: &'a Foreign, pid: u32) -> Self {
        Self {
            foreign,
            pid,
            reads: Cell::new(READS),
            bytes: Cell::new(BYTES),
        }
    }
}

impl Memory for ProcessMemory<'_> {
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Unread> {
        const MUCH: Unread = Unread::TooLong("what is to be read of it");
        let reads = self.reads.get().checked_sub(1).ok_or(MUCH)?;
        let bytes = self.bytes.get().checked_sub(to.len() as u64).ok_or(MUCH)?;
        self.reads.set(reads);
        self.bytes.set(bytes);
        let read = process::memory(self.foreign, self.pid, address, to);
        read.ok_or(Unread::NotThere(address))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{A_WHILE, Subject, ask};
    use super::*;

    /// Checks that our own memory is read, and no more than a budget of it.
    #[test]
    fn as_much_as_is_allowed() {
        let word = 0x1234_5678_9abc_def0_u64;
        let (pid, at) = (std::process::id(), &raw const word as u64);
        let read = ask(Subject::Process(pid), A_WHILE, move |foreign| {
            let memory = ProcessMemory::of(foreign, pid);
            let first = memory.u64(at, 0);
            let all = (1..READS).all(|_| memory.u64(at, 0).is_ok());
            (first, all, memory.u64(at, 0))
        });
        let (first, all, last) = read.expect("an answer");
        assert_eq!((first, all), (Ok(word), true));
        assert!(matches!(last, Err(Unread::TooLong(_))));
    }
}
