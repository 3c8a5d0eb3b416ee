//! What differs from one processor architecture of a guest to the next.

use anyhow::{Context, Result};

/// A processor architecture that is booted.
#[derive(Debug)]
pub struct Architecture {
    /// As Rust calls it.
    pub name: &'static str,
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
    /// What programs for it are built with where another machine builds them.
    pub cross: Option<Cross>,
}

/// Tools that build programs for another machine.
#[derive(Debug)]
pub struct Cross {
    /// What rustc calls the machine.
    pub target: &'static str,
    /// What tools' names begin with.
    pub prefix: &'static str,
    /// Debian's packages of them.
    pub packages: &'static [&'static str],
}

impl Cross {
    /// The C compiler, which also links.
    pub fn compiler(&self) -> String {
        format!("{}gcc", self.prefix)
    }

    /// The name of cargo's variable for a setting of the target.
    pub fn cargo_variable(&self, setting: &str) -> String {
        let target = self.target.replace('-', "_").to_uppercase();
        format!("CARGO_TARGET_{target}_{setting}")
    }
}

const ALL: &[Architecture] = &[
    Architecture {
        name: "x86_64",
        debian: "amd64",
        qemu: "qemu-system-x86_64",
        qemu_package: "qemu-system-x86",
        machine: &["-M", "pc", "-cpu", "max"],
        console: "ttyS0",
        // Where the host is busy, an emulated timer's interrupt comes later than a test at
        // boot allows.
        boot: "no_timer_check nokaslr mitigations=off",
        cross: None,
    },
    Architecture {
        name: "aarch64",
        debian: "arm64",
        qemu: "qemu-system-aarch64",
        qemu_package: "qemu-system-arm",
        // With pointer authentication, which takes most of the time in its own algorithm.
        machine: &["-M", "virt", "-cpu", "max,pauth-impdef=on"],
        console: "ttyAMA0",
        boot: "nokaslr mitigations=off",
        cross: Some(Cross {
            target: "aarch64-unknown-linux-gnu",
            prefix: "aarch64-linux-gnu-",
            packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        }),
    },
];

impl Architecture {
    /// That of this machine: the guest runs the host's programs.
    ///
    /// # Errors
    /// When no guest of it is known here.
    pub fn of_host() -> Result<&'static Self> {
        Self::named(std::env::consts::ARCH)
    }

    /// That which Rust calls so.
    ///
    /// # Errors
    /// When no guest of it is known here.
    pub fn named(name: &str) -> Result<&'static Self> {
        let found = ALL.iter().find(|architecture| architecture.name == name);
        found.with_context(|| {
            let known: Vec<&str> = ALL.iter().map(|a| a.name).collect();
            let known = known.join(", ");
            format!("virtual machines of {name} are not known here, only of {known}")
        })
    }

    /// Whether guests of it run this machine's own programs.
    pub fn is_host(&self) -> bool {
        self.name == std::env::consts::ARCH
    }

    /// What its programs are built with here, unless it is this machine's.
    pub fn cross(&self) -> Option<&Cross> {
        self.cross.as_ref().filter(|_| !self.is_host())
    }
}
