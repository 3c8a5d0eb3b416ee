//! The end of an exchange: what is known of it then, and whether it is kept.

use observer_common::workload::WorkloadId;
use std::sync::Arc;

use observer_common::requests::{Component, Piece, ThreadClock, direction};
use observer_signals::RequestLink;

use super::Tracer;
use super::connections::{Slot, called};
use super::open::{Ids, Open};
use super::output::Output;
use super::pending::Over;
use super::sampling::Decision;
use super::slab::Key;
use crate::semantics::is_error;
use crate::semantics::time::component_of;
use crate::{Call, Ended, Finished, Method, Role};

/// Most that a clock may differ from its request's duration: a part of it, or
/// so many nanoseconds, in which the thread is in the two calls' own code.
const CLOCK_PART: u64 = 50;
const CLOCK_LEAST: u64 = 10_000;

impl Tracer {
    /// An exchange ends, with a piece or with its connection.
    pub(super) fn finish(
        &mut self,
        slot: Slot,
        piece: Option<&Piece>,
        ended: Ended,
        out: &mut Output,
    ) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let Some(key) = connection.remove(ended.exchange) else {
            return;
        };
        if connection.protocol().in_order() {
            // Those before it won't end any more.
            self.stale.extend(connection.remove_before(ended.exchange));
        }
        let endpoints = connection.endpoints.clone();
        let Some(exchange) = self.exchanges.remove(key) else {
            return;
        };
        let own_retransmits = connection.retransmits.saturating_sub(exchange.retransmits);
        self.drop_stale();
        let at = ended.at.max(exchange.begun);
        let clock = match exchange.role {
            Role::Server => {
                let clock = self.clock(key, &exchange, piece, at);
                self.threads.ended(exchange.tid, exchange.tgid);
                self.numbers.end(key, &exchange, &mut self.exchanges);
                clock
            }
            Role::Client => {
                self.waited(slot, &exchange, piece, at, own_retransmits);
                None
            }
        };
        let workload = exchange.workload;
        let route = self.route_of(workload, &ended.call);
        let mut waited_for = exchange.waited_for;
        waited_for.retain(|_| clock.is_some());
        waited_for.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let ids = exchange.span;
        // Straight to its place: it is large.
        out.finished.push(Finished {
            workload,
            tgid: exchange.tgid,
            tid: exchange.tid,
            role: exchange.role,
            trace_id: ids.trace,
            span_id: ids.span,
            parent_span_id: ids.parent,
            parent: ids.how,
            begun: exchange.begun,
            answered: ended.answered,
            ended: at,
            call: ended.call,
            route,
            endpoints,
            clock,
            waited_for,
            retransmits: own_retransmits.saturating_add(exchange.calls_retransmits),
            sampled: false,
        });
        let request = exchange.request;
        if self.pending.waits(exchange.pending)
            && let Some(finished) = out.finished.pop()
        {
            self.remember(&finished, request);
            self.pending.over(
                exchange.pending,
                Over {
                    finished,
                    ids,
                    request,
                },
            );
            return;
        }
        self.decide(&ids, request, out);
    }

    /// The route of an HTTP request.
    fn route_of(&mut self, workload: WorkloadId, call: &Call) -> Option<Arc<str>> {
        match call {
            // Of a tunnel the target is where it goes.
            Call::Http(http) if http.target.is_empty() || http.method == Method::Connect => None,
            Call::Http(http) => Some(match http.status {
                Some(404) => self.routes.route_not_found(workload, &http.target),
                _ => self.routes.route(workload, &http.target),
            }),
            _ => None,
        }
    }

    /// Where the time of a server's request went, if its thread served nothing
    /// else and answered it itself.
    fn clock(
        &mut self,
        key: Key,
        exchange: &Open,
        piece: Option<&Piece>,
        at: u64,
    ) -> Option<ThreadClock> {
        let thread = self.threads.known(exchange.tid, exchange.tgid)?;
        let sole = thread.sole == key;
        if sole {
            thread.sole = Key::NONE;
        }
        let piece = piece.filter(|piece| {
            piece.tid == exchange.tid && piece.direction == direction::SENT && piece.ended == at
        })?;
        if !sole {
            return None;
        }
        let clock = fit(piece.clock.since(&exchange.clock), at - exchange.begun);
        self.losses.clocks += u64::from(clock.is_none());
        clock
    }

    /// Counts what a call's thread waited for its answer on the request that it
    /// was made for.
    fn waited(
        &mut self,
        slot: Slot,
        call: &Open,
        piece: Option<&Piece>,
        at: u64,
        retransmits: u32,
    ) {
        let Some(request) = self.exchanges.get_mut(call.made_for) else {
            return;
        };
        request.calls_retransmits = request.calls_retransmits.saturating_add(retransmits);
        // Its last piece, and not one that told that it had been over.
        let last = |piece: &&Piece| piece.tid == call.tid && piece.ended == at;
        let Some(piece) = piece.filter(last) else {
            return;
        };
        let Some(thread) = self.threads.known(call.tid, call.tgid) else {
            return;
        };
        if thread.sole != call.made_for {
            return;
        }
        // Of calls at the same time, each moment counts for one.
        let network = |clock: &ThreadClock| component_of(clock, Component::Network);
        let now = network(&piece.clock);
        let time = now.saturating_sub(network(&call.clock).max(thread.waited_until));
        thread.waited_until = now;
        if time == 0 {
            return;
        }
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let endpoints = &connection.endpoints;
        let name = connection
            .called
            .get_or_insert_with(|| called(endpoints.protocol, endpoints.peer));
        let waited_for = &mut request.waited_for;
        let known = waited_for
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, name) || known == name);
        if let Some((_, sum)) = known {
            *sum += time;
        } else if waited_for.len() < MAX_WAITED_FOR {
            waited_for.push((name.clone(), time));
        }
    }

    /// Decides on a request that is over: the last one of the output.
    pub(super) fn decide(&mut self, ids: &Ids, request: u64, out: &mut Output) {
        let Some((finished, before)) = out.finished.split_last_mut() else {
            return;
        };
        let waits = ids.decision.waits();
        let limited = ids.decision == Decision::Limited;
        finished.sampled = match ids.decision {
            Decision::Keep => true,
            Decision::Drop => false,
            Decision::Wait | Decision::Limited => self.undecided.is_kept(ids.undecided),
        };
        // What is slow is found by all requests.
        let slow = self.sampling.waits() && self.slowest.add(finished);
        if waits
            && !finished.sampled
            && (slow || is_error(&finished.call, finished.role))
            && self.sampling.late(finished.workload, finished.ended)
        {
            finished.sampled = true;
            let (numbers, losses) = (&mut self.numbers, &mut self.losses);
            let kept = &mut out.kept;
            self.undecided.keep(ids.undecided, before, kept, |request| {
                losses.limited = losses.limited.saturating_sub(u64::from(limited));
                numbers.keep(request);
            });
        }
        self.remember(finished, request);
        if waits && !finished.sampled {
            self.losses.limited += u64::from(limited);
            self.undecided.wait(ids.undecided, request, before.len());
        }
        if waits {
            self.undecided.leave(ids.undecided, finished.ended);
            if ids.root {
                self.undecided.root_over(ids.undecided, finished.ended);
            }
        }
    }

    /// Remembers a server's request that is over by its number.
    fn remember(&mut self, finished: &Finished, request: u64) {
        if request == 0 {
            return;
        }
        let link = RequestLink {
            trace_id: finished.trace_id,
            span_id: finished.span_id,
            route: finished.route.clone(),
            sampled: finished.sampled,
            duration: Some(finished.duration()),
        };
        self.numbers.remember(request, finished.ended, link);
    }
}

