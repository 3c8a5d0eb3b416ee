//! TLS: what programs hand to their library, before it is encrypted.
//!
//! The kernel half has programs for the calls and returns of a few functions of
//! OpenSSL and those that have its interface. Here the files that contain those
//! functions are found and attached, each once, for every process that maps it:
//! the host's own libraries at the start, whatever running processes have
//! mapped, and the programs that begin later. No key and no certificate is
//! looked at.
//!
//! All of it is done by a thread of its own: reading a symbol table may take
//! milliseconds, and attaching waits for the kernel.

mod attach;
mod files;
mod key;
mod library;
mod looks;
mod place;
mod processes;
mod sessions;
mod system;

use observer_common::names::programs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::attach::{DESCRIPTORS, Programs};
use self::looks::{Look, Looks};
use self::processes::Processes;
use crate::kernel::{Attach, Kernel, ProgramSpec, descriptors};

pub use self::processes::Figures;
use self::sessions::Sessions;

/// Files that are attached at once.
const MAX_FILES: usize = 256;

/// Descriptors that are left to the rest of the daemon.
const OTHER_DESCRIPTORS: usize = 384;

/// Processes that the thread may lag behind.
const QUEUE: usize = 1024;

/// How long the end of the daemon waits until all are detached: the kernel takes
/// a tenth of a second for each function. What is left goes with the process.
const DETACH_LIMIT: Duration = Duration::from_secs(1);

/// How often that is looked at.
const DETACH_PAUSE: Duration = Duration::from_millis(5);

const fn program(name: &'static str, lost_without: &'static str) -> ProgramSpec {
    ProgramSpec {
        name,
        attach: Attach::UserFunction,
        needs: &[
            "call_first",
            "call_second",
            "call_fourth",
            "call_fifth",
            "call_result",
        ],
        lost_without,
    }
}

const fn goes(name: &'static str) -> ProgramSpec {
    ProgramSpec {
        name,
        attach: Attach::UserFunction,
        needs: &["go_g", "go_first", "go_second"],
        lost_without: "for which request a goroutine makes a call, where several are open",
    }
}

/// The programs for the functions of libraries, and of programs of Go's.
pub const PROGRAMS: [ProgramSpec; 11] = [
    program(programs::TLS_READ, "what is received by SSL_read"),
    program(programs::TLS_WRITE, "what is sent by SSL_write"),
    program(programs::TLS_READ_EX, "what is received by SSL_read_ex"),
    program(programs::TLS_WRITE_EX, "what is sent by SSL_write_ex"),
    program(
        programs::TLS_WRITE_FLAGS,
        "what is sent by SSL_write of OpenSSL 3.2 and later",
    ),
    program(
        programs::TLS_HANDSHAKE,
        "which connection some TLS sessions belong to",
    ),
    program(programs::TLS_RETURNED, "everything in TLS"),
    program(programs::TLS_FREE, "the end of TLS sessions"),
    goes(programs::GO_SERVE),
    goes(programs::GO_ROUND_TRIP),
    goes(programs::GO_WRITE),
];

/// What agent and thread share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// More programs began than the queue could hold.
    missed: AtomicBool,
    failed: AtomicU64,
    full: AtomicU64,
    held: AtomicU64,
}

/// The thread that finds libraries and keeps them attached. Dropped, it
/// detaches them.
pub struct Tls {
    /// `None` when it is to end.
    queue: Option<SyncSender<u32>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    sessions: Sessions,
}

impl Tls {
    /// Begins with the programs that [`PROGRAMS`] loaded.
    ///
    /// # Errors
    /// When the kernel can't observe functions of user programs, or there is no
    /// thread to be had.
    pub fn start(kernel: &mut Kernel) -> Result<Self> {
        let programs = Programs::of(kernel)?;
        let room = usize::try_from(descriptors::limit()).unwrap_or(usize::MAX);
        let room = room.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS;
        let processes = Processes::new(programs, room.clamp(1, MAX_FILES));
        let (queue, told) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("observer-tls".to_owned())
            .spawn(move || work(processes, &told, &theirs))
            .context("cannot start the thread that looks for TLS libraries")?;
        Ok(Self {
            queue: Some(queue),
            shared,
            thread: Some(thread),
            sessions: Sessions::take(kernel)?,
        })
    }

    /// The process `tgid` began a program. Never waits.
    pub fn executed(&self, tgid: u32) {
        let sent = self.queue.as_ref().map(|queue| queue.try_send(tgid));
        if let Some(Err(TrySendError::Full(_))) = sent {
            self.shared.missed.store(true, Ordering::Relaxed);
        }
    }

    /// At a tick: forgets what ended without saying so.
    pub fn sweep(&mut self) {
        if let Err(error) = self.sessions.sweep_if_due() {
            tracing::warn!("TLS sessions of processes that ended keep their place: {error:#}");
        }
    }

    /// How it stands.
    pub fn figures(&self) -> Figures {
        Figures {
            failed: self.shared.failed.load(Ordering::Relaxed),
            full: self.shared.full.load(Ordering::Relaxed),
            held: self.shared.held.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.queue = None;
        let until = Instant::now() + DETACH_LIMIT;
        let thread = self.thread.take();
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < until
        {
            std::thread::sleep(DETACH_PAUSE);
        }
    }
}

/// The thread's work, until the agent lets go of the queue.
fn work(mut processes: Processes, told: &Receiver<u32>, shared: &Shared) {
    let stop = || shared.stop.load(Ordering::Relaxed);
    processes.attach_system();
    processes.scan(stop);
    let mut looks = Looks::new(Instant::now());
    loop {
        let figures = processes.figures();
        shared.failed.store(figures.failed, Ordering::Relaxed);
        shared.full.store(figures.full, Ordering::Relaxed);
        shared.held.store(figures.held, Ordering::Relaxed);
        match told.recv_timeout(looks.idle(Instant::now())) {
            Ok(tgid) => {
                if processes.look_at_program(tgid) {
                    looks.executed(tgid, Instant::now());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if shared.missed.swap(false, Ordering::Relaxed) {
            looks.missed();
        }
        while let Some(look) = looks.next(Instant::now()) {
            match look {
                Look::At(tgid) => {
                    if !processes.look(tgid) {
                        looks.was_gone(tgid);
                    }
                }
                Look::AtAll => processes.scan(stop),
            }
            if stop() {
                return;
            }
        }
    }
}
