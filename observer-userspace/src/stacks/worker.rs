//! The thread that knows what processes have mapped: sleeps until a ring of the
//! side band is half full, the kernel half asks for something, or somebody has
//! a profile to symbolize.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::oneshot;

use super::file_names::SymbolOptions;
use super::mappings::MappingLosses;
use super::profile::FrameShare;
use super::raw::RawProfile;
use super::sideband::SideBand;
use super::symbols::Symbols;
use super::tables::UnwindStats;
use super::unwinder::Unwinder;
use crate::kernel::perf;
use crate::kernel::unwind::{ProcessMaps, TableMaps};
use crate::memory;
use observer_signals::Profile;

/// A profile with names.
#[derive(Clone, Debug, Default)]
pub struct Symbolized {
    /// Stacks with names.
    pub profile: Profile,
    /// How much of it has names.
    pub frames: FrameShare,
    /// What the symbolizer lost since the start.
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

/// How long the thread sleeps at most: what a process's root directory is can
/// only be asked while it lives.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// The same while mappings of a recorded process may change at any moment.
const SHORT_SLEEP: Duration = Duration::from_millis(10);
/// What the kernel half asks for may be in news of the side band that aren't
/// settled yet; see `sideband`.
const SETTLING: Duration = Duration::from_micros(1500);
/// How long [`Stacks::unwind`] waits for the tables of processes that are to be
/// prepared.
const PREPARING: Duration = Duration::from_secs(1);

/// How long a thread that is told to end is waited for: tens of thousands of
/// stacks take seconds to name.
const ENDING: Duration = Duration::from_secs(1);

enum Request {
    Symbolize(RawProfile, oneshot::Sender<Symbolized>),
    LetGo,
    Unwind(Box<UnwindOptions>, mpsc::Sender<()>),
}

/// How stacks are to be unwound.
pub struct UnwindOptions {
    /// What the kernel half reads.
    pub processes: ProcessMaps,
    /// Likewise.
    pub tables: TableMaps,
    /// Bytes that all tables may take.
    pub limit: u64,
    /// Processes to make known before they are sampled.
    pub prepare: Vec<u32>,
    /// Programs that will be started.
    pub programs: Vec<PathBuf>,
    /// Follow mappings more closely than a daemon can afford.
    pub closely: bool,
    /// Where to count.
    pub stats: Arc<UnwindStats>,
}

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
        let wake_of_tables = wake.try_clone().context("symbolizer: can't share a pipe")?;
        let thread = std::thread::Builder::new()
            .name("observer-stacks".into())
            .spawn(move || {
                let band = open_side_band();
                // The starter waits for this; if it is gone, nobody cares.
                let _ = ready.send(());
                Worker::new(options, band, wake_of_tables).run(&receiver, reader);
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
            let _ = requests.send(Request::Symbolize(raw, answer));
            let _ = (&self.wake).write(&[1]);
        }
        receiver
    }

    /// Lets go of processes that ended, when what was handed over before is
    /// symbolized. An interval's profiles share processes, so this comes after
    /// the last of them.
    pub fn let_go(&self) {
        if let Some(requests) = &self.requests {
            // Both fail only when the thread is gone, and everything with it.
            let _ = requests.send(Request::LetGo);
            let _ = (&self.wake).write(&[1]);
        }
    }

    /// Has stacks unwound by the files' own information from now on. Returns
    /// when the processes that were to be prepared are.
    pub fn unwind(&self, options: UnwindOptions) {
        let (ready, is_ready) = mpsc::channel();
        if let Some(requests) = &self.requests {
            // Both fail only when the thread is gone, and then `ready` is too.
            let _ = requests.send(Request::Unwind(Box::new(options), ready));
            let _ = (&self.wake).write(&[1]);
        }
        let _ = is_ready.recv_timeout(PREPARING);
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        self.requests = None;
        let _ = (&self.wake).write(&[1]);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let begin = Instant::now();
        while !thread.is_finished() {
            if begin.elapsed() > ENDING {
                // Nobody waits for its names any more; it ends with the process.
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // It only fails if the thread panicked, which it reported itself.
        let _ = thread.join();
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
                 perf_event_open: {error} ({})",
                perf::privilege()
            );
        })
        .ok()
}

