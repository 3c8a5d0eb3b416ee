//! The symbolizer's thread: sleeps until a ring of the side band is half full
//! or somebody has a profile to symbolize.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::sync::oneshot;

use super::RawProfile;
use super::mappings::MappingLosses;
use super::sideband::SideBand;
use super::symbols::{FrameShare, SymbolOptions, Symbols};
use crate::signals::Profile;

/// A profile with names.
#[derive(Clone, Debug, Default)]
pub struct Symbolized {
    /// The profile.
    pub profile: Profile,
    /// How much of it has names.
    pub frames: FrameShare,
    /// What the mappings lost since the start.
    pub losses: MappingLosses,
}

/// The running thread. Dropping it ends it.
#[derive(Debug)]
pub struct Stacks {
    /// `None` only while dropping.
    requests: Option<mpsc::Sender<Request>>,
    wake: PipeWriter,
    thread: Option<JoinHandle<()>>,
}

/// See [`wait`].
const MAX_SLEEP_MILLIS: libc::c_int = 1000;

type Request = (RawProfile, oneshot::Sender<Symbolized>);

impl Stacks {
    /// Starts the thread. When this returns, everything that processes map,
    /// fork and exec from now on is seen (unless side-band events can't be
    /// opened, which is a warning: then only `/proc` is read).
    ///
    /// # Errors
    /// When the thread or its pipe can't be made.
    pub fn start(options: SymbolOptions) -> anyhow::Result<Self> {
        let (reader, wake) = io::pipe().context("symbolizer: can't make a pipe")?;
        let (requests, receiver) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("observer-stacks".into())
            .spawn(move || {
                let band = open_side_band();
                // The starter waits for this; if it is gone, nobody cares.
                let _ = ready.send(());
                run(options, band, &receiver, reader);
            })
            .context("symbolizer: can't start its thread")?;
        is_ready
            .recv()
            .context("symbolizer: its thread ended at once")?;
        Ok(Self {
            requests: Some(requests),
            wake,
            thread: Some(thread),
        })
    }

    /// Hands a profile over to be symbolized; the answer comes through the
    /// receiver (await it, or `blocking_recv()` outside of a runtime), which
    /// reports an error only if the thread is gone.
    pub fn symbolize(&self, raw: RawProfile) -> oneshot::Receiver<Symbolized> {
        let (answer, receiver) = oneshot::channel();
        if let Some(requests) = &self.requests {
            // Both fail only when the thread is gone, and then the receiver
            // says so.
            let _ = requests.send((raw, answer));
            let _ = (&self.wake).write(&[1]);
        }
        receiver
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        self.requests = None;
        let _ = (&self.wake).write(&[1]);
        if let Some(thread) = self.thread.take() {
            // It only fails if the thread panicked, which it reported itself.
            let _ = thread.join();
        }
    }
}

fn open_side_band() -> Option<SideBand> {
    let cpus = match aya::util::online_cpus() {
        Ok(cpus) => cpus,
        Err((path, error)) => {
            tracing::warn!("short-lived processes may lack symbols: {path}: {error}");
            return None;
        }
    };
    SideBand::open(&cpus)
        .inspect_err(|error| {
            tracing::warn!(
                "processes that end within an interval may lack symbols: \
                 perf_event_open: {error} (it takes CAP_PERFMON, or CAP_SYS_ADMIN before Linux 5.8)"
            );
        })
        .ok()
}

fn run(
    options: SymbolOptions,
    mut band: Option<SideBand>,
    requests: &mpsc::Receiver<Request>,
    mut wake: PipeReader,
) {
    let mut symbols = Symbols::new(options);
    symbols.processes.side_band = band.is_some();
    symbols.processes.scan();
    loop {
        wait(&wake, band.as_ref());
        if let Some(band) = &mut band {
            band.drain(|event| symbols.apply(event));
        }
        loop {
            match requests.try_recv() {
                Ok((raw, answer)) => {
                    // One byte was written per request.
                    let _ = wake.read(&mut [0]);
                    let (profile, frames) = symbols.symbolize(&raw);
                    drop(raw);
                    let losses = symbols.processes.losses();
                    // The asker may have given up waiting.
                    let _ = answer.send(Symbolized {
                        profile,
                        frames,
                        losses,
                    });
                    give_memory_back();
                }
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
    }
}

/// Sleeps until the pipe or a ring has something, or a little while is over:
/// what a process's root directory is can only be asked while it lives.
fn wait(wake: &PipeReader, band: Option<&SideBand>) {
    let rings = band.into_iter().flat_map(SideBand::fds);
    let mut fds: Vec<libc::pollfd> = std::iter::once(wake.as_fd())
        .chain(rings)
        .map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // SAFETY: `fds` is a live array of that many entries, and the descriptors
    // outlive the call.
    unsafe {
        libc::poll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            MAX_SLEEP_MILLIS,
        );
    }
}

/// Symbolizing leaves much freed memory behind, which the allocator would
/// keep.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: frees unused heap pages, touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
