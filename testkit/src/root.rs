//! Tests that need root.

/// Whether this test may go on. Not being root is a skip that says so, but in
/// CI, where nothing may be skipped for want of what can be had, a failure.
///
/// # Panics
/// With `CI` in the environment and without root.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        assert!(
            std::env::var_os("CI").is_none(),
            "this test needs root; `cargo xtask test` provides it"
        );
        eprintln!("skipped: needs root");
    }
    root
}
