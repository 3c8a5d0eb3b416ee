//! The threads that may be lost. There are as many as are asked at the same time; who is
//! done waits for more, who doesn't come back is replaced. Nobody joins them: the end of
//! the process is theirs, too.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use observer_export::self_stats::SetAside;

use super::Unreadable;
use super::aside::{Aside, Subject, Verdict};
use super::patience::Patience;
use super::refusals::refused;
use super::token::Foreign;

/// How often an answer that isn't there yet is looked for elsewhere: in how long the
/// reader waited.
const LOOK: Duration = Duration::from_millis(25);

/// Log lines about what doesn't answer: so many in this time.
const LINES: u32 = 16;
const WINDOW: Duration = Duration::from_secs(60);

type Work = Box<dyn FnOnce(&Foreign) + Send>;

/// A thread that has nothing to do.
#[derive(Debug)]
struct Reader {
    work: mpsc::Sender<Work>,
    thread: i32,
}

/// All readers.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Vec<Reader>>,
    aside: Mutex<Aside>,
    unanswered: AtomicU64,
    told: Mutex<Told>,
}

/// What was logged lately.
#[derive(Debug)]
struct Told {
    /// When the window began.
    since: Option<Instant>,
    lines: u32,
    /// What was not said.
    unsaid: u64,
}

