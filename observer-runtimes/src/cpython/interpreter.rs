//! From the runtime to its main interpreter, and to the modules that it has imported.

use super::objects::Objects;
use super::offsets::Offsets;
use super::symbols::RuntimeSymbols;
use super::version::Version;
use crate::memory::{Memory, Unread};

/// Interpreters that are looked at to find the main one.
const MAX_INTERPRETERS: usize = 1024;

/// A CPython in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Runtime {
    /// Address of `_PyRuntime`.
    pub address: u64,
    /// How its structures lie.
    pub offsets: Offsets,
}

impl Runtime {
    /// The one of a file that the process has loaded `bias` bytes (0 if not position
    /// independent) above the file's own addresses.
    ///
    /// # Errors
    /// It can't be read, or its version or build isn't known.
    pub fn read(memory: &impl Memory, symbols: &RuntimeSymbols, bias: u64) -> Result<Self, Unread> {
        let address = symbols.runtime.address.wrapping_add(bias);
        let version = match symbols.version {
            Some(place) => {
                let hex = memory.u64(place.address.wrapping_add(bias), 0)?;
                Version(u32::try_from(hex).map_err(|_| Unread::Misfit("Py_Version"))?)
            }
            None => Version::UNKNOWN,
        };
        let offsets = Offsets::read(memory, address, version)?;
        Ok(Self { address, offsets })
    }

    /// Reads its objects.
    pub fn objects<'a, M: Memory>(&'a self, memory: &'a M) -> Objects<'a, M> {
        Objects {
            memory,
            offsets: &self.offsets,
        }
    }

    /// The main interpreter's `PyInterpreterState`; `None` before there is one.
    ///
    /// # Errors
    /// The list of interpreters can't be read, or doesn't end.
    pub fn main_interpreter(&self, memory: &impl Memory) -> Result<Option<u64>, Unread> {
        let state = &self.offsets.state;
        let mut interpreter = memory.u64(self.address, state.interpreters_head)?;
        for _ in 0..MAX_INTERPRETERS {
            if interpreter == 0 {
                return Ok(None);
            }
            if memory.u64(interpreter, state.interpreter_id)? == 0 {
                return Ok(Some(interpreter));
            }
            interpreter = memory.u64(interpreter, state.interpreter_next)?;
        }
        Err(Unread::TooLong("the list of interpreters"))
    }

    /// The main interpreter's `sys.modules`, a `dict` from names to modules; `None` before
    /// there is one.
    ///
    /// # Errors
    /// See [`Self::main_interpreter`].
    pub fn modules(&self, memory: &impl Memory) -> Result<Option<u64>, Unread> {
        let Some(interpreter) = self.main_interpreter(memory)? else {
            return Ok(None);
        };
        let modules = memory.u64(interpreter, self.offsets.state.modules)?;
        Ok(Some(modules).filter(|m| *m != 0))
    }
}
