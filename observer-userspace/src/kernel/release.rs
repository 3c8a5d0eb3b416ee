//! Which Linux this is, and from which on Observer works.

/// What the kernel half can't do without came with this version:
/// `bpf_task_pt_regs`. Older are task storage for tracing (5.13), atomics with a
/// result (5.12), `bpf_sock_from_file` and socket storage for tracing (5.11) and
/// ring buffers (5.8).
pub const OLDEST: (u32, u32) = (5, 15);

/// The running kernel's release, like `6.18.5-amd64`; empty if it doesn't say.
pub fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// Major and minor version of the running kernel; (0, 0) if it doesn't say.
pub fn version() -> (u32, u32) {
    parse(&release())
}

fn parse(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// What to say when something failed, if the running kernel is too old for it to
/// work. (Distributions bring what is new to older versions, so it is tried.)
pub fn too_old() -> Option<String> {
    explain(&release())
}

fn explain(release: &str) -> Option<String> {
    let version = parse(release);
    if version >= OLDEST || version == (0, 0) {
        return None;
    }
    let (major, minor) = OLDEST;
    Some(format!(
        "Linux {major}.{minor} or newer is needed, and this is {release}; `observer check` says more"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks versions as distributions write them.
    #[test]
    fn versions_are_parsed() {
        assert_eq!(parse("6.1.0-18-amd64"), (6, 1));
        assert_eq!(parse("5.10.205"), (5, 10));
        assert_eq!(parse("6.12+deb13-amd64"), (6, 12));
        assert_eq!(parse("6.18-rc1"), (6, 18));
        assert_eq!(parse(""), (0, 0));
    }

    /// Checks that an old kernel is named with what is needed, and no other.
    #[test]
    fn old_kernels_are_told_what_is_needed() {
        let old = explain("5.10.262-amd64").expect("too old");
        assert!(old.contains("5.15") && old.contains("5.10.262"), "{old}");
        for fine in ["5.15.0", "6.1.192", "7.3.4", ""] {
            assert_eq!(explain(fine), None);
        }
    }
}
