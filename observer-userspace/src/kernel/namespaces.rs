//! Whether numbers and rights of this process are the host's. (Inode numbers of
//! the initial namespaces are fixed in the kernel's `include/linux/proc_ns.h`.)

use std::fs;

/// The namespace in which capabilities count for BPF.
const INITIAL_USER: &str = "user:[4026531837]";

/// The namespace in which a process is called what the kernel half calls it.
const INITIAL_PID: &str = "pid:[4026531836]";

/// Whether capabilities mean what they say. Where procfs doesn't show it, they
/// are believed.
pub fn in_initial_user() -> bool {
    own("user").is_none_or(|own| own == INITIAL_USER)
}

/// Whether the kernel's numbers of processes are those of `/proc`. Where procfs
/// doesn't show it, they aren't.
pub fn in_initial_pid() -> bool {
    own("pid").is_some_and(|own| own == INITIAL_PID)
}

/// What is lost where they aren't.
pub const LOST_WITHOUT_PIDS: &str = "executables, service names, user symbols and TLS of programs: the kernel's process ids mean other processes here, or none";

/// What mends that.
pub const REMEDY_OF_PIDS: &str = "start it in the host's PID namespace (containers: --pid=host)";

/// The number of this process's network namespace; `None` where procfs doesn't show it.
pub fn own_network() -> Option<u32> {
    let own = own("net")?;
    let number = own.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// This process's namespace of a kind, like `pid:[4026531836]`; `None` where
/// procfs doesn't show it.
pub fn own(kind: &str) -> Option<String> {
    let target = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
    Some(target.to_string_lossy().into_owned())
}
