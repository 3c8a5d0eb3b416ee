//! Numbers of programs: what the kernel half is told in place of an identity.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_common::workload::{ProgramId, WorkloadKey};
use observer_identity::ProgramIdentity;

/// A number that no workload has is forgotten after this time. (A process that is told of
/// it may not have run since.)
const KEPT: Duration = Duration::from_secs(60);

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
}

#[derive(Debug)]
struct Numbered {
    program: ProgramId,
    used: Instant,
}

impl Programs {
    /// The number of an identity.
    pub fn number(&mut self, identity: &Arc<ProgramIdentity>) -> ProgramId {
        let now = Instant::now();
        if let Some(known) = self.by_identity.get_mut(identity) {
            known.used = now;
            return known.program;
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

    /// Forgets those that no workload has any more.
    pub fn prune(&mut self, now: Instant) {
        self.names
            .retain(|_, (since, _)| now.saturating_duration_since(*since) <= SOON);
        let by_number = &mut self.by_number;
        self.by_identity.retain(|identity, known| {
            // This map and the other one hold it.
            let is_kept =
                Arc::strong_count(identity) > 2 || now.saturating_duration_since(known.used) < KEPT;
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
