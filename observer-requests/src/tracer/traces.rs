//! Spans of traces that aren't kept so far: should one of the trace fail or be
//! slow, those before it are kept with it.
//!
//! A trace that began on this host is over when none of its exchanges is open
//! any more: nothing can join it then. So what waits are mostly the few
//! requests under way.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::output::Output;
use super::slab::{Key, Slab};
use crate::Finished;

/// A trace's id.
pub type Trace = [u8; 16];

/// A span that waits.
#[derive(Debug)]
struct Waiting {
    place: Place,
    /// The kernel half's number of the request.
    request: u64,
    /// The one before it in its trace; see [`Undecided::spans`].
    before: Option<u64>,
}

/// Where it is.
#[derive(Debug)]
enum Place {
    /// In the output that the caller has or gets: its index.
    Output(usize),
    /// Here.
    Here(Box<Finished>),
    /// Gone: dropped, or kept.
    Gone,
}

/// What is known of an undecided trace.
#[derive(Debug, Default)]
struct State {
    /// Of one that a caller on another host began, which may send more of it.
    remote: Option<Trace>,
    /// Its exchanges that aren't decided on.
    open: u32,
    /// The last of its spans that wait.
    last: Option<u64>,
    /// Something went wrong in it: all that is yet to come is kept.
    kept: bool,
    /// Whether it is in [`Undecided::over`].
    over: bool,
}

/// Spans that wait for the end of their trace on this host, and the traces that
/// are kept though they weren't to be.
#[derive(Debug, Default)]
pub struct Undecided {
    traces: Slab<State>,
    /// Those that callers on other hosts began.
    remote: FxHashMap<Trace, Key>,
    /// In order of their end; numbered from `first` on.
    spans: VecDeque<Waiting>,
    first: u64,
    /// From here on they are in the output.
    in_output: u64,
    /// Traces whose root is over though they aren't, and when that was.
    over: VecDeque<(u64, Key)>,
    /// Spans that were dropped since there were too many.
    pub dropped: u64,
}

/// Spans that may wait.
const MAX_SPANS: usize = 16_384;
/// Traces whose root is over that may be known.
const MAX_TRACES: usize = 65_536;
/// After a trace's root is over, its other spans may take so long to end (ns):
/// the other end's last call may return later.
const GRACE: u64 = 100_000_000;

impl Undecided {
    /// A trace that begins here, without any exchange so far.
    pub fn begin(&mut self) -> Key {
        self.traces.insert(State::default())
    }

    /// The trace that a caller on another host began.
    pub fn remote(&mut self, trace: Trace) -> Key {
        if let Some(key) = self.remote.get(&trace) {
            return *key;
        }
        let key = self.traces.insert(State {
            remote: Some(trace),
            ..State::default()
        });
        self.remote.insert(trace, key);
        key
    }

    /// An exchange belongs to a trace from now on.
    pub fn join(&mut self, trace: Key) {
        if let Some(state) = self.traces.get_mut(trace) {
            state.open += 1;
        }
    }

    /// An exchange of a trace is decided on, or belongs to another one, at `at`.
    pub fn leave(&mut self, trace: Key, at: u64) {
        let Some(state) = self.traces.get_mut(trace) else {
            return;
        };
        state.open = state.open.saturating_sub(1);
        if state.open > 0 {
            return;
        }
        if state.remote.is_none() {
            self.forget(trace);
        } else if !state.over {
            state.over = true;
            self.over.push_back((at, trace));
        }
    }

    /// Forgets a trace that no exchange joined.
    pub fn unused(&mut self, trace: Key) {
        if self.traces.get(trace).is_some_and(|state| state.open == 0) {
            self.forget(trace);
        }
    }

    /// Whether a trace is kept for what happened in it.
    pub fn is_kept(&self, trace: Key) -> bool {
        self.traces.get(trace).is_some_and(|state| state.kept)
    }

