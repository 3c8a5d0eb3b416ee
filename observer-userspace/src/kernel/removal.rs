//! Taking out of a map what may not be there any more.

use aya::maps::MapError;

/// Whether it was there.
///
/// # Errors
/// The kernel refuses for another reason.
pub(crate) fn was_there(removed: Result<(), MapError>) -> Result<bool, MapError> {
    match removed {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound) => Ok(false),
        // What aya makes of it.
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::sys::SyscallError;

    use super::*;

    /// Checks that only a key that isn't there is no failure.
    #[test]
    fn absent_or_refused() {
        let failed = |code| {
            Err(MapError::SyscallError(SyscallError {
                call: "bpf_map_delete_elem",
                io_error: io::Error::from_raw_os_error(code),
            }))
        };
        assert!(was_there(Ok(())).expect("there"));
        assert!(!was_there(failed(libc::ENOENT)).expect("not there"));
        assert!(!was_there(Err(MapError::KeyNotFound)).expect("not there"));
        assert!(was_there(failed(libc::EPERM)).is_err());
    }
}
