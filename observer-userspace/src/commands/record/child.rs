//! A command that is started but held back before its first instruction.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// Status of shells for a command that isn't there, or can't be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// A child process. Killed when dropped before [`Held::release`].
#[derive(Debug)]
pub(super) struct Held {
    pid: Pid,
    /// Written to (one byte) to let it go; closed to end it.
    gate: Option<PipeWriter>,
    /// Says why exec failed; closed by a successful exec.
    failure: File,
    name: OsString,
}

/// The command could not be executed.
#[derive(Debug, thiserror::Error)]
#[error("can't start {}: {error}", .name.display())]
pub(super) struct CannotStart {
    name: OsString,
    error: io::Error,
}

impl CannotStart {
    /// The exit status that shells give for it.
    pub(super) fn status(&self) -> u8 {
        match self.error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        }
    }
}

impl Held {
    /// Forks a child that waits, then becomes `command` (found in PATH).
    ///
    /// Call it while this process has one thread only: between fork and exec
    /// the child may then use what a thread might have locked.
    ///
    /// # Errors
    /// When there is no command, or the process can't be made.
    pub(super) fn fork(command: &[OsString]) -> anyhow::Result<Self> {
        let name = command.first().context("there is no command")?.clone();
        let arguments: Vec<CString> = command
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<_, _>>()
            .context("an argument of the command contains a NUL byte")?;
        let mut pointers: Vec<*const libc::c_char> =
            arguments.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(std::ptr::null());
        let program = pointers.first().copied().unwrap_or(std::ptr::null());
        let (reader, gate) = io::pipe().context("can't make a pipe")?;
        let (failure, report) = io::pipe().context("can't make a pipe")?;
        // SAFETY: the child only calls async-signal-safe functions (read,
        // signal, execvp on memory prepared before, write, _exit).
        match unsafe { fork() }.context("can't fork")? {
            ForkResult::Parent { child } => Ok(Self {
                pid: child,
                gate: Some(gate),
                failure: File::from(OwnedFd::from(failure)),
                name,
            }),
            ForkResult::Child => {
                // SAFETY: descriptors and memory are this process's own copies;
                // both pipes close on exec. The pointers end with null.
                unsafe {
                    // Or the child would keep its own gate open for ever.
                    libc::close(gate.as_raw_fd());
                    let mut byte = 0_u8;
                    let got = libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1);
                    if got == 1 {
                        // Rust ignores it, and what is ignored stays so.
                        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                        libc::execvp(program, pointers.as_ptr());
                        let error = *libc::__errno_location();
                        let fd = report.as_raw_fd();
                        libc::write(fd, (&raw const error).cast(), size_of_val(&error));
                    }
                    libc::_exit(NOT_FOUND.into())
                }
            }
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Lets it go; returns when it runs the command.
    ///
    /// # Errors
    /// [`CannotStart`] when there is no such command.
    pub(super) fn release(mut self) -> anyhow::Result<Running> {
        if let Some(mut gate) = self.gate.take() {
            gate.write_all(&[1]).context("can't release the command")?;
        }
        let mut errno = [0; 4];
        let running = Running { pid: self.pid };
        if self.failure.read_exact(&mut errno).is_ok() {
            // It only has to be reaped.
            let _ = waitpid(self.pid, None);
            let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
            let name = std::mem::take(&mut self.name);
            return Err(CannotStart { name, error }.into());
        }
        Ok(running)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.gate.take().is_some() {
            // The closed gate ends it; it only has to be reaped.
            let _ = waitpid(self.pid, None);
        }
    }
}

/// A released child.
#[derive(Debug)]
pub(super) struct Running {
    pid: Pid,
}

impl Running {
    /// Its exit status if it ended: 128 + signal when a signal ended it.
    pub(super) fn status(&self) -> Option<u8> {
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Some(code as u8),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as u8),
            Ok(_) => None,
            // Somebody else reaped it: nothing better can be said.
            Err(_) => Some(1),
        }
    }

    /// Passes a signal on to it.
    pub(super) fn signal(&self, signal: Signal) {
        // It may have ended just now.
        let _ = kill(self.pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn wait(child: &Running) -> u8 {
        loop {
            if let Some(status) = child.status() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn held(command: &[&str]) -> Held {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        Held::fork(&command).expect("forked")
    }

    /// Checks that nothing runs before the release, and that exit statuses and
    /// signals come through.
    #[test]
    fn held_then_released() {
        let folder = tempfile::tempdir().expect("folder");
        let proof = folder.path().join("ran");
        let script = format!("echo > {}; exit 7", proof.display());
        let child = held(&["sh", "-c", &script]);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!proof.exists());
        assert_eq!(wait(&child.release().expect("started")), 7);
        assert!(proof.exists());
        let killed = held(&["sh", "-c", "kill -TERM $$"]);
        assert_eq!(wait(&killed.release().expect("started")), 128 + 15);
        let piped = held(&["sh", "-c", "kill -PIPE $$; exit 1"]);
        assert_eq!(wait(&piped.release().expect("started")), 128 + 13);
    }

    /// Checks that a missing command is named with the shell's status, and that
    /// a child that is never released ends.
    #[test]
    fn never_started() {
        let error = held(&["no-such-command"]).release().expect_err("missing");
        let error = error.downcast::<CannotStart>().expect("the type");
        assert_eq!(error.status(), 127);
        assert!(error.to_string().contains("no-such-command"));
        let child = held(&["true"]);
        let pid = child.pid();
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
