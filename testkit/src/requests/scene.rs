//! Programs in a cgroup of their own, by which the daemon tells them from
//! whatever else runs on the machine.

use std::ffi::CString;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use observer_userspace::identity::hierarchy::Hierarchies;
use tempfile::TempDir;

use crate::cgroup::Cgroup;

/// Several tests have one at the same time.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Programs that belong together; all end when it is dropped.
pub struct Scene {
    // In this order: a server needs its folder to end in order.
    running: Vec<Running>,
    cgroup: Cgroup,
    folder: TempDir,
}

/// A server; ends in order.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // nginx and PostgreSQL end at once, with their children.
        if let Ok(pid) = self.0.id().try_into() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(3) {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    /// Nobody in it yet.
    pub fn new() -> Result<Self> {
        let hierarchies = Hierarchies::open();
        let mount = hierarchies.v2_mount().or(hierarchies.v1_mount());
        let mount = mount.context("no cgroup hierarchy is mounted")?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("observer-requests-{}-{number}", std::process::id());
        let folder = tempfile::tempdir()?;
        // Servers that give up root read it, too.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode)?;
        Ok(Self {
            running: Vec::new(),
            cgroup: Cgroup::create(mount, &name)?,
            folder,
        })
    }

    /// A folder for its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its cgroup's directory.
    pub fn cgroup(&self) -> PathBuf {
        self.cgroup.directory().to_path_buf()
    }

    /// Has a command run in it.
    pub fn join<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        self.join_as(command, None)
    }

    /// The same as another user.
    pub fn join_as<'a>(
        &self,
        command: &'a mut Command,
        user: Option<&User>,
    ) -> Result<&'a mut Command> {
        let file = self.cgroup.directory().join("cgroup.procs");
        let file = CString::new(file.as_os_str().as_bytes())?;
        let ids = user.map(|user| (user.uid.as_raw(), user.gid.as_raw()));
        // SAFETY: only system calls are made, on memory that was made before.
        unsafe { command.pre_exec(move || enter(&file, ids)) };
        Ok(command)
    }

    /// Runs a command to its end in it; an error unless it succeeds.
    pub fn run(&self, command: &mut Command) -> Result<Output> {
        let command = self.join(command)?.stdin(Stdio::null());
        let output = command
            .output()
            .with_context(|| format!("cannot start {command:?}"))?;
        ensure!(
            output.status.success(),
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output)
    }

    /// Starts a server in it. Returns its process.
    pub fn start(&mut self, command: &mut Command) -> Result<u32> {
        self.start_as(command, None)
    }

    /// The same as another user.
    pub fn start_as(&mut self, command: &mut Command, user: Option<&User>) -> Result<u32> {
        let command = self.join_as(command, user)?;
        let log = std::fs::File::create(self.folder.path().join("stderr"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let pid = child.id();
        self.running.push(Running(child));
        Ok(pid)
    }

    /// Starts a server that prints its port when it is ready.
    pub fn start_with_port(&mut self, command: &mut Command) -> Result<u16> {
        let command = self.join(command)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let output = child.stdout.take().context("a pipe")?;
        self.running.push(Running(child));
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        line.trim()
            .parse()
            .with_context(|| format!("{command:?} says {line:?}, not its port"))
    }

    /// The process that was started last.
    pub fn last_pid(&self) -> Option<u32> {
        self.running.last().map(|running| running.0.id())
    }

    /// Ends the server that was started last.
    pub fn stop_last(&mut self) {
        self.running.pop();
    }

    /// Waits until `ready`, for a minute at most.
    pub fn wait_until(&self, what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        let begin = Instant::now();
        while !ready() {
            ensure!(
                begin.elapsed() < Duration::from_secs(60),
                "{what} never came; {}",
                std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Joins the cgroup, ends with the thread that started us, becomes the user.
fn enter(file: &CString, ids: Option<(u32, u32)>) -> std::io::Result<()> {
    let check = |result: i64| match result {
        0.. => Ok(result),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: the string ends with a zero, the buffer has a byte.
    unsafe {
        let fd = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(fd.into())?;
        // 0 is whoever writes it.
        check(libc::write(fd, c"0".as_ptr().cast(), 1) as i64)?;
        libc::close(fd);
        if let Some((user, group)) = ids {
            check(libc::setgroups(0, std::ptr::null()).into())?;
            check(libc::setgid(group).into())?;
            check(libc::setuid(user).into())?;
        }
        // After the change of user, which resets it.
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into())?;
    }
    Ok(())
}

/// Standard output as text.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
