//! Which request a sampled thread link: asked for while somebody knows.
//!
//! The kernel half puts the number of a request into a sample's key. What the
//! number stands for is known to those who follow requests, from the request's
//! first bytes until a few seconds after its end; its route and duration only
//! at its end. A profile lasts longer than that. So the numbers are noted when
//! their first sample is told of, and asked for again and again until all is
//! known.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use observer_signals::RequestLink;

/// Says what a request's number stands for, as far as it is known yet.
pub type Resolve<'a> = dyn FnMut(u64) -> Option<RequestLink> + 'a;

/// How long to ask for a request that nobody knows, in nanoseconds: its bytes
/// may be on their way.
const PATIENCE: u64 = 2_000_000_000;

/// Requests noted at most: more than the kernel's tables hold samples.
const MAX_NOTED: usize = 1 << 17;

/// Profiles for which an answer is kept after it was last wanted.
const KEPT_FOR: u32 = 2;

/// What is known of the requests of recent samples.
#[derive(Debug, Default)]
pub struct RequestLinks {
    noted: FxHashMap<u64, Noted>,
    /// Those whose answer may still change.
    asking: Vec<u64>,
    interval: u32,
}

#[derive(Debug)]
struct Noted {
    /// When it was noted (ns).
    since: u64,
    /// The interval in which it was wanted last.
    wanted: u32,
    link: Option<Arc<RequestLink>>,
}

impl RequestLinks {
    /// A sample of this request was seen at `now` (ns, of any clock).
    pub fn note(&mut self, request: u64, now: u64) {
        if request == 0 {
            return;
        }
        if let Some(noted) = self.noted.get_mut(&request) {
            noted.wanted = self.interval;
            return;
        }
        if self.noted.len() < MAX_NOTED {
            let noted = Noted {
                since: now,
                wanted: self.interval,
                link: None,
            };
            self.noted.insert(request, noted);
            self.asking.push(request);
        }
    }

    /// Asks for all whose answer isn't complete.
    pub fn ask(&mut self, now: u64, resolve: &mut Resolve<'_>) {
        self.asking.retain(|request| {
            let Some(noted) = self.noted.get_mut(request) else {
                return false;
            };
            match resolve(*request) {
                Some(link) => {
                    let open = link.duration.is_none();
                    if noted.link.as_deref() != Some(&link) {
                        noted.link = Some(Arc::new(link));
                    }
                    open
                }
                // Known once, and forgotten: more won't come.
                None if noted.link.is_some() => false,
                None => now.saturating_sub(noted.since) < PATIENCE,
            }
        });
    }

    /// What is known of a request; asks if it wasn't noted.
    pub fn get(
        &mut self,
        request: u64,
        now: u64,
        resolve: &mut Resolve<'_>,
    ) -> Option<Arc<RequestLink>> {
        if request == 0 {
            return None;
        }
        if !self.noted.contains_key(&request) {
            self.note(request, now);
            let noted = self.noted.get_mut(&request)?;
            noted.link = resolve(request).map(Arc::new);
        }
        let noted = self.noted.get_mut(&request)?;
        noted.wanted = self.interval;
        noted.link.clone()
    }

    /// A profile was taken: lets go of what none has wanted for a while.
    pub fn end_interval(&mut self) {
        self.interval = self.interval.wrapping_add(1);
        let now = self.interval;
        let recent = |noted: &Noted| now.wrapping_sub(noted.wanted) <= KEPT_FOR;
        self.noted.retain(|_, noted| recent(noted));
        self.asking
            .retain(|request| self.noted.contains_key(request));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn link(duration: Option<u64>) -> RequestLink {
        RequestLink {
            trace_id: [1; 16],
            span_id: [2; 8],
            route: duration.map(|_| "/users/{id}".into()),
            duration,
            sampled: true,
        }
    }

    fn nobody(_request: u64) -> Option<RequestLink> {
        None
    }

    /// Checks that a request is asked for until it is over, that its last answer
    /// stays when nobody knows it any more, and that then nobody is asked.
    #[test]
    fn asks_until_all_is_known() {
        let mut links = RequestLinks::default();
        links.note(0, 0);
        links.note(5, 0);
        let answers = [None, Some(link(None)), Some(link(Some(7))), None];
        let mut asked = 0;
        for (n, answer) in answers.iter().enumerate() {
            links.ask(n as u64 * SECOND / 4, &mut |request| {
                assert_eq!(request, 5);
                asked += 1;
                answer.clone()
            });
            let known = links.get(5, 0, &mut nobody).map(|link| (*link).clone());
            assert_eq!(known, answers[n.min(2)]);
        }
        assert_eq!(asked, 3, "not after its end");
        assert_eq!(links.get(6, 0, &mut nobody), None);
        assert_eq!(links.get(0, 0, &mut nobody), None);
        let mut somebody = |_| Some(link(None));
        assert_eq!(
            links.get(7, 0, &mut somebody).as_deref(),
            Some(&link(None)),
            "where no stack told of it"
        );
    }

    /// Checks that nobody is asked for ever: neither for what nobody knows, nor
    /// for what was forgotten before its end.
    #[test]
    fn gives_up() {
        let mut links = RequestLinks::default();
        links.note(1, 0);
        links.note(2, 0);
        let mut asked = Vec::new();
        for time in 0..10 {
            links.ask(time * SECOND, &mut |request| {
                asked.push((time, request));
                (request == 2 && time == 0).then(|| link(None))
            });
        }
        assert_eq!(asked, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]);
        assert!(links.get(2, 0, &mut nobody).is_some());
        assert!(links.get(1, 0, &mut nobody).is_none());
    }

    /// Checks that what no sample wants any more is let go of, and that memory
    /// is bounded.
    #[test]
    fn forgets() {
        let mut links = RequestLinks::default();
        for request in 1..=2 * MAX_NOTED as u64 {
            links.note(request, 0);
        }
        assert_eq!(links.noted.len(), MAX_NOTED);
        links.ask(0, &mut |_| Some(link(None)));
        for _ in 0..=KEPT_FOR {
            assert!(links.get(1, 0, &mut nobody).is_some());
            links.end_interval();
        }
        assert_eq!(links.noted.len(), 1);
        assert_eq!(links.asking, [1]);
        for _ in 0..=KEPT_FOR {
            links.end_interval();
        }
        assert!(links.noted.is_empty() && links.asking.is_empty());
    }
}
