//! What Observer knows about its own cost, as plain data.
//!
//! The agent makes it at every tick, and each sink gets it with the metrics.
//! All figures are since the start, so that each sink can tell what its own
//! interval added.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};
use observer_common::unwind::Outcome;

use observer_signals::BudgetStatus;
use observer_signals::profile::ProfileKind;

/// One BPF program's figures since it was loaded, as the kernel counts them
/// when BPF run-time statistics are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramStats {
    /// The program's name in the kernel object.
    pub name: String,
    /// Nanoseconds it ran, on all CPUs.
    pub run_time_ns: u64,
    /// How often it ran.
    pub run_count: u64,
}

/// How full a ring buffer or a map is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fill {
    /// The map's name in the kernel object.
    pub name: String,
    /// Part that is full, from 0 to 1.
    pub ratio: f64,
}

/// Things lost on the way from the kernel to the export queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeLoss {
    /// The probe family: `syscalls`, `tcp`, …
    pub probe: String,
    /// The drop reason's one name.
    pub cause: String,
    /// What exactly was lost, in a sentence.
    pub meaning: &'static str,
    /// How many since start.
    pub count: u64,
    /// Exported, but not worth a person's attention.
    pub quiet: bool,
}

/// Somebody's that found no room in what all share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The shared table's name.
    pub table: &'static str,
    /// Whose: `user 1000`, `root`, `root in mount namespace 4026532000`, `other`.
    pub tenant: String,
    /// How often since the start.
    pub count: u64,
}

/// What doesn't answer, while a reader waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// `process`, `root`, `device` or `threads`.
    pub kind: &'static str,
    /// Whose it is, as in [`Refused`].
    pub tenant: String,
    /// The process's name; empty where it is no process.
    pub comm: String,
}

/// A program that isn't attached, though a chosen family has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The probe family.
    pub probe: String,
    /// The program's name in the kernel object.
    pub program: &'static str,
    /// What isn't seen for that.
    pub lost_without: &'static str,
}

/// Whether a family sees what the kernel counts itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeing {
    /// The probe family.
    pub probe: String,
    /// What it doesn't see, and since when; `None` if it does.
    pub blind: Option<Vec<String>>,
}

/// What was counted for profiles since the start, by what unwinding came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileOutcomes {
    /// Samples on CPU.
    pub on_cpu: BTreeMap<Outcome, u64>,
    /// Nanoseconds off CPU.
    pub off_cpu: BTreeMap<Outcome, u64>,
}

impl ProfileOutcomes {
    /// Adds a profile's `values` (samples or nanoseconds) by outcome.
    pub fn add(&mut self, kind: ProfileKind, values: impl IntoIterator<Item = (Outcome, u64)>) {
        let sums = match kind {
            ProfileKind::OnCpu => &mut self.on_cpu,
            ProfileKind::OffCpu | ProfileKind::Wall => &mut self.off_cpu,
        };
        for (outcome, value) in values {
            *sums.entry(outcome).or_default() += value;
        }
    }
}

/// Everything but the exporter's figures, which it keeps itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SelfStats {
    /// BPF programs.
    pub programs: Vec<ProgramStats>,
    /// Ring buffers, filled as they were found when read.
    pub rings: Vec<Fill>,
    /// Maps whose size is fixed.
    pub maps: Vec<Fill>,
    /// Losses by probe and cause.
    pub losses: Vec<ProbeLoss>,
    /// Programs of chosen families that aren't attached.
    pub missing: Vec<Missing>,
    /// Of the families that were compared, whether they see.
    pub seeing: Vec<Seeing>,
    /// Who found no room in what all share.
    pub refused: Vec<Refused>,
    /// What doesn't answer now.
    pub set_aside: Vec<SetAside>,
    /// Processes that were under another name than what they run.
    pub corrected: u64,
    /// What profiles were made of.
    pub profiles: ProfileOutcomes,
    /// Figures about unwinding tables.
    pub unwinding: Unwinding,
    /// How the governor stands, if there is one.
    pub governing: Option<BudgetStatus>,
    /// The daemon's use of memory and CPU.
    pub usage: ProcessUsage,
    /// CPU seconds of the kernel half, estimated from short windows.
    pub bpf_seconds: f64,
}

/// What unwinding takes and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwinding {
    /// Tables in the kernel.
    pub tables: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Processes whose mappings the kernel half knows.
    pub processes: u64,
    /// Tables built since the start.
    pub built: u64,
    /// Files whose table could not be built.
    pub failed: u64,
    /// Tables that had to make room.
    pub evicted: u64,
}

/// This process's use of memory and CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Resident bytes.
    pub rss_bytes: u64,
    /// Seconds on CPU in user mode since start.
    pub user_seconds: f64,
    /// Seconds on CPU in kernel mode since start.
    pub system_seconds: f64,
}

impl ProcessUsage {
    /// Seconds on CPU, user and kernel mode, since start.
    pub fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }

    /// Reads this process's figures: memory from `/proc/self/statm` (its
    /// second field is the resident pages), CPU from getrusage, which is finer
    /// than the ticks in `/proc/self/stat`.
    ///
    /// # Errors
    /// `/proc` isn't mounted.
    pub fn read() -> io::Result<Self> {
        let statm = fs::read_to_string("/proc/self/statm")?;
        let pages: u64 = statm
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| io::Error::other("/proc/self/statm has no second field"))?;
        let page_size = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4096);
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        Ok(Self {
            rss_bytes: pages * u64::try_from(page_size).unwrap_or(4096),
            user_seconds: seconds(usage.user_time()),
            system_seconds: seconds(usage.system_time()),
        })
    }
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that memory and CPU that this test uses are seen, against
    /// another of the kernel's files.
    #[test]
    fn sees_own_use() {
        let block = vec![1_u8; 32 << 20];
        let mut spin = 0_u64;
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 30 {
            spin = std::hint::black_box(spin + 1);
        }
        let usage = ProcessUsage::read().expect("/proc is mounted");
        let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .and_then(|n| n.parse().ok())
            .expect("VmRSS");
        assert!(usage.rss_bytes >= block.len() as u64);
        assert!(usage.rss_bytes.abs_diff(kib * 1024) < 16 << 20);
        assert!(usage.user_seconds + usage.system_seconds > 0.0);
    }
}
