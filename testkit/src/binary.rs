//! The `observer` binary that the tests run.

use std::path::PathBuf;

/// Path of the `observer` binary: `OBSERVER_BIN`, else the one built into the
/// same target directory as the test itself.
///
/// # Panics
/// When there is none, with the command that builds it.
pub fn observer_bin() -> PathBuf {
    if let Some(path) = std::env::var_os("OBSERVER_BIN") {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "OBSERVER_BIN={} is not a file",
            path.display()
        );
        return path;
    }
    let test = std::env::current_exe().expect("the test's own path");
    // target/<profile>/deps/<test>
    let profile = test.parent().and_then(|deps| deps.parent());
    let path = profile.expect("a target directory").join("observer");
    assert!(
        path.is_file(),
        "{} is not built; run `cargo build -p observer-userspace` (with --release for release tests) or set OBSERVER_BIN",
        path.display()
    );
    path
}
