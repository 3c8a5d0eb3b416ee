//! Tasks of event loops, for which the kernel half tells in which one a thread sends.
//!
//! The tracer says of which process it would help to know that. Such a process is looked
//! at by a thread of its own, which finds its runtime and tells the kernel half where to
//! read. So processes whose calls are known without it are left alone.

mod find;
mod looks;

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::maps::{Array, Map, MapData};
use observer_common::names::maps;
use observer_common::requests::{ASYNCIO_LOOPS, AsyncioLoop, LOOPS};
use observer_common::workload::has_share;
use observer_runtimes::Unread;
use observer_runtimes::cpython::{Asyncio, Runtime};

use self::find::Finder;
use self::looks::Looks;
use crate::foreign::{self, Foreign, ProcessMemory, Subject, Tenant, process};
use crate::kernel::{Kernel, batch};

/// Processes that wait to be looked at; what finds no room asks again.
const QUEUE: usize = 256;
/// Loops of one process that are followed.
const LOOPS_OF_PROCESS: usize = 64;
/// Processes that something was said of.
const SAID: usize = 1024;
/// How often threads that have ended are forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// Finds them.
pub struct Tasks {
    looks: Looks,
    queue: SyncSender<u32>,
}

impl Tasks {
    /// Begins; nothing is looked at before it is asked for.
    ///
    /// # Errors
    /// The kernel half lacks a map, or there is no thread to be had.
    pub fn start(kernel: &mut Kernel) -> Result<Self> {
        let Map::HashMap(loops) = kernel.take_map(maps::ASYNCIO_LOOPS)? else {
            bail!("{} is not a hash map", maps::ASYNCIO_LOOPS);
        };
        let worker = Worker {
            loops,
            on: Array::try_from(kernel.take_map(maps::ASYNCIO_ON)?)?,
            finder: Finder::default(),
            known: HashMap::new(),
            said: HashSet::new(),
        };
        let (queue, asked) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("observer-tasks".to_owned())
            .spawn(move || worker.work(&asked))
            .context("cannot start the thread that looks for event loops")?;
        Ok(Self {
            looks: Looks::default(),
            queue,
        })
    }

    /// It would help to know of the tasks of this process. Never waits.
    pub fn ask(&mut self, tgid: u32) {
        if self.looks.wants(tgid, Instant::now()) {
            // One that finds no room is asked for again.
            let _ = self.queue.try_send(tgid);
        }
    }

    /// A process began another program.
    pub fn executed(&mut self, tgid: u32) {
        self.looks.executed(tgid);
    }
}

/// What the thread has.
struct Worker {
    loops: MapData,
    on: Array<MapData, u32>,
    finder: Finder,
    /// What the kernel half was told, by thread.
    known: HashMap<u32, AsyncioLoop>,
    /// Processes of which was said why there is nothing to tell.
    said: HashSet<u32>,
}

impl Worker {
    /// Until nobody asks any more.
    fn work(mut self, asked: &Receiver<u32>) {
        let mut swept = Instant::now();
        loop {
            match asked.recv_timeout(SWEEP) {
                Ok(tgid) => self.look(tgid),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                if let Err(error) = self.sweep() {
                    tracing::warn!(probe = "requests", "event loops that ended: {error}");
                }
            }
        }
    }

    fn look(&mut self, tgid: u32) {
        let Some((symbols, bias)) = self.finder.cpython(tgid) else {
            return;
        };
        let read = foreign::ask(Subject::Process(tgid), foreign::A_WHILE, move |foreign| {
            let memory = ProcessMemory::of(foreign, tgid);
            let runtime = Runtime::read(&memory, &symbols, bias)?;
            let asyncio = runtime.asyncio(&memory)?;
            let found = asyncio.map(|asyncio| loops(tgid, &asyncio, &threads(foreign, tgid)));
            Ok::<_, Unread>(found.unwrap_or_default())
        });
        let told = match read {
            Ok(Ok(found)) if found.is_empty() => return,
            Ok(Ok(found)) => self.tell(&found),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        };
        match told {
            Ok(()) => tracing::debug!(probe = "requests", "process {tgid}: tasks are followed"),
            Err(error) if self.says(tgid) => tracing::info!(
                probe = "requests",
                "process {tgid}: for which request its tasks make a call is not known: {error:#}"
            ),
            Err(_) => {}
        }
    }

    /// Whether something is to be said of a process: once.
    fn says(&mut self, tgid: u32) -> bool {
        if self.said.len() >= SAID {
            self.said.clear();
        }
        self.said.insert(tgid)
    }

    /// Tells the kernel half.
    fn tell(&mut self, found: &[(u32, AsyncioLoop)]) -> Result<()> {
        let Some((_, AsyncioLoop { tgid, .. })) = found.first() else {
            return Ok(());
        };
        let tenant = Tenant::of(*tgid);
        let theirs = |known: &&AsyncioLoop| Tenant::of(known.tgid) == tenant;
        let held = self.known.values().filter(theirs).count() as u64;
        let limit = u64::from(ASYNCIO_LOOPS);
        let free = limit - (self.known.len() as u64).min(limit);
        if !has_share(held, free, limit) {
            foreign::refused("event_loops", tenant);
            bail!("too many event loops of its user or container are followed already");
        }
        for (tid, event_loop) in found {
            if self.known.get(tid) == Some(event_loop) {
                continue;
            }
            if self.known.len() >= ASYNCIO_LOOPS as usize && !self.known.contains_key(tid) {
                bail!("{ASYNCIO_LOOPS} event loops are followed already");
            }
            batch::update(self.loops.fd().as_fd(), &[*tid], &[*event_loop])?;
            self.known.insert(*tid, *event_loop);
        }
        Ok(self.on.set(0, LOOPS, 0)?)
    }

    /// Forgets threads that have ended.
    fn sweep(&mut self) -> Result<()> {
        let has_ended =
            |tid: &u32, event_loop: &mut AsyncioLoop| !process::has_thread(event_loop.tgid, *tid);
        let ended: Vec<u32> = self
            .known
            .extract_if(has_ended)
            .map(|(tid, _)| tid)
            .collect();
        if ended.is_empty() {
            return Ok(());
        }
        batch::delete(self.loops.fd().as_fd(), &ended)?;
        if self.known.is_empty() {
            self.on.set(0, 0, 0)?;
        }
        Ok(())
    }
}

/// The threads of a process by the numbers that it knows them by.
fn threads(foreign: &Foreign, tgid: u32) -> HashMap<u32, u32> {
    let threads = process::threads(tgid).into_iter();
    let numbered = threads.filter_map(|tid| Some((process::inner_id(foreign, tgid, tid)?, tid)));
    numbered.collect()
}

/// What the kernel half is to know, by thread.
fn loops(tgid: u32, found: &Asyncio, threads: &HashMap<u32, u32>) -> Vec<(u32, AsyncioLoop)> {
    let running = found.loops.iter().take(LOOPS_OF_PROCESS);
    let known = running.filter_map(|running| {
        let tid = threads.get(&running.native_thread_id)?;
        let event_loop = AsyncioLoop {
            current_tasks: found.current_tasks,
            event_loop: running.event_loop,
            class: found.task_class,
            tgid,
            padding: 0,
        };
        Some((*tid, event_loop))
    });
    known.collect()
}
