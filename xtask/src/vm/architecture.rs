//! What differs from one processor architecture of a guest to the next.

use anyhow::{Context, Result};

/// A processor architecture that is booted.
#[derive(Debug)]
pub struct Architecture {
    /// As Rust calls it.
    name: &'static str,
    /// As Debian calls it.
    pub debian: &'static str,
    /// The emulator's program.
    pub qemu: &'static str,
    /// Debian's package of it.
    pub qemu_package: &'static str,
    /// The emulator's options for the machine.
    pub machine: &'static [&'static str],
    /// The kernel's name of the machine's serial port.
    pub console: &'static str,
    /// What the kernel is told beside that.
    pub boot: &'static str,
}

const ALL: &[Architecture] = &[Architecture {
    name: "x86_64",
    debian: "amd64",
    qemu: "qemu-system-x86_64",
    qemu_package: "qemu-system-x86",
    machine: &["-M", "pc", "-cpu", "max"],
    console: "ttyS0",
    // Where the host is busy, an emulated timer's interrupt comes later than a test at
    // boot allows.
    boot: "no_timer_check nokaslr mitigations=off",
}];

impl Architecture {
    /// That of this machine: the guest runs the host's programs.
    ///
    /// # Errors
    /// When no guest of it is known here.
    pub fn of_host() -> Result<&'static Self> {
        let host = std::env::consts::ARCH;
        let found = ALL.iter().find(|architecture| architecture.name == host);
        found.with_context(|| format!("virtual machines of {host} are not known here"))
    }
}
