//! Descriptors of processes against their limit: some of a cgroup's processes in turn, and
//! always the one that was nearest.

use super::cgroup::Use;
use crate::foreign::{Foreign, process};

/// Processes that are looked at in a round, beside the nearest.
const IN_TURN: usize = 4;

/// Where the turn is.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    next: usize,
    nearest: Option<u32>,
}

impl Descriptors {
    /// Looks at some of these processes; what the nearest to its limit has.
    pub(super) fn look(&mut self, foreign: &Foreign, members: &[u32]) -> Option<Use> {
        let begin = if self.next < members.len() {
            self.next
        } else {
            0
        };
        self.next = begin + IN_TURN;
        let in_turn = members.iter().copied().skip(begin).take(IN_TURN);
        let nearest = self.nearest.filter(|pid| members.contains(pid));
        let looked_at = in_turn.chain(nearest).filter_map(|pid| {
            let used = process::descriptors(foreign, pid)?;
            let most = process::descriptor_limit(foreign, pid)?;
            Some((pid, Use { used, most }))
        });
        let share = |found: &Use| found.used as f64 / found.most.max(1) as f64;
        let found = looked_at.max_by(|(_, a), (_, b)| share(a).total_cmp(&share(b)))?;
        self.nearest = Some(found.0);
        Some(found.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::{A_WHILE, Subject, ask};
    use std::fs;

    /// Checks that this process's descriptors are those that it opened, against its own
    /// limit, also when others have their turn.
    #[test]
    fn the_nearest_is_found() {
        let own = std::process::id();
        let mut descriptors = Descriptors::default();
        let mut look = |members: Vec<u32>| {
            let mut state = std::mem::take(&mut descriptors);
            let looked = ask(Subject::Cgroups, A_WHILE, move |foreign| {
                let found = state.look(foreign, &members);
                (found, state)
            });
            let (found, state) = looked.expect("an answer");
            descriptors = state;
            found.expect("a process")
        };
        let before = look(vec![own]).used;
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/stat")).collect();
        let many: Vec<u32> = [own].into_iter().chain([u32::MAX; 20]).collect();
        assert!(look(many.clone()).used >= before + 40);
        let later = look(many);
        assert!(later.used >= before + 40);
        let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .expect("a limit");
        assert_eq!(later.most, soft);
        drop(files);
    }
}
