//! When to look for tasks in a process: pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// After so long a process of which more is asked is looked at again; each time later, up
/// to the last.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// Processes that are remembered.
const MOST: usize = 4096;

/// Those that were looked at.
#[derive(Debug, Default)]
pub struct Looks {
    /// When last, and how often.
    looked: HashMap<u32, (Instant, usize)>,
}

impl Looks {
    /// Something is to be known of a process: whether to look at it now.
    pub fn wants(&mut self, tgid: u32, now: Instant) -> bool {
        if self.looked.len() >= MOST && !self.looked.contains_key(&tgid) {
            let recent = |(at, _): &(Instant, usize)| now.duration_since(*at) < PAUSES[3];
            self.looked.retain(|_, looked| recent(looked));
            if self.looked.len() >= MOST {
                return false;
            }
        }
        let Some((at, times)) = self.looked.get_mut(&tgid) else {
            self.looked.insert(tgid, (now, 0));
            return true;
        };
        let pause = PAUSES.get(*times).unwrap_or(&PAUSES[3]);
        if now.duration_since(*at) < *pause {
            return false;
        }
        (*at, *times) = (now, *times + 1);
        true
    }

    /// A process began another program.
    pub fn executed(&mut self, tgid: u32) {
        self.looked.remove(&tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a process is looked at at once, less and less often, and anew when it
    /// begins another program; and that there is a limit.
    #[test]
    fn less_and_less() {
        let (start, mut looks) = (Instant::now(), Looks::default());
        let at = |ms| start + Duration::from_millis(ms);
        let times: Vec<u64> = (0..200_000)
            .step_by(100)
            .filter(|ms| looks.wants(7, at(*ms)))
            .collect();
        assert_eq!(times, [0, 500, 2500, 12_500, 72_500, 132_500, 192_500]);
        looks.executed(7);
        assert!(looks.wants(7, at(192_600)));
        let more = (8..)
            .take(MOST)
            .filter(|tgid| looks.wants(*tgid, at(192_700)));
        assert_eq!(more.count(), MOST - 1);
        assert!(looks.wants(9_999, at(400_000)), "the others are forgotten");
    }
}
