//! Names of system calls and of errors, by their numbers.

use observer_common::syscalls::{COMPAT, UNKNOWN};

use observer_signals::Value;

/// Name of the call with this label.
pub fn name(label: u32) -> String {
    let number = label & !COMPAT;
    if number == UNKNOWN {
        return "unknown".into();
    }
    table_name(label).map_or_else(|| format!("syscall_{number}"), str::to_string)
}

/// The name that the kernel's table for this label has.
pub(super) fn table_name(label: u32) -> Option<&'static str> {
    let number = label & !COMPAT;
    if label & COMPAT != 0 {
        compat_name(number)
    } else {
        native_name(number)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) fn native_name(number: u32) -> Option<&'static str> {
    syscalls::x86_64::Sysno::new(number as usize).map(|s| s.name())
}

#[cfg(target_arch = "x86_64")]
pub(super) fn compat_name(number: u32) -> Option<&'static str> {
    syscalls::x86::Sysno::new(number as usize).map(|s| s.name())
}

#[cfg(target_arch = "aarch64")]
pub(super) fn native_name(number: u32) -> Option<&'static str> {
    syscalls::aarch64::Sysno::new(number as usize).map(|s| s.name())
}

#[cfg(target_arch = "aarch64")]
pub(super) fn compat_name(number: u32) -> Option<&'static str> {
    syscalls::arm::Sysno::new(number as usize).map(|s| s.name())
}

/// Name of an errno, including the kernel's own that only tracers see.
pub fn errno_name(errno: u32) -> Value {
    // include/linux/errno.h: returned when a signal interrupts; user space
    // sees EINTR or the call is restarted.
    match errno {
        512 => return "ERESTARTSYS".into(),
        513 => return "ERESTARTNOINTR".into(),
        514 => return "ERESTARTNOHAND".into(),
        515 => return "ENOIOCTLCMD".into(),
        516 => return "ERESTART_RESTARTBLOCK".into(),
        524 => return "ENOTSUPP".into(),
        _ => {}
    }
    match nix::errno::Errno::from_raw(errno as i32) {
        nix::errno::Errno::UnknownErrno => format!("{errno}").into(),
        known => format!("{known:?}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks names against numbers of the kernel's x86 tables.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn names() {
        assert_eq!(name(39), "getpid");
        assert_eq!(name(257), "openat");
        assert_eq!(name(COMPAT | 20), "getpid");
        assert_eq!(name(1000), "syscall_1000");
        assert_eq!(name(UNKNOWN), "unknown");
        assert_eq!(errno_name(2), "ENOENT".into());
        assert_eq!(errno_name(512), "ERESTARTSYS".into());
    }
}
