//! Memory of somebody else, read piece by piece.

#[cfg(any(test, feature = "testing"))]
mod recorded;

#[cfg(any(test, feature = "testing"))]
pub use recorded::Recorded;

/// Why something isn't known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unread {
    /// Nothing is mapped there, or it isn't ours to read.
    #[error("memory at {0:#x} can't be read")]
    NotThere(u64),
    /// What lies there isn't what was looked for.
    #[error("what should be {0} isn't one")]
    Misfit(&'static str),
    /// There is more of it than is read.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// A version of the runtime whose layouts aren't known: major, minor, micro; 0.0.0 if it
    /// is so old that it doesn't say.
    #[error("version {}.{}.{} is not supported", .0[0], .0[1], .0[2])]
    Version([u8; 3]),
    /// A build of the runtime whose layouts aren't known.
    #[error("a {0} build is not supported")]
    Build(&'static str),
}

/// Memory of another process, or what was recorded of one.
pub trait Memory {
    /// Fills `to` with what lies at `address`.
    ///
    /// # Errors
    /// [`Unread::NotThere`] if not all of it can be read.
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Unread>;

    /// The `N` bytes at `address` + `offset`.
    ///
    /// # Errors
    /// See [`Memory::read`].
    fn array<const N: usize>(&self, address: u64, offset: u64) -> Result<[u8; N], Unread> {
        let at = address.checked_add(offset);
        let mut bytes = [0; N];
        self.read(at.ok_or(Unread::NotThere(address))?, &mut bytes)?;
        Ok(bytes)
    }

    /// A byte.
    ///
    /// # Errors
    /// See [`Memory::read`].
    fn u8(&self, address: u64, offset: u64) -> Result<u8, Unread> {
        self.array(address, offset).map(u8::from_le_bytes)
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// See [`Memory::read`].
    fn u32(&self, address: u64, offset: u64) -> Result<u32, Unread> {
        self.array(address, offset).map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian: a number or a pointer.
    ///
    /// # Errors
    /// See [`Memory::read`].
    fn u64(&self, address: u64, offset: u64) -> Result<u64, Unread> {
        self.array(address, offset).map(u64::from_le_bytes)
    }

    /// `length` bytes at `address`, if that is at most `limit`; `what` they are is for the
    /// error.
    ///
    /// # Errors
    /// [`Unread::TooLong`], or see [`Memory::read`].
    fn bytes(
        &self,
        address: u64,
        length: u64,
        limit: usize,
        what: &'static str,
    ) -> Result<Vec<u8>, Unread> {
        let length = usize::try_from(length).ok().filter(|l| *l <= limit);
        let mut bytes = vec![0; length.ok_or(Unread::TooLong(what))?];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }
}
