//! Numbers of programs: what the kernel half is told in place of an identity.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_common::workload::{NO_PROGRAM, ProgramId, WorkloadKey};
use observer_identity::ProgramIdentity;

/// A number that no workload has is forgotten after this time. (A process that is told of
/// it may not have run since.)
const KEPT: Duration = Duration::from_secs(60);

/// So many identities have a number, at most: what processes say of themselves, and so
/// its size, is theirs to choose.
const MOST: usize = 2048;

/// If more programs than this come by one name in one cgroup ...
const MANY: u32 = 4;

/// ... in this time, their name is nobody's: it would cost too much to give each a
/// workload from its first moment on.
const SOON: Duration = Duration::from_secs(10);

/// Which identity has which number. None is given twice.
#[derive(Debug, Default)]
pub struct Programs {
    /// How many programs came by a name, since when.
    names: HashMap<WorkloadKey, (Instant, u32)>,
    by_identity: HashMap<Arc<ProgramIdentity>, Numbered>,
    by_number: HashMap<ProgramId, Arc<ProgramIdentity>>,
    last: u32,
    refused: u64,
}

#[derive(Debug)]
struct Numbered {
    program: ProgramId,
    used: Instant,
}

impl Programs {
    /// The number of an identity; [`NO_PROGRAM`] if too many have one.
    pub fn number(&mut self, identity: &Arc<ProgramIdentity>) -> ProgramId {
        let now = Instant::now();
        if let Some(known) = self.by_identity.get_mut(identity) {
            known.used = now;
            return known.program;
        }
        if self.by_identity.len() >= MOST {
            self.forget_unused(now, Duration::ZERO);
        }
        if self.by_identity.len() >= MOST {
            self.refused += 1;
            return NO_PROGRAM;
        }
        self.last += 1;
        let program = ProgramId(self.last);
        let numbered = Numbered { program, used: now };
        self.by_identity.insert(Arc::clone(identity), numbered);
        self.by_number.insert(program, Arc::clone(identity));
        program
    }

    /// A program came by this name: whether too many do.
    pub fn is_busy(&mut self, name: &WorkloadKey, now: Instant) -> bool {
        let (since, count) = self.names.entry(*name).or_insert((now, 0));
        if now.saturating_duration_since(*since) > SOON {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count > MANY
    }

    /// What has a number.
    pub fn identity(&self, program: ProgramId) -> Option<Arc<ProgramIdentity>> {
        self.by_number.get(&program).cloned()
    }

    /// How often an identity got no number.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Forgets those that no workload has any more.
    pub fn prune(&mut self, now: Instant) {
        self.names
            .retain(|_, (since, _)| now.saturating_duration_since(*since) <= SOON);
        self.forget_unused(now, KEPT);
    }

    fn forget_unused(&mut self, now: Instant, kept: Duration) {
        let by_number = &mut self.by_number;
        self.by_identity.retain(|identity, known| {
            // This map and the other one hold it.
            let is_kept =
                Arc::strong_count(identity) > 2 || now.saturating_duration_since(known.used) < kept;
            if !is_kept {
                by_number.remove(&known.program);
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use observer_identity::Source;

    use super::*;

    fn identity(name: &str) -> Arc<ProgramIdentity> {
        Arc::new(ProgramIdentity {
            service_name: name.to_owned(),
            source: Source::Script,
            attributes: Vec::new(),
            is_weak: false,
        })
    }

    /// Checks that who makes up identities takes no more room than there is, and that what
    /// is in use keeps its number meanwhile.
    #[test]
    fn numbers_are_bounded() {
        let mut programs = Programs::default();
        let held: Vec<_> = (0..MOST - 1).map(|n| identity(&n.to_string())).collect();
        let numbers: Vec<_> = held.iter().map(|one| programs.number(one)).collect();
        for n in 0..1000 {
            let number = programs.number(&identity(&format!("made up {n}")));
            assert_ne!(number, NO_PROGRAM, "another one made room");
        }
        let last = identity("last");
        assert_ne!(programs.number(&last), NO_PROGRAM);
        assert_eq!(programs.number(&identity("none")), NO_PROGRAM);
        assert_eq!(programs.refused(), 1);
        let again: Vec<_> = held.iter().map(|one| programs.number(one)).collect();
        assert_eq!(again, numbers);
    }

    /// Checks that a name by which many programs come is nobody's until they cease.
    #[test]
    fn busy_names() {
        let now = Instant::now();
        let mut programs = Programs::default();
        let (a, b) = (
            WorkloadKey::default(),
            WorkloadKey {
                cgroup_v2: 1,
                ..WorkloadKey::default()
            },
        );
        for _ in 0..MANY {
            assert!(!programs.is_busy(&a, now));
        }
        assert!(programs.is_busy(&a, now) && !programs.is_busy(&b, now));
        let later = now + SOON + Duration::from_millis(1);
        assert!(!programs.is_busy(&a, later));
        programs.prune(later + SOON * 2);
        assert!(programs.names.is_empty());
    }

    /// Checks that equal identities have one number, and that a number that is forgotten
    /// isn't given again.
    #[test]
    fn numbers() {
        let mut programs = Programs::default();
        let (a, b) = (identity("a"), identity("b"));
        let number = programs.number(&a);
        assert_eq!(programs.number(&identity("a")), number);
        assert_ne!(programs.number(&b), number);
        assert_eq!(programs.identity(number), Some(Arc::clone(&a)));
        drop(b);
        let later = Instant::now() + KEPT;
        programs.prune(later);
        assert_eq!(programs.identity(number), Some(Arc::clone(&a)), "in use");
        drop(a);
        programs.prune(later);
        assert_eq!(programs.identity(number), None);
        assert_eq!(programs.number(&identity("a")), ProgramId(3));
    }
}
