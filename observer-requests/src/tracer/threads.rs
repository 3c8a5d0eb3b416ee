//! Threads: which requests each of them serves.

use rustc_hash::FxHashMap;

use super::connections::Slot;
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
    /// Calls that seem to be for the request that it received, which is known when it answers
    /// that: the request, and the group in which they wait.
    pub served: (Key, Key),
    /// What it received last, if that was one of several events.
    pub among: Option<Among>,
    /// Up to here its clock's network part is attributed to calls.
    pub waited_until: u64,
    /// Open requests that others received and handed over to it, and some that
    /// are over.
    taken: Vec<Key>,
    last: u64,
}

/// A request that came to a loop as one of several events. What the loop does until it
/// takes the next one is for this request; behind the last it may be for any.
#[derive(Clone, Copy, Debug)]
pub struct Among {
    /// The request.
    pub request: Key,
    /// Its connection.
    pub connection: Slot,
    /// Which wait brought it.
    pub wait: u8,
    /// Calls since then.
    pub pending: Key,
    /// The connection of the latest of them.
    pub called: Option<Slot>,
    /// How many there were.
    pub calls: u32,
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
            served: (Key::NONE, Key::NONE),
            among: None,
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

/// A process that received requests.
#[derive(Debug, Default)]
struct Process {
    /// Its open requests.
    open: u32,
    /// Whether a thread of it turned to a request while another one, of another
    /// connection, was open: an event loop, or one of a scheduler's threads. What
    /// such a thread does after that may be for any of them.
    switches: bool,
    /// The thread that received its first request.
    first: u32,
    /// Requests that this one received, up to [`Process::SURE`]; and
    /// [`Process::SEVERAL`] as soon as another one receives, calls or answers.
    alone: u32,
    /// Requests in a row of which each made one call at once, up to
    /// [`Process::REGULAR`].
    regular: u32,
    /// Answers, up to [`Process::SURE`], of threads that had received the request, while
    /// another one was open.
    own: u32,
    /// Until then (kernel time) it may serve requests that aren't followed.
    unfollowed_until: u64,
    last: u64,
}

impl Process {
    /// So many requests of one thread say that no other one takes part.
    const SURE: u32 = 4;
    /// So many that made one call at once say that a call is for the latest, where
    /// that was the only one since, though others may have left something for later.
    const REGULAR: u32 = 8;
    /// See [`Process::alone`].
    const SEVERAL: u32 = u32::MAX;
}

/// So long (ns) requests that aren't followed may be open.
const UNFOLLOWED: u64 = 10_000_000_000;

/// All threads, and the processes that have requests open.
#[derive(Debug, Default)]
pub struct Threads {
    threads: FxHashMap<u32, Thread>,
    /// Those that have requests open, or had.
    processes: FxHashMap<u32, Process>,
    /// Whether any has an [`Among`].
    pub any_among: bool,
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

    fn process(&mut self, tgid: u32, at: u64) -> &mut Process {
        if self.processes.len() >= MAX_THREADS && !self.processes.contains_key(&tgid) {
            self.processes.retain(|_, process| process.open > 0);
        }
        let process = self.processes.entry(tgid).or_default();
        process.last = at;
        process
    }

    /// A request was received by this thread: the process has one more open.
    pub fn begun(&mut self, tid: u32, tgid: u32, at: u64) {
        let process = self.process(tgid, at);
        process.open += 1;
        if process.first == 0 {
            process.first = tid;
        }
        if process.first != tid {
            process.alone = Process::SEVERAL;
        } else if process.alone < Process::SURE {
            process.alone += 1;
        }
    }

    /// A thread calls, or answers.
    pub fn takes_part(&mut self, tid: u32, tgid: u32) {
        if let Some(process) = self.processes.get_mut(&tgid)
            && process.first != tid
        {
            process.alone = Process::SEVERAL;
        }
    }

    /// A request of a loop made so many calls at once. Whether it was one, and so
    /// was that of each lately.
    pub fn called(&mut self, tgid: u32, calls: u32) -> bool {
        let Some(process) = self.processes.get_mut(&tgid) else {
            return false;
        };
        let before = process.regular;
        process.regular = match calls {
            1 => Process::REGULAR.min(before + 1),
            _ => 0,
        };
        calls == 1 && before == Process::REGULAR
    }

    /// Whether one thread does all that a process does, as far as was seen, and for
    /// long enough: none hands work to it while it runs.
    pub fn is_loop(&self, tgid: u32) -> bool {
        let process = self.processes.get(&tgid);
        process.is_some_and(|process| process.alone == Process::SURE)
    }

    /// A thread of a process turned from one open request to another.
    pub fn switched(&mut self, tgid: u32, at: u64) {
        self.process(tgid, at).switches = true;
    }

    /// A process received requests that weren't followed.
    pub fn unfollowed(&mut self, tgid: u32, at: u64) {
        self.process(tgid, at).unfollowed_until = at.saturating_add(UNFOLLOWED);
    }

    /// A thread answers a request that it received itself.
    pub fn answers_own(&mut self, tgid: u32) {
        if let Some(process) = self.processes.get_mut(&tgid)
            && process.open > 1
            && process.own < Process::SURE
        {
            process.own += 1;
        }
    }

    /// Whether that was seen often enough to believe [`Threads::one_by_one`] before the
    /// answer.
    pub fn surely_one_by_one(&self, tgid: u32) -> bool {
        let process = self.processes.get(&tgid);
        process.is_some_and(|process| process.own == Process::SURE && !process.switches)
    }

    /// Whether each thread of a process serves one request after the other, as far
    /// as was seen.
    pub fn one_by_one(&self, tgid: u32) -> bool {
        !self
            .processes
            .get(&tgid)
            .is_some_and(|process| process.switches)
    }

    /// Whether a process has no more than so many requests open at this time.
    pub fn serves_at_most(&self, tgid: u32, requests: u32, at: u64) -> bool {
        self.processes
            .get(&tgid)
            .is_none_or(|process| process.open <= requests && process.unfollowed_until < at)
    }

    /// A request is over, which this thread had received.
    pub fn ended(&mut self, tid: u32, tgid: u32) {
        if let Some(thread) = self.known(tid, tgid) {
            thread.received = thread.received.saturating_sub(1);
        }
        if let Some(process) = self.processes.get_mut(&tgid) {
            process.open = process.open.saturating_sub(1);
        }
    }

    /// Whether a process has requests open.
    pub fn serves(&self, tgid: u32) -> bool {
        self.processes
            .get(&tgid)
            .is_some_and(|process| process.open > 0)
    }

    /// Forgets, now and then, those that did nothing for long.
    pub fn sweep(&mut self, now: u64) {
        if now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.processes
            .retain(|_, process| process.open > 0 || now.saturating_sub(process.last) < IDLE);
        self.threads
            .retain(|_, thread| thread.received > 0 || now.saturating_sub(thread.last) < IDLE);
    }
}
