//! Threads: which requests each of them serves.

use rustc_hash::FxHashMap;

use super::open::Open;
use super::slab::{Key, Slab};

/// A thread that receives requests, makes calls or answers.
#[derive(Debug)]
pub struct Thread {
    /// Its process.
    pub tgid: u32,
    /// Open requests that it received.
    pub received: u32,
    /// Whether it ever received one: then it is no worker that others hand
    /// requests to, but serves its own, or any (as those of Go's scheduler).
    pub receives: bool,
    /// The request that it serves without another since that began.
    pub sole: Key,
    /// Calls that it made for nobody that is known: see [`super::pending`].
    pub pending: Key,
    /// Up to here its clock's network part is attributed to calls.
    pub waited_until: u64,
    /// Open requests that others received and handed over to it, and some that
    /// are over.
    taken: Vec<Key>,
    last: u64,
}

/// Requests that a thread may have taken over at once, as far as it is told.
const MAX_TAKEN: usize = 16;
/// Threads that are known at once.
const MAX_THREADS: usize = 65_536;
/// A thread that did nothing for so long (ns) is forgotten.
const IDLE: u64 = 60_000_000_000;
/// Time between two searches for such threads (ns).
const SWEEP: u64 = 10_000_000_000;

impl Thread {
    fn new(tgid: u32) -> Self {
        Self {
            tgid,
            received: 0,
            receives: false,
            sole: Key::NONE,
            pending: Key::NONE,
            waited_until: 0,
            taken: Vec::new(),
            last: 0,
        }
    }

    /// Takes over a request that another thread received.
    pub fn take_over(&mut self, request: Key, exchanges: &Slab<Open>) {
        if self.taken.contains(&request) {
            return;
        }
        self.taken.retain(|key| exchanges.get(*key).is_some());
        if self.taken.len() == MAX_TAKEN {
            self.taken.remove(0);
        }
        self.taken.push(request);
        self.sole = Key::NONE;
    }

    /// Open requests that it serves beside `request`.
    pub fn others(&mut self, request: Key, received_here: bool, exchanges: &Slab<Open>) -> usize {
        self.taken.retain(|key| exchanges.get(*key).is_some());
        let taken = self.taken.iter().filter(|key| **key != request).count();
        let received = self.received - u32::from(received_here && self.received > 0);
        taken + received as usize
    }

    /// Whether it serves any request.
    pub fn serves(&mut self, exchanges: &Slab<Open>) -> bool {
        self.others(Key::NONE, false, exchanges) > 0
    }
}

/// All threads, and the processes that have requests open.
#[derive(Debug, Default)]
pub struct Threads {
    threads: FxHashMap<u32, Thread>,
    /// Open requests by process; some have none any more.
    processes: FxHashMap<u32, u32>,
    swept: u64,
}

impl Threads {
    /// The thread with this number, now.
    pub fn get(&mut self, tid: u32, tgid: u32, at: u64) -> &mut Thread {
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&tid) {
            self.threads.retain(|_, thread| thread.received > 0);
            if self.threads.len() >= MAX_THREADS {
                self.threads.clear();
            }
        }
        let thread = self.threads.entry(tid).or_insert_with(|| Thread::new(tgid));
        if thread.tgid != tgid {
            // Another one, with the number of one that is gone.
            *thread = Thread::new(tgid);
        }
        thread.last = at;
        thread
    }

    /// The thread with this number, if it is known.
    pub fn known(&mut self, tid: u32, tgid: u32) -> Option<&mut Thread> {
        let thread = self.threads.get_mut(&tid)?;
        (thread.tgid == tgid).then_some(thread)
    }

    /// A request was received: the process has one more open.
    pub fn begun(&mut self, tgid: u32) {
        if self.processes.len() >= MAX_THREADS && !self.processes.contains_key(&tgid) {
            self.processes.retain(|_, open| *open > 0);
        }
        *self.processes.entry(tgid).or_default() += 1;
    }

    /// A request is over, which this thread had received.
    pub fn ended(&mut self, tid: u32, tgid: u32) {
        if let Some(thread) = self.known(tid, tgid) {
            thread.received = thread.received.saturating_sub(1);
        }
        if let Some(open) = self.processes.get_mut(&tgid) {
            *open = open.saturating_sub(1);
        }
    }

    /// Whether a process has requests open.
    pub fn serves(&self, tgid: u32) -> bool {
        self.processes.get(&tgid).is_some_and(|open| *open > 0)
    }

    /// Forgets, now and then, those that did nothing for long.
    pub fn sweep(&mut self, now: u64) {
        if now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.processes.retain(|_, open| *open > 0);
        self.threads
            .retain(|_, thread| thread.received > 0 || now.saturating_sub(thread.last) < IDLE);
    }
}
