//! When to look at a process that began a program: its libraries are mapped a
//! little later, by the dynamic linker or by the program itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long after its beginning each look is.
const DELAYS: [Duration; 3] = [
    Duration::from_millis(10),
    Duration::from_millis(150),
    Duration::from_secs(2),
];

/// Processes that wait for each of their looks.
const MAX_WAITING: usize = 1024;

/// Looks in a second; a machine that starts programs faster is scanned whole
/// instead, which costs the same however many there were.
const MAX_RATE: u32 = 100;

/// How often all processes are looked at: what they loaded in the meantime (by
/// dlopen) is found, and what is no longer used let go.
const SCAN_PERIOD: Duration = Duration::from_secs(30);

/// How soon after one scan another may be, if looks were left out.
const SCAN_PAUSE: Duration = Duration::from_secs(3);

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Look at this process.
    At(u32),
    /// Look at all processes.
    AtAll,
}

/// The looks that are due.
#[derive(Debug)]
pub struct Looks {
    /// Since each delay is the same for all, each queue is sorted.
    waiting: [VecDeque<(Instant, u32)>; DELAYS.len()],
    second: Instant,
    in_second: u32,
    scanned: Instant,
    left_out: bool,
}

impl Looks {
    /// Nothing is due; all processes were looked at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            waiting: Default::default(),
            second: now,
            in_second: 0,
            scanned: now,
            left_out: false,
        }
    }

    /// The process began a program.
    pub fn executed(&mut self, tgid: u32, now: Instant) {
        self.wait(0, tgid, now);
    }

    /// Some processes that did couldn't be told of.
    pub fn missed(&mut self) {
        self.left_out = true;
    }

    fn wait(&mut self, number: usize, tgid: u32, began: Instant) {
        let Some((queue, delay)) = self.waiting.get_mut(number).zip(DELAYS.get(number)) else {
            return;
        };
        if queue.len() >= MAX_WAITING {
            self.left_out = true;
            return;
        }
        queue.push_back((began + *delay, tgid));
    }

    /// The process that was to be looked at last had ended: that cost nothing, and it isn't
    /// looked at again.
    pub fn was_gone(&mut self, tgid: u32) {
        self.in_second = self.in_second.saturating_sub(1);
        for queue in &mut self.waiting {
            if queue.back().is_some_and(|(_, last)| *last == tgid) {
                queue.pop_back();
            }
        }
    }

    /// How long there is nothing to do.
    pub fn idle(&self, now: Instant) -> Duration {
        let pause = if self.left_out {
            SCAN_PAUSE
        } else {
            SCAN_PERIOD
        };
        let looks = self.waiting.iter().filter_map(|queue| queue.front());
        let due = looks.map(|(due, _)| *due).chain([self.scanned + pause]);
        due.min()
            .map_or(pause, |due| due.saturating_duration_since(now))
    }

    /// The next thing that is due.
    pub fn next(&mut self, now: Instant) -> Option<Look> {
        let pause = if self.left_out {
            SCAN_PAUSE
        } else {
            SCAN_PERIOD
        };
        if now >= self.scanned + pause {
            self.scanned = now;
            self.left_out = false;
            return Some(Look::AtAll);
        }
        if now >= self.second + Duration::from_secs(1) {
            self.second = now;
            self.in_second = 0;
        }
        for (number, delay) in DELAYS.into_iter().enumerate() {
            let is_due = |(due, _): &mut (Instant, u32)| *due <= now;
            while let Some(queue) = self.waiting.get_mut(number)
                && let Some((due, tgid)) = queue.pop_front_if(is_due)
            {
                self.wait(number + 1, tgid, due - delay);
                if self.in_second >= MAX_RATE {
                    self.left_out = true;
                    continue;
                }
                self.in_second += 1;
                return Some(Look::At(tgid));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a process is looked at three times, each when it is due.
    #[test]
    fn three_looks() {
        let start = Instant::now();
        let mut looks = Looks::new(start);
        looks.executed(7, start);
        let mut at = Vec::new();
        let mut now = start;
        for _ in 0..DELAYS.len() {
            assert_eq!(looks.next(now), None);
            now += looks.idle(now);
            assert_eq!(looks.next(now), Some(Look::At(7)));
            at.push(now - start);
        }
        assert_eq!(at, DELAYS);
        now += looks.idle(now);
        assert_eq!(now - start, SCAN_PERIOD);
        assert_eq!(looks.next(now), Some(Look::AtAll));
        assert_eq!(looks.next(now), None);
    }

    /// Checks that programs that have ended when they are looked at, however many, leave
    /// others their looks.
    #[test]
    fn the_gone_take_nobodys_look() {
        let start = Instant::now();
        let mut looks = Looks::new(start);
        for tgid in 0..500 {
            looks.executed(tgid, start);
        }
        looks.executed(1000, start);
        let now = start + DELAYS[0];
        let mut seen = 0;
        while let Some(Look::At(tgid)) = looks.next(now) {
            seen += 1;
            if tgid != 1000 {
                looks.was_gone(tgid);
            }
        }
        assert_eq!(seen, 501);
        assert_eq!(looks.next(start + DELAYS[1]), Some(Look::At(1000)));
        assert_eq!(looks.next(start + DELAYS[1]), None);
        assert_eq!(looks.next(start + SCAN_PAUSE), Some(Look::At(1000)));
        assert_eq!(looks.next(start + SCAN_PAUSE), None, "none was left out");
    }

    /// Checks that of too many programs only so many are looked at each second,
    /// and that all processes are looked at soon instead.
    #[test]
    fn floods_end_in_a_scan() {
        let start = Instant::now();
        let mut looks = Looks::new(start);
        for tgid in 0..10_000 {
            looks.executed(tgid, start);
        }
        let now = start + Duration::from_millis(500);
        let mut count = 0;
        while let Some(look) = looks.next(now) {
            assert!(matches!(look, Look::At(_)));
            count += 1;
        }
        assert_eq!(count, MAX_RATE);
        assert_eq!(looks.next(start + SCAN_PAUSE), Some(Look::AtAll));
    }
}