    /// A span waits, which is put into the output at `index`; unless it was the
    /// last one of its trace.
    pub fn wait(&mut self, trace: Key, request: u64, index: usize) {
        let number = self.first + self.spans.len() as u64;
        let Some(state) = self.traces.get_mut(trace) else {
            return;
        };
        if state.open <= 1 && state.remote.is_none() {
            return;
        }
        let before = state.last.replace(number);
        self.spans.push_back(Waiting {
            place: Place::Output(index),
            request,
            before,
        });
        if self.spans.len() > MAX_SPANS {
            let oldest = self.spans.pop_front();
            self.first += 1;
            self.dropped += u64::from(oldest.is_some_and(|it| !matches!(it.place, Place::Gone)));
        }
    }

    /// Takes back from the output what waits, and empties it.
    pub fn settle(&mut self, output: &mut Output) {
        let begin = self.in_output.max(self.first);
        self.in_output = self.first + self.spans.len() as u64;
        // The last one first: then the others stay where they are.
        let in_output = self.spans.range_mut((begin - self.first) as usize..);
        for waiting in in_output.rev() {
            if let Place::Output(index) = waiting.place {
                let finished = output.finished.swap_remove(index);
                waiting.place = Place::Here(Box::new(finished));
            }
        }
        output.finished.clear();
    }

    /// Keeps a trace: its spans that wait, of which some are in the output
    /// (`finished`) and others go to `kept`, and those to come. Calls `each`
    /// with the request numbers of the former.
    pub fn keep(
        &mut self,
        trace: Key,
        finished: &mut [Finished],
        kept: &mut Vec<Finished>,
        mut each: impl FnMut(u64),
    ) {
        let Some(state) = self.traces.get_mut(trace) else {
            return;
        };
        state.kept = true;
        let last = state.last.take();
        self.take(last, |place, request| {
            match place {
                Place::Output(index) => {
                    if let Some(finished) = finished.get_mut(index) {
                        finished.sampled = true;
                    }
                }
                Place::Here(mut finished) => {
                    finished.sampled = true;
                    kept.push(*finished);
                }
                Place::Gone => return,
            }
            each(request);
        });
    }

    /// Takes a trace's spans out, from the last one back.
    fn take(&mut self, last: Option<u64>, mut each: impl FnMut(Place, u64)) {
        let mut next = last;
        while let Some(index) = next.and_then(|number| number.checked_sub(self.first)) {
            let Some(waiting) = self.spans.get_mut(index as usize) else {
                break;
            };
            next = waiting.before;
            each(
                std::mem::replace(&mut waiting.place, Place::Gone),
                waiting.request,
            );
        }
    }

    /// A trace's root on this host is over.
    pub fn root_over(&mut self, trace: Key, at: u64) {
        if let Some(state) = self.traces.get_mut(trace)
            && !state.over
        {
            state.over = true;
            self.over.push_back((at, trace));
        }
    }

    fn forget(&mut self, trace: Key) {
        let Some(state) = self.traces.remove(trace) else {
            return;
        };
        self.take(state.last, |_, _| {});
        if let Some(remote) = &state.remote {
            self.remote.remove(remote);
        }
    }

    /// Forgets what waits of traces whose root is over for a while.
    pub fn expire(&mut self, now: u64) {
        while let Some((at, trace)) = self.over.front().copied() {
            if self.over.len() <= MAX_TRACES && now.saturating_sub(at) < GRACE {
                break;
            }
            self.over.pop_front();
            let Some(state) = self.traces.get_mut(trace) else {
                continue;
            };
            state.over = false;
            if state.open == 0 {
                self.forget(trace);
            } else {
                let last = state.last.take();
                self.take(last, |_, _| {});
            }
        }
        while let Some(Waiting {
            place: Place::Gone, ..
        }) = self.spans.front()
        {
            self.spans.pop_front();
            self.first += 1;
        }
    }

    /// Spans that wait, and traces that are known.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.spans.len(), self.traces.len())
    }
}
