//! What doesn't answer, and for how many of whom readers may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use observer_export::self_stats::SetAside;

use super::tenant::Tenant;

/// Readers that may be lost at once to what is of one kind: each costs the memory of a
/// thread.
const MOST: usize = 16;

/// The same for what belongs to one user. (Root can keep Observer from its work in other
/// ways.)
const MOST_OF_ONE: usize = 4;
const ROOT: u32 = 0;

/// So long a lost reader counts, also if it came back: who lets readers go again and
/// again keeps others waiting no longer than who doesn't.
const COUNTS: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A process, by its id.
    Process(u32),
    /// Files in the root directory of a process.
    Root(u32),
    /// The file system on a device, by major and minor number.
    Device(u32, u32),
    /// All threads of the host, in the kernel half's iterator.
    Threads,
    /// The kernel's figures of the host.
    Figures,
    /// Files of cgroups.
    Cgroups,
}

impl Subject {
    /// Whose it is, as far as it is one user's: a user's id.
    pub(super) fn owner(self) -> Option<u32> {
        match self {
            Self::Process(pid) | Self::Root(pid) => super::process::user(pid),
            Self::Device(..) | Self::Threads | Self::Figures | Self::Cgroups => None,
        }
    }

    /// What metrics say of it.
    pub(super) fn told(self) -> SetAside {
        SetAside {
            kind: self.kind(),
            tenant: self.tenant(),
            comm: self.comm(),
        }
    }

    /// Its kind, as a metric's attribute.
    fn kind(self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::Root(_) => "root",
            Self::Device(..) => "device",
            Self::Threads => "threads",
            Self::Figures => "figures",
            Self::Cgroups => "cgroups",
        }
    }

    /// Whose it is, for people.
    pub(super) fn tenant(self) -> String {
        match self {
            Self::Process(pid) | Self::Root(pid) => Tenant::of(pid).to_string(),
            Self::Device(major, minor) => format!("device {major}:{minor}"),
            Self::Threads | Self::Figures | Self::Cgroups => "the host".to_owned(),
        }
    }

    /// Its process, by name; of what is nobody's nothing.
    fn comm(self) -> String {
        let comm = match self {
            Self::Process(pid) | Self::Root(pid) => super::process::comm(pid),
            Self::Device(..) | Self::Threads | Self::Figures | Self::Cgroups => None,
        };
        comm.map_or_else(String::new, |comm| {
            comm.trim_ascii_end().escape_ascii().to_string()
        })
    }

    /// Whether it is of the same kind.
    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// For people.
    pub(super) fn describe(self) -> String {
        let process = |pid| {
            let (comm, tenant) = (self.comm(), self.tenant());
            format!("process {pid} ({comm}) of {tenant}")
        };
        match self {
            Self::Process(pid) => process(pid),
            Self::Root(pid) => format!("a file system of {}", process(pid)),
            Self::Device(major, minor) => format!("the file system on device {major}:{minor}"),
            Self::Threads => "a thread that is off CPU".to_owned(),
            Self::Figures => "what /proc says of the host".to_owned(),
            Self::Cgroups => "what the kernel says of cgroups".to_owned(),
        }
    }
}

/// A reader that doesn't come back.
#[derive(Debug)]
struct Lost {
    subject: Subject,
    owner: Option<u32>,
    /// What is said of it in metrics.
    told: SetAside,
    since: Instant,
    /// It did.
    is_back: Arc<AtomicBool>,
}

/// All readers that were lost lately.
#[derive(Debug, Default)]
pub(super) struct Aside(Vec<Lost>);

/// Whether a reader may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may.
    Go,
    /// One waits for the same already.
    Aside,
    /// Too many wait.
    Full,
}