/// Calls that a request's time on the network is split by.
const MAX_WAITED_FOR: usize = 64;

/// The clock with a sum of `duration`: what is missing or too much by little is
/// time in the two calls' own code, on a CPU. `None` if it is more than that.
fn fit(mut clock: ThreadClock, duration: u64) -> Option<ThreadClock> {
    let slack = (duration / CLOCK_PART).max(CLOCK_LEAST);
    let total = clock.total();
    let wrapped = clock
        .time
        .iter()
        .any(|part| part.saturating_sub(duration) > slack);
    if wrapped || total.abs_diff(duration) > slack {
        return None;
    }
    const { assert!(Component::Cpu as usize == 0) };
    let [cpu, others @ ..] = &mut clock.time;
    *cpu = cpu.saturating_add(duration.saturating_sub(total));
    let mut excess = total.saturating_sub(duration);
    let largest = others.iter_mut().max_by_key(|time| **time);
    for part in std::iter::once(cpu).chain(largest) {
        let less = excess.min(*part);
        *part -= less;
        excess -= less;
    }
    (clock.total().abs_diff(duration) <= duration / CLOCK_PART).then_some(clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a clock's sum becomes the duration, and that one that is far
    /// off isn't used; whatever its parts are.
    #[test]
    fn clocks_fit() {
        let clock = |cpu, network| {
            let mut clock = ThreadClock::default();
            clock.time[Component::Cpu as usize] = cpu;
            clock.time[Component::Network as usize] = network;
            clock
        };
        let fits = |cpu, network, duration| {
            fit(clock(cpu, network), duration).map(|clock| (clock.time[0], clock.time[4]))
        };
        assert_eq!(fits(1_000, 99_000, 100_500), Some((1_500, 99_000)));
        assert_eq!(fits(1_000, 99_000, 99_500), Some((500, 99_000)));
        assert_eq!(fits(1_000, 99_000, 98_500), Some((0, 98_500)));
        assert_eq!(fits(1_000, 99_000, 150_000), None);
        assert_eq!(fits(0, 0, 0), Some((0, 0)));
        assert_eq!(fits(u64::MAX, 2, 1), None);
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..10_000 {
            let mut clock = ThreadClock::default();
            clock.time.fill_with(|| random.u64(..) >> random.u32(0..64));
            let duration = random.u64(..) >> random.u32(0..64);
            if let Some(clock) = fit(clock, duration) {
                assert!(clock.total().abs_diff(duration) * 50 <= duration);
            }
        }
    }
}
