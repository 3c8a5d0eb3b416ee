//! Linux capabilities of this process: what it may do, whoever it is.

use std::fs;

use super::namespaces;

/// A capability that Observer uses.
#[derive(Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name as in capabilities(7).
    pub name: &'static str,
    /// Its bit in the kernel's `include/uapi/linux/capability.h`.
    pub bit: u32,
    /// Whether nothing at all works without it.
    pub required: bool,
    /// What is lost without it.
    pub lost: &'static str,
}

/// `CAP_SYS_ADMIN` includes [`BPF`] and [`PERFMON`], as it did before 5.8
/// split them off.
pub const SYS_ADMIN: Capability = Capability {
    name: "CAP_SYS_ADMIN",
    bit: 21,
    required: false,
    lost: "the CPU time of the daemon's own BPF programs, sockets of other network namespaces that are older than the daemon, and requests inside of TLS where the kernel asks for it (6.16 and newer, and fixed older ones)",
};
/// Loading programs and maps.
pub const BPF: Capability = Capability {
    name: "CAP_BPF",
    bit: 39,
    required: true,
    lost: "everything: no BPF program can be loaded",
};
/// Tracing and perf events.
pub const PERFMON: Capability = Capability {
    name: "CAP_PERFMON",
    bit: 38,
    required: true,
    lost: "everything: no tracing program can be attached",
};
/// Looking into other users' processes.
pub const SYS_PTRACE: Capability = Capability {
    name: "CAP_SYS_PTRACE",
    bit: 19,
    required: false,
    lost: "executables, service names and symbols of other users' processes",
};
/// Reading other users' files, resolving cgroup ids.
pub const DAC_READ_SEARCH: Capability = Capability {
    name: "CAP_DAC_READ_SEARCH",
    bit: 2,
    required: false,
    lost: "symbols of executables that only their owner may read; cgroups are looked up slowly",
};
/// Seeing kernel addresses.
pub const SYSLOG: Capability = Capability {
    name: "CAP_SYSLOG",
    bit: 34,
    required: false,
    lost: "kernel symbols in stacks, unless kernel.kptr_restrict is 0 and kernel.perf_event_paranoid at most 1",
};
/// Locking memory without limit; only kernels before 5.11 charge maps to it.
pub const SYS_RESOURCE: Capability = Capability {
    name: "CAP_SYS_RESOURCE",
    bit: 24,
    required: false,
    lost: "on kernels before 5.11: tables larger than the limit of locked memory",
};

/// What it takes to observe functions of user programs by perf events. (Kernels
/// with the fix of CVE-2025-38466, 6.16 and later stable ones, ask for the larger.)
pub const UPROBE_PRIVILEGE: &str = "CAP_SYS_ADMIN (before Linux 6.16 CAP_PERFMON was enough)";

/// All that matter, the indispensable first.
pub const ALL: [&Capability; 7] = [
    &BPF,
    &PERFMON,
    &SYS_PTRACE,
    &DAC_READ_SEARCH,
    &SYSLOG,
    &SYS_RESOURCE,
    &SYS_ADMIN,
];

/// What a user other than root should be given for a full view of the
/// applications.
pub const UNPRIVILEGED: [&Capability; 5] = [&BPF, &PERFMON, &SYS_PTRACE, &DAC_READ_SEARCH, &SYSLOG];

/// The effective capabilities of this process: a bit set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effective(u64);

impl Effective {
    /// Reads `/proc/self/status`.
    ///
    /// # Errors
    /// procfs isn't mounted.
    pub fn read() -> anyhow::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")
            .map_err(|error| anyhow::anyhow!("can't read /proc/self/status: {error}"))?;
        parse(&status)
            .ok_or_else(|| anyhow::anyhow!("/proc/self/status names no effective capabilities"))
    }

    /// Whether `capability`, or one that includes it, is there.
    pub fn has(self, capability: &Capability) -> bool {
        let held = |c: &Capability| self.0 & (1 << c.bit) != 0;
        let included = matches!(capability.name, "CAP_BPF" | "CAP_PERFMON" | "CAP_SYSLOG");
        held(capability) || included && held(&SYS_ADMIN)
    }

    /// The capabilities without which nothing works that are missing.
    pub fn missing_required(self) -> Vec<&'static Capability> {
        let missing = |c: &&&Capability| c.required && !self.has(c);
        ALL.iter().filter(missing).copied().collect()
    }

    /// Stops where nothing would work.
    ///
    /// # Errors
    /// In one line: what is missing and what to do.
    pub fn ensure_required(self) -> anyhow::Result<()> {
        if self.missing_required().is_empty() {
            anyhow::ensure!(
                namespaces::in_initial_user(),
                "capabilities in a user namespace don't count for BPF; start it outside (containers: --userns=host)"
            );
            return Ok(());
        }
        // If some are asked for, then all that a full view needs.
        let names: Vec<&str> = UNPRIVILEGED
            .into_iter()
            .filter(|c| !self.has(c))
            .map(|c| c.name)
            .collect();
        anyhow::bail!(
            "missing capabilities: {}; run it as root or grant them (`observer check` says what each is for)",
            names.join(", ")
        )
    }
}

fn parse(status: &str) -> Option<Effective> {
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok().map(Effective)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that missing capabilities are named, and what includes what.
    #[test]
    fn missing_capabilities_are_named() {
        let of = |hex: &str| parse(&format!("Name:\tx\nCapEff:\t{hex}\n")).expect("a line");
        assert!(of("000001ffffffffff").ensure_required().is_ok());
        let none = of("0000000000000000");
        let error = none
            .ensure_required()
            .expect_err("nothing is there")
            .to_string();
        for name in [
            "CAP_BPF",
            "CAP_PERFMON",
            "CAP_SYS_PTRACE",
            "CAP_DAC_READ_SEARCH",
        ] {
            assert!(error.contains(name), "{error}");
        }
        let admin = Effective(1 << SYS_ADMIN.bit);
        assert!(admin.ensure_required().is_ok());
        assert!(!admin.has(&SYS_PTRACE));
        let bpf_only = Effective(1 << BPF.bit);
        let error = bpf_only.ensure_required().expect_err("half").to_string();
        assert!(
            !error.contains("CAP_BPF") && error.contains("CAP_PERFMON"),
            "{error}"
        );
        assert_eq!(parse("Name:\tx\n"), None);
    }
}