impl Aside {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether a reader may be sent to `subject`; `owner` says whose it is, and is only
    /// asked if that matters.
    pub(super) fn admits(
        &mut self,
        subject: Subject,
        now: Instant,
        owner: impl FnOnce() -> Option<u32>,
    ) -> Verdict {
        let counts = |lost: &Lost| {
            !lost.is_back.load(Ordering::Acquire) || now.duration_since(lost.since) < COUNTS
        };
        self.0.retain(counts);
        let waits = |lost: &&Lost| !lost.is_back.load(Ordering::Acquire);
        let mut waiting = self.0.iter().filter(waits);
        if waiting.any(|lost| lost.subject == subject) {
            return Verdict::Aside;
        }
        let alike = || self.0.iter().filter(|lost| lost.subject.is_like(subject));
        if alike().filter(waits).count() >= MOST {
            return Verdict::Full;
        }
        let of = |owner| alike().filter(|lost| lost.owner == Some(owner)).count();
        if alike().count() >= MOST_OF_ONE
            && let Some(owner) = owner().filter(|owner| *owner != ROOT)
            && of(owner) >= MOST_OF_ONE
        {
            return Verdict::Full;
        }
        Verdict::Go
    }

    /// A reader was lost to `subject`; `is_back` will say when it isn't any more. Returns
    /// whether it is the first.
    pub(super) fn lose(
        &mut self,
        subject: Subject,
        owner: Option<u32>,
        told: SetAside,
        since: Instant,
        is_back: Arc<AtomicBool>,
    ) -> bool {
        let is_first = self.0.iter().all(|lost| lost.subject != subject);
        self.0.push(Lost {
            subject,
            owner,
            told,
            since,
            is_back,
        });
        is_first
    }

    /// What readers wait for now.
    pub(super) fn told(&self) -> Vec<SetAside> {
        let waits = |lost: &&Lost| !lost.is_back.load(Ordering::Acquire);
        let waiting = self.0.iter().filter(waits);
        waiting.map(|lost| lost.told.clone()).collect()
    }

    /// Whether none was lost lately.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lose(aside: &mut Aside, pid: u32, user: u32, now: Instant) -> Arc<AtomicBool> {
        let is_back = Arc::new(AtomicBool::new(false));
        let (subject, back) = (Subject::Process(pid), is_back.clone());
        aside.lose(subject, Some(user), subject.told(), now, back);
        is_back
    }

    /// Checks that what doesn't answer isn't asked again until it does, and that others
    /// are.
    #[test]
    fn who_hangs_is_set_aside() {
        let (mut aside, now) = (Aside::new(), Instant::now());
        let is_back = lose(&mut aside, 7, 1000, now);
        let mut ask = |pid| aside.admits(Subject::Process(pid), now, || Some(1000));
        assert_eq!(ask(7), Verdict::Aside);
        assert_eq!(ask(8), Verdict::Go);
        assert_eq!(aside.told().len(), 1);
        assert_eq!(aside.told().first().map(|told| told.kind), Some("process"));
        is_back.store(true, Ordering::Release);
        assert_eq!(aside.told(), []);
        let asked = aside.admits(Subject::Process(7), now, || Some(1000));
        assert_eq!(asked, Verdict::Go);
    }

    /// Checks that one user's processes take a few readers only, also one after the
    /// other; that others' are asked all the same; and that there is an end to it.
    #[test]
    fn one_user_takes_a_few() {
        let (mut aside, now) = (Aside::new(), Instant::now());
        for pid in 0..MOST_OF_ONE as u32 {
            lose(&mut aside, pid, 1000, now).store(true, Ordering::Release);
        }
        let new = Subject::Process(99);
        let mut ask = |user, now| aside.admits(new, now, || Some(user));
        assert_eq!(ask(1000, now), Verdict::Full);
        assert_eq!(ask(1001, now), Verdict::Go);
        assert_eq!(ask(1000, now + COUNTS), Verdict::Go);
        for pid in 0..MOST as u32 {
            lose(&mut aside, 100 + pid, pid, now);
        }
        assert_eq!(aside.admits(new, now + COUNTS, || Some(0)), Verdict::Full);
        let file = Subject::Device(8, 1);
        assert_eq!(aside.admits(file, now + COUNTS, || None), Verdict::Go);
    }
}