impl Told {
    /// Whether one more may be said now, with how much wasn't before.
    fn admits(&mut self, now: Instant) -> Option<u64> {
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= WINDOW)
        {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines >= LINES {
            self.unsaid += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Those of the process.
pub(super) static ALL: Readers = Readers::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that a reader is back, however it ends.
struct Back(Arc<AtomicBool>);

impl Drop for Back {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Reader {
    fn start() -> Option<Self> {
        let (work, received) = mpsc::channel::<Work>();
        let (thread, started) = mpsc::sync_channel(1);
        let spawned = std::thread::Builder::new()
            .name("observer-reader".into())
            .spawn(move || {
                // Who started it waits for this.
                let _ = thread.send(nix::unistd::gettid().as_raw());
                let foreign = Foreign::new();
                for work in received {
                    work(&foreign);
                }
            });
        if let Err(error) = spawned {
            tracing::warn!("there is no thread to look at processes: {error}");
            return None;
        }
        let thread = started.recv().ok()?;
        Some(Self { work, thread })
    }
}

impl Readers {
    const fn new() -> Self {
        Self {
            idle: Mutex::new(Vec::new()),
            aside: Mutex::new(Aside::new()),
            unanswered: AtomicU64::new(0),
            told: Mutex::new(Told {
                since: None,
                lines: 0,
                unsaid: 0,
            }),
        }
    }

    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    pub(super) fn set_aside(&self) -> Vec<SetAside> {
        lock(&self.aside).told()
    }

    /// See [`super::ask`].
    pub(super) fn ask<T: Send + 'static>(
        &self,
        subject: Subject,
        patience: Duration,
        work: impl FnOnce(&Foreign) -> T + Send + 'static,
    ) -> Result<T, Unreadable> {
        let asked = self
            .admit(subject)
            .and_then(|()| self.try_ask(subject, patience, work));
        // That it still doesn't answer is no news.
        if asked
            .as_ref()
            .is_err_and(|error| *error != Unreadable::Aside)
        {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        asked
    }

    fn admit(&self, subject: Subject) -> Result<(), Unreadable> {
        let mut aside = lock(&self.aside);
        if aside.is_empty() {
            return Ok(());
        }
        match aside.admits(subject, Instant::now(), || subject.owner()) {
            Verdict::Go => Ok(()),
            Verdict::Aside => Err(Unreadable::Aside),
            Verdict::Full => {
                drop(aside);
                full(subject);
                Err(Unreadable::Full)
            }
        }
    }

    fn try_ask<T: Send + 'static>(
        &self,
        subject: Subject,
        limit: Duration,
        work: impl FnOnce(&Foreign) -> T + Send + 'static,
    ) -> Result<T, Unreadable> {
        let idle = lock(&self.idle).pop();
        let reader = idle.or_else(Reader::start).ok_or(Unreadable::Failed)?;
        let (answer, answered) = mpsc::sync_channel(1);
        let is_back = Arc::new(AtomicBool::new(false));
        let back = Back(Arc::clone(&is_back));
        // Nearly all answers come before it is asked how long the reader waited.
        let mut patience = None;
        let work = Box::new(move |foreign: &Foreign| {
            let _back = back;
            // Nobody may wait for it any more.
            let _ = answer.send(work(foreign));
        });
        reader.work.send(work).map_err(|_| Unreadable::Failed)?;
        loop {
            match answered.recv_timeout(LOOK) {
                Ok(value) => {
                    lock(&self.idle).push(reader);
                    return Ok(value);
                }
                // It panicked, and said so itself.
                Err(RecvTimeoutError::Disconnected) => return Err(Unreadable::Failed),
                Err(RecvTimeoutError::Timeout) => {
                    let patience =
                        patience.get_or_insert_with(|| Patience::new(reader.thread, limit));
                    if patience.is_over() {
                        self.lose(subject, is_back);
                        return Err(Unreadable::Late);
                    }
                }
            }
        }
    }

    fn lose(&self, subject: Subject, is_back: Arc<AtomicBool>) {
        let now = Instant::now();
        let (owner, told) = (subject.owner(), subject.told());
        if !lock(&self.aside).lose(subject, owner, told, now, is_back) {
            return;
        }
        let Some(others) = lock(&self.told).admits(now) else {
            return;
        };
        let others = match others {
            0 => String::new(),
            others => format!(" (and {others} more that were not said)"),
        };
        tracing::warn!(
            "{} doesn't answer and is set aside: what is only to be learnt there is not known{others}",
            subject.describe()
        );
    }
}

/// Counts, and says, that `subject` isn't looked at since too many readers wait.
fn full(subject: Subject) {
    let tenant = subject.tenant();
    if refused("readers", &tenant) {
        tracing::warn!(
            "{} isn't looked at: too much else of {tenant}, or altogether, doesn't answer",
            subject.describe()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    const LONG: Duration = Duration::from_secs(60);

    /// Checks that who asks gets what was found, and the same thread works again.
    #[test]
    fn answers_come() {
        let readers = Readers::new();
        let ask = |n| {
            readers.ask(Subject::Process(n), LONG, move |_| {
                (n, std::thread::current().id())
            })
        };
        let (first, second) = (ask(1).expect("an answer"), ask(2).expect("an answer"));
        assert_eq!((first.0, second.0), (1, 2));
        assert_eq!(first.1, second.1);
        assert_eq!(readers.unanswered(), 0);
    }

    /// Checks that a reader that waits for ever keeps nobody waiting, that what it waits
    /// for is asked no more until it answers, and that others are.
    #[test]
    fn who_does_not_answer_is_left() {
        let readers = Readers::new();
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let subject = Subject::Process(7);
        let hangs = readers.ask(subject, Duration::from_millis(50), move |_| {
            reader.read(&mut [0])
        });
        assert_eq!(hangs.map(drop), Err(Unreadable::Late));
        assert_eq!(readers.ask(subject, LONG, |_| ()), Err(Unreadable::Aside));
        assert_eq!(readers.ask(Subject::Process(8), LONG, |_| ()), Ok(()));
        assert_eq!(readers.unanswered(), 1);
        drop(writer);
        let begin = Instant::now();
        while readers.ask(subject, LONG, |_| ()) == Err(Unreadable::Aside) {
            assert!(begin.elapsed() < LONG, "it answered");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Checks that what happens all the time isn't said all the time, but counted.
    #[test]
    fn lines_are_bounded() {
        let (readers, now) = (Readers::new(), Instant::now());
        let told = |now| lock(&readers.told).admits(now);
        for _ in 0..LINES {
            assert_eq!(told(now), Some(0));
        }
        assert_eq!(told(now), None);
        assert_eq!(told(now), None);
        assert_eq!(told(now + WINDOW), Some(2));
    }

    /// Checks that a reader that fails is no more than an answer that is missing.
    #[test]
    fn a_failure_is_no_answer() {
        let readers = Readers::new();
        let failed = readers.ask(Subject::Threads, LONG, |_| assert_eq!(1, 2, "on purpose"));
        assert_eq!(failed, Err(Unreadable::Failed));
        assert_eq!(readers.ask(Subject::Threads, LONG, |_| 3), Ok(3));
    }
}