/// What the thread has.
struct Worker {
    symbols: Symbols,
    band: Option<SideBand>,
    unwinder: Option<Unwinder>,
    /// Goes to the thread that builds tables.
    wake: PipeWriter,
    sleep: Duration,
    /// Whoever waits for the first tables.
    preparing: Option<mpsc::Sender<()>>,
}

impl Worker {
    fn new(options: SymbolOptions, band: Option<SideBand>, wake: PipeWriter) -> Self {
        let mut symbols = Symbols::new(options);
        symbols.processes.side_band = band.is_some();
        symbols.processes.scan();
        Self {
            symbols,
            band,
            unwinder: None,
            wake,
            sleep: MAX_SLEEP,
            preparing: None,
        }
    }

    fn run(mut self, requests: &mpsc::Receiver<Request>, mut wake: PipeReader) {
        loop {
            self.wait(&mut wake);
            self.follow();
            loop {
                match requests.try_recv() {
                    Ok(Request::Symbolize(raw, answer)) => self.symbolize(raw, answer),
                    Ok(Request::LetGo) => {
                        self.symbols.let_go();
                        memory::give_back();
                    }
                    Ok(Request::Unwind(options, ready)) => self.unwind(*options, ready),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    /// Takes all news in and hands on what changed.
    fn follow(&mut self) {
        if let Some(band) = &mut self.band {
            band.drain(|event| {
                if let Some(unwinder) = &mut self.unwinder {
                    unwinder.apply(&event);
                }
                self.symbols.apply(event);
            });
        }
        if let Some(unwinder) = &mut self.unwinder {
            let Symbols {
                processes,
                modules,
                codes,
                ..
            } = &mut self.symbols;
            unwinder.update(processes, modules, codes);
            self.symbols.unsupported = unwinder.unsupported();
            unwinder.hear();
            if self.preparing.is_some() && !unwinder.is_building() {
                self.preparing = None;
            }
        }
    }

    fn symbolize(&mut self, raw: RawProfile, answer: oneshot::Sender<Symbolized>) {
        let (profile, frames) = self.symbols.symbolize(&raw);
        drop(raw);
        let losses = self.symbols.losses();
        // The asker may have given up waiting.
        let _ = answer.send(Symbolized {
            profile,
            frames,
            losses,
        });
        memory::give_back();
    }

    fn unwind(&mut self, options: UnwindOptions, ready: mpsc::Sender<()>) {
        let UnwindOptions {
            processes: maps,
            tables,
            limit,
            prepare,
            programs,
            closely,
            stats,
        } = options;
        let started = self
            .wake
            .try_clone()
            .context("can't share a pipe")
            .and_then(|wake| Unwinder::start(maps, tables, limit, wake, stats));
        match started {
            Ok(mut unwinder) => {
                let Symbols {
                    processes, modules, ..
                } = &mut self.symbols;
                unwinder.prepare(&prepare, &programs, processes, modules);
                self.unwinder = Some(unwinder);
                self.preparing = Some(ready);
                if closely {
                    self.sleep = SHORT_SLEEP;
                }
                self.follow();
            }
            Err(error) => tracing::warn!("stacks are walked by frame pointers only: {error:#}"),
        }
    }

    /// Sleeps until there is something to do, or a little while is over.
    fn wait(&self, wake: &mut PipeReader) {
        let asks = self.unwinder.as_ref().map(Unwinder::fd);
        let rings = self.band.iter().flat_map(SideBand::fds);
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(wake.as_fd())
            .chain(asks)
            .chain(rings)
            .collect();
        let ready = poll(&fds, self.sleep);
        if ready.first() == Some(&true) {
            // Whoever woke us left something in a queue; one look takes all.
            // The pipe has something, so this doesn't block, and if it ended
            // so did everybody who could write.
            let _ = wake.read(&mut [0; 64]);
        }
        if asks.is_some() && ready.get(1) == Some(&true) {
            std::thread::sleep(SETTLING);
        }
    }
}

/// Which of `fds` are readable, after at most `limit`.
fn poll(fds: &[BorrowedFd<'_>], limit: Duration) -> Vec<bool> {
    let mut fds: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `fds` is a live array of that many entries, and the descriptors
    // outlive the call.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, limit) };
    fds.iter().map(|fd| fd.revents != 0).collect()
}
