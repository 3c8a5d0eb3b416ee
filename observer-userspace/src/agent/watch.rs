//! Who looks whether the agent's loop goes on: a thread that does nothing else. A loop
//! that stands can't say so itself, and to everybody else it looks like a host on which
//! nothing happens.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::logging;
use crate::sinks::Standing;

/// Less than this is no standstill, however short intervals are.
const LEAST: Duration = Duration::from_secs(2);

/// How often the loop is looked at in the time that it may stand.
const LOOKS: u32 = 2;

/// What the loop is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doing {
    /// Nothing of its own: exporters' tasks have their turn.
    Waiting,
    /// Takes records.
    Draining,
    /// Ends an interval.
    Ticking,
    /// Ends a profile.
    Profiling,
    /// Hands a profile on.
    Exporting,
    /// Keeps to the budget.
    Governing,
    /// Looks whether families see.
    Looking,
    /// Ends.
    Ending,
}

const ALL: [(Doing, &str); 8] = [
    (Doing::Waiting, "exporters had their turn"),
    (Doing::Draining, "it took records"),
    (Doing::Ticking, "it ended an interval"),
    (Doing::Profiling, "it ended a profile"),
    (Doing::Exporting, "it handed a profile on"),
    (Doing::Governing, "it looked after the budget"),
    (Doing::Looking, "it looked whether families see"),
    (Doing::Ending, "it ended"),
];

/// When it begins to be too long.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// That is said.
    say: Duration,
    /// The daemon ends.
    exit: Option<Duration>,
}

/// What comes of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Goes,
    Stands,
    GoesOn,
    Exit,
}

/// What loop and thread share.
#[derive(Debug)]
struct Shared {
    begin: Instant,
    /// A standstill of so long is one.
    say: Duration,
    /// Milliseconds from the beginning to when the loop began what it is doing.
    stamp: AtomicU64,
    doing: AtomicU8,
    /// By when the daemon must have ended, if it is to.
    end: Mutex<Option<Instant>>,
    told: Condvar,
}

impl Shared {
    /// For how long the loop has been at what it is doing.
    fn stands(&self) -> Duration {
        let stamp = Duration::from_millis(self.stamp.load(Ordering::Relaxed));
        self.begin.elapsed().saturating_sub(stamp)
    }

    fn doing(&self) -> &'static str {
        let doing = self.doing.load(Ordering::Relaxed);
        let doing = ALL.iter().find(|(known, _)| *known as u8 == doing);
        doing.map_or("", |(_, text)| text)
    }
}

/// The loop's side of it.
#[derive(Debug)]
pub(super) struct Watch(Arc<Shared>);

impl Watch {
    /// Starts the thread: a standstill of `interval` is said, one of `exit` ends the
    /// daemon.
    pub(super) fn start(interval: Duration, exit: Option<Duration>) -> Self {
        let say = interval.max(LEAST);
        let shared = Arc::new(Shared {
            begin: Instant::now(),
            say,
            stamp: AtomicU64::new(0),
            doing: AtomicU8::new(Doing::Waiting as u8),
            end: Mutex::new(None),
            told: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let spawned = std::thread::Builder::new()
            .name("observer-watch".into())
            .spawn(move || watch(&theirs, Limits { say, exit }));
        if let Err(error) = spawned {
            tracing::warn!("nobody looks whether the daemon goes on: no thread: {error}");
        }
        Self(shared)
    }

    /// The loop goes on, with this.
    pub(super) fn begins(&self, doing: Doing) {
        let passed = self.0.begin.elapsed().as_millis();
        self.0.stamp.store(passed as u64, Ordering::Relaxed);
        self.0.doing.store(doing as u8, Ordering::Relaxed);
    }

    /// Says from any thread why the loop stands, if it does.
    pub(super) fn standing(&self) -> Standing {
        let shared = Arc::clone(&self.0);
        Arc::new(move || {
            let stands = shared.stands();
            (stands > shared.say).then(|| standing(shared.doing(), stands))
        })
    }

    /// The daemon is to end within this time, whatever stands then.
    pub(super) fn ends_within(&self, limit: Duration) {
        self.begins(Doing::Ending);
        let mut end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end = Some(Instant::now() + limit);
        self.0.told.notify_all();
    }
}

/// The thread's work, for as long as the process is there.
fn watch(shared: &Shared, limits: Limits) {
    let pause = limits.exit.map_or(limits.say, |exit| exit.min(limits.say)) / LOOKS;
    let mut stood = false;
    let mut end = shared.end.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let now = Instant::now();
        let left = end.map_or(pause, |end| end.saturating_duration_since(now));
        let woken = shared
            .told
            .wait_timeout(end, left.max(Duration::from_millis(1)));
        (end, _) = woken.unwrap_or_else(PoisonError::into_inner);
        let (stands, doing) = (shared.stands(), shared.doing());
        if end.is_some_and(|end| Instant::now() >= end) {
            tracing::error!(
                "the daemon didn't end in time and is ended ({})",
                standing(doing, stands)
            );
            logging::flush(logging::AT_END);
            std::process::exit(1);
        }
        match judge(stands, stood, limits) {
            Verdict::Goes => {}
            Verdict::Stands => {
                stood = true;
                tracing::error!(
                    "nothing is observed or exported: {}",
                    standing(doing, stands)
                );
            }
            Verdict::GoesOn => {
                stood = false;
                tracing::warn!("the daemon's loop goes on");
            }
            Verdict::Exit => {
                tracing::error!(
                    "{}: the daemon ends, as its stall-limit says",
                    standing(doing, stands)
                );
                logging::flush(logging::AT_END);
                std::process::exit(1);
            }
        }
    }
}

fn standing(doing: &str, stands: Duration) -> String {
    format!(
        "the daemon's loop has stood for {} s; last {doing}",
        stands.as_secs()
    )
}

fn judge(stands: Duration, stood: bool, limits: Limits) -> Verdict {
    if limits.exit.is_some_and(|exit| stands > exit) {
        return Verdict::Exit;
    }
    match (stands > limits.say, stood) {
        (true, false) => Verdict::Stands,
        (false, true) => Verdict::GoesOn,
        _ => Verdict::Goes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a standstill is said once, its end likewise, and that the daemon ends
    /// only where that is wanted.
    #[test]
    fn a_standstill_is_said_once() {
        let seconds = Duration::from_secs;
        let mut limits = Limits {
            say: seconds(10),
            exit: None,
        };
        assert_eq!(judge(seconds(10), false, limits), Verdict::Goes);
        assert_eq!(judge(seconds(11), false, limits), Verdict::Stands);
        assert_eq!(judge(seconds(1000), true, limits), Verdict::Goes);
        assert_eq!(judge(seconds(1), true, limits), Verdict::GoesOn);
        limits.exit = Some(seconds(5));
        assert_eq!(judge(seconds(5), false, limits), Verdict::Goes);
        assert_eq!(judge(seconds(6), false, limits), Verdict::Exit);
    }

    /// Checks that all that the loop does has its words.
    #[test]
    fn all_doings_have_words() {
        for (place, (doing, text)) in ALL.iter().enumerate() {
            assert_eq!(*doing as usize, place);
            assert!(!text.is_empty());
        }
    }
}
