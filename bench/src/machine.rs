//! What is measured on: the head of every report.

use std::fs;
use std::process::Command;

use super::peers;
use super::report::Head;
use observer_testkit::daemon;

/// What else goes on.
pub struct Before {
    load: String,
    programs: usize,
}

impl Before {
    /// As of now.
    pub fn read() -> Self {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self {
            load: load(),
            programs: pids.map(daemon::links).sum(),
        }
    }
}

/// Machine, kernel and system, and the versions of what takes part.
pub fn head(before: &Before, packages: &[&'static str]) -> Head {
    let mut head = vec![
        ("processor", processor()),
        ("memory", memory()),
        ("kernel", first_line("/proc/sys/kernel/osrelease")),
        ("system", system()),
        ("virtualization", virtualization()),
        ("load average at the start", before.load.clone()),
        (
            "BPF programs of others at the start",
            before.programs.to_string(),
        ),
        ("observer", observer()),
    ];
    for package in packages {
        let version = peers::package_version(package).unwrap_or_else(|| "not there".into());
        head.push((package, version));
    }
    head
}

/// The load averages of 1, 5 and 15 minutes.
pub fn load() -> String {
    let line = first_line("/proc/loadavg");
    line.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Busy CPU seconds of the whole machine since it started, from the first line
/// of `/proc/stat` (proc(5); in ticks of 10 ms).
pub fn busy_seconds() -> f64 {
    let line = first_line("/proc/stat");
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system (idle iowait) irq softirq; steal isn't ours.
    [0, 1, 2, 5, 6]
        .iter()
        .filter_map(|index| ticks.get(*index))
        .sum::<f64>()
        / 100.0
}

/// Number of CPUs that this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model.trim());
    format!("{} × {model}", cpus())
}

fn memory() -> String {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: Option<u64> = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.map_or_else(
        || "unknown".into(),
        |kib| format!("{:.1} GiB", kib as f64 / 1_048_576.0),
    )
}

fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "unknown".into(), |name| name.trim_matches('"').into())
}

/// A guest's processor says so in its flags.
fn virtualization() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let guest = info.split_whitespace().any(|word| word == "hypervisor");
    if guest { "a guest" } else { "none seen" }.into()
}

fn observer() -> String {
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let commit = commit.ok().filter(|output| output.status.success());
    let commit = commit
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string())
        .map_or_else(String::new, |commit| format!(" ({commit})"));
    format!("{}{commit}, release build", env!("CARGO_PKG_VERSION"))
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_string()
}
