//! The daemon's own memory.

/// Gives freed memory back to the system. What works in bursts (types of the
/// kernel, symbols, tables) frees tens of megabytes in small pieces, which glibc
/// would keep.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: frees unused heap pages, touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
