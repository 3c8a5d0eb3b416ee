//! Calls of tasks: a loop that serves many requests at once does so in tasks, one for
//! each, and the kernel half tells in which one a thread sends.
//!
//! The task that answers a request is the one whose calls were for it, those since the
//! request came. So a call waits for that answer, for some seconds at most. It says
//! nothing where one task answers requests that are open at the same time.

use observer_common::requests::Piece;
use rustc_hash::{FxHashMap, FxHashSet};

use super::Tracer;
use super::connections::Slot;
use super::hand_over;
use super::output::Output;
use super::pending::Patience;
use super::slab::Key;
use super::whose::MadeFor;
use crate::Parent;

/// A process and the address of a task in it.
type Name = (u32, u64);

/// What is known of a task.
#[derive(Debug)]
struct Task {
    /// Its calls that wait: see [`super::pending`].
    pending: Key,
    /// The request that it answered last.
    request: Key,
    /// Where.
    connection: Option<Slot>,
    /// When it last did anything.
    last: u64,
}

/// All tasks, and processes of which it should be known whether they have any.
#[derive(Debug, Default)]
pub struct Tasks {
    tasks: FxHashMap<Name, Task>,
    /// Processes that have a task that answers several requests at the same time, and when
    /// that was seen last.
    mixed: FxHashMap<u32, u64>,
    unsure: FxHashSet<u32>,
    swept: u64,
}

/// Tasks, and processes of either kind, that are known at once.
const MOST: usize = 65_536;
const MOST_PROCESSES: usize = 4096;
/// A task that did nothing for so long (ns) is forgotten: its address may be another's.
const IDLE: u64 = 10_000_000_000;
/// So long (ns) nothing is believed of a process after its tasks were seen to mix requests.
const MIXED: u64 = 60_000_000_000;
/// Time between two searches for such (ns).
const SWEEP: u64 = 1_000_000_000;

impl Tasks {
    fn get(&mut self, name: Name, at: u64) -> Option<&mut Task> {
        if self.tasks.len() >= MOST && !self.tasks.contains_key(&name) {
            return None;
        }
        let task = self.tasks.entry(name).or_insert(Task {
            pending: Key::NONE,
            request: Key::NONE,
            connection: None,
            last: at,
        });
        task.last = at;
        Some(task)
    }

    /// A process serves: it may have tasks, which had better be known before its calls.
    pub fn serves(&mut self, tgid: u32) {
        self.unsure(tgid);
    }

    /// A process has several requests open and makes a call in no task that is known.
    fn unsure(&mut self, tgid: u32) {
        if self.unsure.len() < MOST_PROCESSES {
            self.unsure.insert(tgid);
        }
    }

    /// Forgets, now and then, tasks that did nothing for long.
    pub fn sweep(&mut self, now: u64) {
        if now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.tasks
            .retain(|_, task| now.saturating_sub(task.last) < IDLE);
        self.mixed
            .retain(|_, seen| now.saturating_sub(*seen) < MIXED);
    }

    /// A task of a process answers several requests at the same time.
    fn mixes(&mut self, tgid: u32, at: u64) {
        if self.mixed.len() < MOST_PROCESSES {
            self.mixed.insert(tgid, at);
        }
    }

    /// Whether tasks of a process tell for which request they call.
    fn tell(&self, tgid: u32) -> bool {
        !self.mixed.contains_key(&tgid)
    }
}

impl Tracer {
    /// Processes that made calls, since this was asked last, of which a task might tell
    /// for which request they were.
    pub fn take_unsure(&mut self) -> impl Iterator<Item = u32> + use<> {
        std::mem::take(&mut self.tasks.unsure).into_iter()
    }

    /// For whom a call is made, by what else is known and by its task.
    pub(super) fn or_by_task(&mut self, made_for: MadeFor, piece: &Piece) -> MadeFor {
        let doubtful = match made_for {
            MadeFor::One(..) => false,
            MadeFor::Served(_) if piece.task == 0 => false,
            MadeFor::Several | MadeFor::Among | MadeFor::Served(_) => true,
            MadeFor::Nobody => self.threads.serves(piece.tgid),
            MadeFor::Task(_) => return made_for,
        };
        if !doubtful {
            return made_for;
        }
        if piece.task == 0 {
            self.tasks.unsure(piece.tgid);
            return made_for;
        }
        let without = match made_for {
            MadeFor::Nobody => Parent::Root,
            _ => Parent::Ambiguous,
        };
        MadeFor::Task(without)
    }

    /// Lets a task's call wait for what the task answers; the group that it waits in.
    pub(super) fn hold_task(&mut self, key: Key, piece: &Piece) -> Key {
        if !self.pending.has_room() || !self.tasks.tell(piece.tgid) {
            return Key::NONE;
        }
        let Some(task) = self.tasks.get((piece.tgid, piece.task), piece.began) else {
            return Key::NONE;
        };
        self.pending
            .join(&mut task.pending, key, piece.began, Patience::Task)
    }

    /// A task answers this request.
    pub(super) fn task_answers(
        &mut self,
        (slot, request): (Slot, Key),
        piece: &Piece,
        made_for: Option<&hand_over::MadeFor>,
        out: &mut Output,
    ) {
        if piece.task == 0 {
            return;
        }
        let Some(task) = self.tasks.get((piece.tgid, piece.task), piece.ended) else {
            return;
        };
        let group = std::mem::replace(&mut task.pending, Key::NONE);
        let before = std::mem::replace(&mut task.request, request);
        let connection = task.connection.replace(slot);
        // The one before isn't over, and waits on another connection.
        if before != request && connection != Some(slot) && self.exchanges.get(before).is_some() {
            self.tasks.mixes(piece.tgid, piece.ended);
        }
        if group == Key::NONE {
            return;
        }
        let sure = self.tasks.tell(piece.tgid);
        self.resolve(group, made_for.filter(|_| sure), out);
    }
}
