//! Making the machine slow on purpose: a busy loop beside the tests, or a limit
//! on what CPU time they get.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

/// The period of the limit, in microseconds.
const PERIOD: u64 = 100_000;

/// The options that make the machine slow.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
// Its name would be that of the options it is part of.
#[group(skip)]
pub struct Options {
    /// Take one CPU away by a busy loop.
    #[arg(long)]
    pub beside_busy_loop: bool,
    /// Give the tests so many percent of all CPUs, by a cgroup. (With cgroups
    /// v2 alone, what tests put into cgroups of their own isn't limited.)
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(5..=100))]
    pub cpu_limit: Option<u64>,
}

impl Options {
    /// Is it made slow?
    pub fn any(&self) -> bool {
        self.beside_busy_loop || self.cpu_limit.is_some()
    }

    /// The same as arguments.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.beside_busy_loop {
            arguments.push("--beside-busy-loop".to_owned());
        }
        if let Some(percent) = self.cpu_limit {
            arguments.extend(["--cpu-limit".to_owned(), percent.to_string()]);
        }
        arguments
    }
}

/// The machine is slow as long as this lives.
pub struct Slow {
    busy: Option<Child>,
    limit: Option<Limit>,
}

impl Slow {
    /// Makes it slow.
    ///
    /// # Errors
    /// When the loop can't be started, or there is no CPU controller.
    pub fn begin(options: &Options) -> Result<Self> {
        let busy = options.beside_busy_loop.then(busy_loop);
        let limit = options.cpu_limit.map(Limit::begin);
        Ok(Self {
            busy: busy.transpose()?,
            limit: limit.transpose()?,
        })
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        if let Some(busy) = &mut self.busy {
            // Both fail for one that has ended.
            let _ = busy.kill();
            let _ = busy.wait();
        }
        drop(self.limit.take());
    }
}

/// A loop that ends with us, also if we are killed.
fn busy_loop() -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", "while :; do :; done"]);
    // SAFETY: a single system call between fork and exec.
    unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) };
    let child = command.stdin(Stdio::null()).spawn();
    child.context("cannot start a busy loop")
}

/// Where the hierarchy with the CPU controller of cgroups v1 is mounted.
pub fn v1_mount() -> Option<PathBuf> {
    mounted("cgroup", "cpu")
}

/// Where cgroups v2 are mounted.
pub fn v2_mount() -> Option<PathBuf> {
    mounted("cgroup2", "")
}

fn mounted(kind: &str, controller: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, place, its_kind, options, ..] = fields[..] else {
            return None;
        };
        let has = controller.is_empty() || options.split(',').any(|o| o == controller);
        (its_kind == kind && has).then(|| place.into())
    })
}

/// A cgroup that we and our children are in.
struct Limit {
    folder: PathBuf,
    /// Where we were.
    before: PathBuf,
}

impl Limit {
    fn begin(percent: u64) -> Result<Self> {
        let (mount, v1) = match (v1_mount(), v2_mount()) {
            (Some(mount), _) => (mount, true),
            (None, Some(mount)) => (mount, false),
            (None, None) => anyhow::bail!("no cgroup hierarchy is mounted"),
        };
        let folder = mount.join(format!("observer-test-limit-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let limit = Self {
            folder,
            before: mount,
        };
        let cpus = std::thread::available_parallelism()?.get() as u64;
        let quota = PERIOD * cpus * percent / 100;
        if v1 {
            limit.write("cpu.cfs_period_us", &PERIOD.to_string())?;
            limit.write("cpu.cfs_quota_us", &quota.to_string())?;
            // Some tests put servers before all others, where a group may have
            // real time at all.
            let runtime = limit.folder.join("cpu.rt_runtime_us");
            if runtime.exists() {
                limit.write("cpu.rt_runtime_us", &(PERIOD * 9 / 2).to_string())?;
            }
        } else {
            ensure!(
                limit.folder.join("cpu.max").exists(),
                "cgroups v2 have no CPU controller here: `echo +cpu > {}/cgroup.subtree_control`",
                limit.before.display()
            );
            limit.write("cpu.max", &format!("{quota} {PERIOD}"))?;
        }
        enter(&limit.folder)?;
        Ok(limit)
    }

    fn write(&self, name: &str, value: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // A group that isn't empty stays, and says so by being there.
        let _ = enter(&self.before);
        let _ = fs::remove_dir(&self.folder);
    }
}

fn enter(folder: &Path) -> Result<()> {
    let file = folder.join("cgroup.procs");
    fs::write(&file, std::process::id().to_string())
        .with_context(|| format!("cannot write {}", file.display()))
}
