//! Spans of traces that aren't kept so far: should one of the trace fail or be
//! slow, those before it are kept with it.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::output::Output;
use crate::requests::Finished;

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

#[derive(Debug, Default)]
struct State {
    /// The last of its spans that wait.
    last: Option<u64>,
    /// Something went wrong in it: all that is yet to come is kept.
    kept: bool,
}

/// Spans that wait for the end of their trace on this host, and the traces that
/// are kept though they weren't to be.
#[derive(Debug, Default)]
pub struct Undecided {
    traces: FxHashMap<Trace, State>,
    /// In order of their end; numbered from `first` on.
    spans: VecDeque<Waiting>,
    first: u64,
    /// From here on they are in the output.
    in_output: u64,
    /// Traces whose root is over, and when that was.
    over: VecDeque<(u64, Trace)>,
    /// Traces that may be known before those without spans are forgotten.
    room: usize,
    /// Spans that were dropped since there were too many.
    pub dropped: u64,
}

/// Spans that may wait.
const MAX_SPANS: usize = 16_384;
/// Traces that may be known without having spans that wait.
const MAX_TRACES: usize = 65_536;
/// After a trace's root is over, its other spans may take so long to end (ns):
/// the other end's last call may return later.
const GRACE: u64 = 100_000_000;

impl Undecided {
    /// Whether a trace is kept for what happened in it.
    pub fn is_kept(&self, trace: &Trace) -> bool {
        !self.traces.is_empty() && self.traces.get(trace).is_some_and(|state| state.kept)
    }

    /// A span that waits, which is put into the output at `index`.
    pub fn wait(&mut self, trace: Trace, request: u64, index: usize) {
        if self.spans.len() == MAX_SPANS {
            let oldest = self.spans.pop_front();
            self.first += 1;
            self.dropped += u64::from(oldest.is_some_and(|it| !matches!(it.place, Place::Gone)));
        }
        let number = self.first + self.spans.len() as u64;
        self.make_room();
        let state = self.traces.entry(trace).or_default();
        let before = state.last.replace(number);
        self.spans.push_back(Waiting {
            place: Place::Output(index),
            request,
            before,
        });
    }

    fn make_room(&mut self) {
        if self.traces.len() > self.room.max(MAX_TRACES) {
            let first = self.first;
            self.traces
                .retain(|_, state| state.last.is_some_and(|last| last >= first));
            self.room = self.traces.len() * 2;
        }
    }

    /// Takes back from the output what waits, and empties it.
    pub fn settle(&mut self, output: &mut Output) {
        let mut number = self.in_output.max(self.first);
        let end = self.first + self.spans.len() as u64;
        self.in_output = end;
        if number == end {
            output.finished.clear();
            return;
        }
        for (index, finished) in output.finished.drain(..).enumerate() {
            // Those in the output are in its order.
            while number < end {
                let waiting = &mut self.spans[(number - self.first) as usize];
                match waiting.place {
                    Place::Output(at) if at == index => {
                        waiting.place = Place::Here(Box::new(finished));
                        number += 1;
                        break;
                    }
                    Place::Output(at) if at > index => break,
                    _ => number += 1,
                }
            }
        }
    }

    /// Keeps a trace: its spans that wait, of which some are in the output
    /// (`finished`) and others go to `kept`, and those to come. Calls `each`
    /// with the request numbers of the former.
    pub fn keep(
        &mut self,
        trace: Trace,
        finished: &mut [Finished],
        kept: &mut Vec<Finished>,
        mut each: impl FnMut(u64),
    ) {
        self.make_room();
        let state = self.traces.entry(trace).or_default();
        state.kept = true;
        let mut next = state.last.take();
        while let Some(index) = next.and_then(|number| number.checked_sub(self.first)) {
            let Some(waiting) = self.spans.get_mut(index as usize) else {
                break;
            };
            next = waiting.before;
            match std::mem::replace(&mut waiting.place, Place::Gone) {
                Place::Output(index) => {
                    if let Some(finished) = finished.get_mut(index) {
                        finished.sampled = true;
                    }
                }
                Place::Here(mut finished) => {
                    finished.sampled = true;
                    kept.push(*finished);
                }
                Place::Gone => continue,
            }
            each(waiting.request);
        }
    }

    /// A trace's root on this host is over.
    pub fn root_over(&mut self, trace: Trace, at: u64) {
        self.over.push_back((at, trace));
    }

    /// Forgets traces whose root is over for a while.
    pub fn expire(&mut self, now: u64) {
        while let Some((at, trace)) = self.over.front().copied() {
            if self.over.len() <= MAX_TRACES && now.saturating_sub(at) < GRACE {
                break;
            }
            self.over.pop_front();
            let state = self.traces.remove(&trace).unwrap_or_default();
            let mut next = state.last;
            while let Some(index) = next.and_then(|number| number.checked_sub(self.first)) {
                let Some(waiting) = self.spans.get_mut(index as usize) else {
                    break;
                };
                waiting.place = Place::Gone;
                next = waiting.before;
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
