//! Spans gathered to traces, until a trace seems to be whole.
//!
//! Nobody says when a trace is over, so this goes by what is there: a trace is
//! handed on a moment after its last span, but waits longer while a span whose
//! parent is in the same process has none yet.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use observer_signals::{Span, SpanKind};

/// How long after its last span a trace is whole if nothing in it is missing:
/// ends of one connection are told of within moments.
const GRACE: Duration = Duration::from_millis(700);

/// How long to wait for a parent that must still come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Spans of all traces under way, some 70 MiB; the oldest traces make room.
const MAX_SPANS: usize = 50_000;

/// Spans kept of one trace.
const MAX_OF_ONE: usize = 1000;

/// The traces under way.
#[derive(Debug, Default)]
pub struct Traces {
    open: HashMap<[u8; 16], Open>,
    /// Spans in them.
    spans: usize,
    /// Traces that had to make room.
    out: Vec<Vec<Span>>,
    left_out: u64,
}

#[derive(Debug)]
struct Open {
    spans: Vec<Span>,
    last: Instant,
}

impl Traces {
    /// Takes a span that ended by `now`.
    pub fn add(&mut self, span: Span, now: Instant) {
        if self.spans >= MAX_SPANS {
            self.make_room();
        }
        let open = self.open.entry(span.trace_id).or_insert(Open {
            spans: Vec::new(),
            last: now,
        });
        open.last = now;
        if open.spans.len() < MAX_OF_ONE {
            open.spans.push(span);
            self.spans += 1;
        } else {
            self.left_out += 1;
        }
    }

    /// Lets go of the oldest quarter at once, so that it isn't done for each
    /// span.
    fn make_room(&mut self) {
        let mut ages: Vec<Instant> = self.open.values().map(|open| open.last).collect();
        let quarter = ages.len() / 4;
        let (_, until, _) = ages.select_nth_unstable(quarter);
        let until = *until;
        let oldest = self.take(|open| open.last <= until);
        self.out.extend(oldest);
    }

    /// Traces that are whole by `now`, in the order in which they ended.
    /// Before them come those that had to make room for others.
    pub fn whole(&mut self, now: Instant) -> Vec<Vec<Span>> {
        let whole = self.take(|open| {
            let quiet = now.saturating_duration_since(open.last);
            quiet >= PATIENCE || (quiet >= GRACE && !waits(&open.spans))
        });
        let mut out = std::mem::take(&mut self.out);
        out.extend(whole);
        out
    }

    /// All that are left, whole or not.
    pub fn rest(&mut self) -> Vec<Vec<Span>> {
        let rest = self.take(|_| true);
        let mut out = std::mem::take(&mut self.out);
        out.extend(rest);
        out
    }

    /// Spans that found no place in their trace.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn take(&mut self, which: impl Fn(&Open) -> bool) -> Vec<Vec<Span>> {
        let taken = self.open.extract_if(|_, open| which(open));
        let mut taken: Vec<Vec<Span>> = taken.map(|(_, open)| open.spans).collect();
        self.spans -= taken.iter().map(Vec::len).sum::<usize>();
        taken.sort_by_cached_key(|spans| spans.iter().map(|span| span.end).max());
        taken
    }
}

/// Whether a parent must still come: that of a server's span may be on another
/// host, all others are in the process of their children.
fn waits(spans: &[Span]) -> bool {
    let there: HashSet<[u8; 8]> = spans.iter().map(|span| span.span_id).collect();
    let missing = |span: &Span| {
        span.kind != SpanKind::Server
            && span.parent_span_id != [0; 8]
            && !there.contains(&span.parent_span_id)
    };
    spans.iter().any(missing)
}
