//! Processes under a limit: each runs to its end, or is killed with all that it
//! started, after what they wait for was noted.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use super::waiting;

/// How often we look whether a process has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// How long what a process left behind may take to go by itself: servers that
/// were told to end.
const GRACE: Duration = Duration::from_millis(500);

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status; `None` if it had to be killed.
    pub status: Option<ExitStatus>,
    /// What it and its children printed, output and errors together.
    pub output: String,
    /// From its start to its end.
    pub time: Duration,
    /// Processes of its that were still there, by name; they were killed.
    pub left: Vec<String>,
}

impl Ended {
    /// Did it succeed?
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs processes one after the other; whatever they leave behind becomes our
/// child, and so can't escape.
pub struct Runner {
    /// Where the running process's output is collected.
    output: PathBuf,
}

impl Runner {
    /// Collects output in a file in `folder`.
    ///
    /// # Errors
    /// When the kernel won't give us our descendants' orphans.
    pub fn new(folder: &Path) -> Result<Self> {
        nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            output: folder.join(format!("output-{}", std::process::id())),
        })
    }

    /// Runs `command` to its end, or to its `limit`.
    ///
    /// # Errors
    /// When it can't be started, or its output not be read.
    pub fn run(&self, command: &mut Command, limit: Duration) -> Result<Ended> {
        let file = File::create(&self.output)
            .with_context(|| format!("cannot make {}", self.output.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        // SAFETY: a single system call between fork and exec.
        unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) };
        // What is ours already isn't the process's.
        let others: HashSet<i32> = descendants(own_pid()).into_iter().collect();
        let begin = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let status = wait(&mut child, limit)?;
        let time = begin.elapsed();
        let mut notes = String::new();
        if status.is_none() {
            let pid = child.id().try_into().context("a process id")?;
            notes = waiting::describe(&new(&others), pid);
            // It may have ended meanwhile.
            let _ = child.kill();
            child.wait()?;
        }
        let left = sweep(
            &others,
            if status.is_some() {
                GRACE
            } else {
                Duration::ZERO
            },
        );
        let mut output = String::from_utf8_lossy(&fs::read(&self.output)?).into_owned();
        output.push_str(&notes);
        Ok(Ended {
            status,
            output,
            time,
            left,
        })
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Nobody misses it.
        let _ = fs::remove_file(&self.output);
    }
}

/// Waits for a process, until the limit; orphans that became ours meanwhile are
/// let go as soon as they have ended, as init would.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let begin = Instant::now();
    let own = Pid::from_raw(child.id().try_into().context("a process id")?);
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        while let Some(ended) = waitid(Id::All, peek)?.pid() {
            if ended == own {
                break;
            }
            waitpid(ended, Some(WaitPidFlag::WNOHANG))?;
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Kills what is left and names it, but for what goes within `grace`.
fn sweep(others: &HashSet<i32>, grace: Duration) -> Vec<String> {
    let begin = Instant::now();
    while !living(&new(others)).is_empty() && begin.elapsed() < grace {
        std::thread::sleep(PAUSE);
    }
    let names = living(&new(others));
    // Those who are killed may have started others just before.
    for _ in 0..100 {
        let rest = new(others);
        if rest.is_empty() {
            break;
        }
        for pid in rest {
            let pid = Pid::from_raw(pid);
            // It may be gone, or not yet ours.
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
        std::thread::sleep(PAUSE);
    }
    names
}

/// Our descendants but for `others`; the ended ones among them are reaped.
fn new(others: &HashSet<i32>) -> Vec<i32> {
    let all = descendants(own_pid());
    all.into_iter()
        .filter(|pid| !others.contains(pid))
        .collect()
}

/// Names of those that haven't ended.
fn living(pids: &[i32]) -> Vec<String> {
    let name = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let ended = rest.trim_start().starts_with(['Z', 'X']);
        (!ended).then(|| format!("{name} ({pid})"))
    };
    pids.iter().filter_map(name).collect()
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// All processes below `root`.
fn descendants(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(&below);
        next.extend(below);
    }
    found
}

/// The parent is the second field behind the name, which may contain anything
/// (proc_pid_stat(5)).
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set where the test is the only one of its process.
    const ALONE: &str = "OBSERVER_TEST_ALONE";

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Checks that output, errors and status come back, that whatever hangs is
    /// killed with all of its descendants and named with what it waited for,
    /// and that what a process leaves behind is killed and named.
    ///
    /// A runner takes all of its process's children for those of what it runs, so it
    /// must not see those of tests beside this one: it runs in a process of its own.
    #[test]
    fn ends() {
        if std::env::var_os(ALONE).is_some() {
            return alone();
        }
        let own = module_path!().split_once("::").map(|(_, path)| path);
        let name = format!("{}::ends", own.expect("a module"));
        let program = std::env::current_exe().expect("this program");
        let mut again = Command::new(program);
        again
            .args(["--exact", &name, "--nocapture"])
            .env(ALONE, "1");
        let output = again.output().expect("it runs again");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let passed = output.status.success() && said.contains("1 passed");
        assert!(passed, "{said}\n{errors}");
    }

    fn alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let runner = Runner::new(folder.path()).expect("a runner");
        let limit = Duration::from_secs(60);
        let ended = runner.run(&mut shell("echo out; echo err >&2; exit 3"), limit);
        let ended = ended.expect("sh runs");
        assert_eq!(ended.status.and_then(|s| s.code()), Some(3));
        assert_eq!(ended.output, "out\nerr\n");
        assert!(ended.left.is_empty());

        let begin = Instant::now();
        let hanging = "setsid sleep 1234 & sleep 1235";
        let ended = runner.run(&mut shell(hanging), Duration::from_secs(1));
        let ended = ended.expect("sh runs");
        assert!(ended.status.is_none() && begin.elapsed() < limit);
        assert!(ended.output.contains("sleep"), "{}", ended.output);
        assert_eq!(ended.left.len(), 2, "{:?}", ended.left);

        // An orphan is gone when it has ended.
        let orphan =
            "(sleep 0.1 & echo $!) > orphan; while [ -d /proc/$(cat orphan) ]; do sleep 0.1; done";
        let mut orphaned = shell(orphan);
        let ended = runner
            .run(orphaned.current_dir(folder.path()), limit)
            .expect("sh runs");
        assert!(ended.success(), "{ended:?}");

        let ended = runner.run(&mut shell("setsid sleep 1236 & exit 0"), limit);
        let ended = ended.expect("sh runs");
        assert!(ended.success());
        assert_eq!(ended.left.len(), 1, "{:?}", ended.left);
        assert!(new(&HashSet::new()).is_empty(), "nobody is left");
    }
}
