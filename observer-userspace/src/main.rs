//! The `observer` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    observer_userspace::commands::main()
}
