//! What each program of the kernel half costs, by the kernel's own statistics:
//! `cargo xtask costs` writes it to docs/costs.md and compares with that.

pub mod compare;
pub mod load;
pub mod measure;
pub mod page;

use std::path::PathBuf;

/// By how much a program's verified instructions may grow, in percent.
pub const TOLERANCE: u64 = 10;

/// What a program costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Its name in the kernel object.
    pub name: String,
    /// Its probe family.
    pub family: String,
    /// What makes it run.
    pub event: String,
    /// Instructions that the verifier looked at.
    pub verified: u32,
    /// Bytes after the verifier.
    pub translated: u32,
    /// Bytes of machine code.
    pub jited: u32,
    /// Its runs under the standard load.
    pub run: Option<Run>,
}

/// Runs of a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// How many.
    pub count: u64,
    /// Nanoseconds each took, on average, with the measuring.
    pub ns: f64,
}

/// What a map takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// Its name in the kernel object.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Most entries that it can have; of a ring buffer its bytes.
    pub entries: u32,
    /// Bytes of a key and of a value.
    pub sizes: (u32, u32),
    /// Bytes that it takes when nothing is in it.
    pub memory: u64,
}

/// Where it was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// The kernel's release, e.g. `6.18.5-generic`.
    pub release: String,
    /// The machine's architecture, e.g. `x86_64`.
    pub architecture: String,
    /// CPUs that the machine may have: some maps exist once for each.
    pub cpus: usize,
}

impl Platform {
    /// This machine.
    ///
    /// # Errors
    ///
    /// When /proc or /sys can't be read.
    pub fn here() -> anyhow::Result<Self> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            release: release.trim().to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            cpus: possible_cpus()?,
        })
    }

    /// What verified counts depend on: the release's series and the
    /// architecture, e.g. `6.18 x86_64`.
    pub fn series(&self) -> String {
        let mut parts = self.release.split(['.', '-']);
        let (major, minor) = (parts.next(), parts.next());
        format!(
            "{}.{} {}",
            major.unwrap_or_default(),
            minor.unwrap_or_default(),
            self.architecture
        )
    }
}

/// CPUs that the kernel makes room for.
fn possible_cpus() -> anyhow::Result<usize> {
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = possible.trim().rsplit(['-', ',']).next();
    Ok(last.and_then(|last| last.parse().ok()).unwrap_or(0usize) + 1)
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costs {
    /// Where.
    pub platform: Platform,
    /// By family, in the order in which they are attached.
    pub programs: Vec<Program>,
    /// By name.
    pub maps: Vec<Map>,
    /// Runs of an empty program: what the measuring itself takes.
    pub floor: Option<Run>,
}

/// The committed page.
pub fn page_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/costs.md")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what is taken for a kernel's series.
    #[test]
    fn series_of_releases() {
        let series = |release: &str| {
            Platform {
                release: release.to_owned(),
                architecture: "x86_64".to_owned(),
                cpus: 2,
            }
            .series()
        };
        assert_eq!(series("6.18.5"), "6.18 x86_64");
        assert_eq!(series("6.12.48+deb13-amd64"), "6.12 x86_64");
        assert_eq!(series("5.15-rc1"), "5.15 x86_64");
    }
}
