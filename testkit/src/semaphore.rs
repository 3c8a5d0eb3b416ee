//! A semaphore of System V that somebody waits for.

use std::time::Duration;

use anyhow::{Result, ensure};

/// A set of one semaphore, taken; gone when dropped.
struct Semaphore(libc::c_int);

impl Semaphore {
    fn new() -> Result<Self> {
        // SAFETY: has no preconditions.
        let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
        ensure!(id >= 0, "semget: {}", std::io::Error::last_os_error());
        Ok(Self(id))
    }

    /// Adds to the semaphore, or waits until it can be taken away. By the system
    /// call `semop` itself, since libraries make it of another.
    fn change(&self, by: i16) -> Result<()> {
        let mut operation = libc::sembuf {
            sem_num: 0,
            sem_op: by,
            sem_flg: 0,
        };
        // SAFETY: one live operation.
        let result = unsafe { libc::syscall(libc::SYS_semop, self.0, &raw mut operation, 1) };
        ensure!(result == 0, "semop: {}", std::io::Error::last_os_error());
        Ok(())
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: removing takes no argument.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

/// Waits in `semop` until another thread, which sleeps for this long, lets it go.
///
/// # Errors
/// When the kernel has no semaphores.
pub fn wait(time: Duration) -> Result<()> {
    let semaphore = Semaphore::new()?;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            std::thread::sleep(time);
            semaphore.change(1)
        });
        semaphore.change(-1)?;
        other
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the other thread panicked"))
    })
}
