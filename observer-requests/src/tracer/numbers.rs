//! The kernel half's numbers of requests: which exchange has which, now and for
//! a while after its end.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use observer_signals::RequestLink;
use rustc_hash::FxHashMap;

use super::open::Open;
use super::slab::{Key, Slab};

/// A request that is over: as long as a line of the CPU's cache.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Over {
    request: u64,
    /// When it was over: see [`moment`].
    at: u32,
    sampled: bool,
    duration: u64,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    route: Option<Arc<str>>,
}

impl Over {
    fn new(request: u64, at: u64, link: RequestLink) -> Self {
        Self {
            request,
            at: moment(at),
            sampled: link.sampled,
            duration: link.duration.unwrap_or(0),
            trace_id: link.trace_id,
            span_id: link.span_id,
            route: link.route,
        }
    }

    fn link(&self) -> RequestLink {
        RequestLink {
            trace_id: self.trace_id,
            span_id: self.span_id,
            route: self.route.clone(),
            sampled: self.sampled,
            duration: Some(self.duration),
        }
    }
}

/// A time (ns) in units of 2^20 ns, which come again after 52 days.
fn moment(at: u64) -> u32 {
    (at >> 20) as u32
}

/// Requests by number.
#[derive(Debug)]
pub struct Numbers {
    /// The first and the last open exchange of each; between them by
    /// [`Open::next_of_number`]: one turn may bring several pipelined requests.
    open: FxHashMap<u64, (Key, Key)>,
    /// Those that are over, at places given by their numbers: a newer one takes
    /// an older one's place. Grows while that would be too early.
    over: Vec<Option<Over>>,
}

/// For so long (in units of 2^20 ns) a request that is over is remembered.
const REMEMBERED: i32 = (3_000_000_000_u64 >> 20) as i32;
/// Places for requests that are over.
const MIN_OVER: usize = 1 << 10;
const MAX_OVER: usize = 1 << 16;

impl Default for Numbers {
    fn default() -> Self {
        Self {
            open: FxHashMap::default(),
            over: vec![None; MIN_OVER],
        }
    }
}

impl Numbers {
    /// An exchange begins.
    pub fn begin(&mut self, request: u64, key: Key, exchanges: &mut Slab<Open>) {
        if request == 0 {
            return;
        }
        let (_, last) = self.open.entry(request).or_insert((key, key));
        if *last != key {
            if let Some(before) = exchanges.get_mut(*last) {
                before.next_of_number = key;
            }
            *last = key;
        }
    }

    /// The first open exchange with this number, and whether it has several.
    pub fn first(&self, request: u64) -> Option<(Key, bool)> {
        let (first, last) = self.open.get(&request)?;
        Some((*first, first != last))
    }

    /// An exchange is over, and was taken out.
    pub fn end(&mut self, key: Key, exchange: &Open, exchanges: &mut Slab<Open>) {
        let Entry::Occupied(mut open) = self.open.entry(exchange.request) else {
            return;
        };
        let (first, last) = open.get_mut();
        if *first == key {
            if *last == key {
                open.remove();
            } else {
                *first = exchange.next_of_number;
            }
            return;
        }
        // In the middle: what is before it goes on behind it.
        let mut before = *first;
        while let Some(here) = exchanges.get_mut(before) {
            if here.next_of_number == key {
                here.next_of_number = exchange.next_of_number;
                if *last == key {
                    *last = before;
                }
                return;
            }
            before = here.next_of_number;
        }
    }

    /// Remembers one that is over.
    pub fn remember(&mut self, request: u64, at: u64, link: RequestLink) {
        if request == 0 {
            return;
        }
        while self.over.len() < MAX_OVER {
            let there = self.over.get(place(request, self.over.len()));
            let too_early = there.and_then(Option::as_ref).is_some_and(|there| {
                there.request != request && (moment(at).wrapping_sub(there.at) as i32) < REMEMBERED
            });
            if !too_early {
                break;
            }
            let mut more = vec![None; self.over.len() * 2];
            for over in self.over.drain(..).flatten() {
                let to = place(over.request, more.len());
                if let Some(to) = more.get_mut(to) {
                    *to = Some(over);
                }
            }
            self.over = more;
        }
        let to = place(request, self.over.len());
        if let Some(to) = self.over.get_mut(to) {
            *to = Some(Over::new(request, at, link));
        }
    }

    /// What is known of a request that is over.
    pub fn over(&self, request: u64) -> Option<RequestLink> {
        let over = self.over.get(place(request, self.over.len()))?;
        let over = over.as_ref()?;
        (over.request == request).then(|| over.link())
    }

    /// One that is over is kept after all.
    pub fn keep(&mut self, request: u64) {
        let to = place(request, self.over.len());
        if let Some(Some(over)) = self.over.get_mut(to)
            && over.request == request
        {
            over.sampled = true;
        }
    }
}

/// Where a request is remembered among a power of two of places: numbers grow
/// one by one, perhaps on each CPU for itself, which stands in the upper bits.
fn place(request: u64, places: usize) -> usize {
    let series = (request >> 44).wrapping_mul(0x9e37_79b9);
    (request ^ series) as usize & (places - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(n: u64) -> RequestLink {
        RequestLink {
            trace_id: u128::from(n).to_be_bytes(),
            span_id: n.to_be_bytes(),
            route: None,
            sampled: true,
            duration: Some(n),
        }
    }

    /// Checks that requests are remembered for three seconds as long as there
    /// are places, that places are bounded, and that none is another's.
    #[test]
    fn remembers() {
        let mut numbers = Numbers::default();
        // 10,000 in a second on two CPUs, then all is over for long.
        for n in 1..=10_000u64 {
            let request = (n % 2) << 44 | n;
            numbers.remember(request, n * 100_000, link(request));
        }
        let found = (1..=10_000u64)
            .map(|n| (n % 2) << 44 | n)
            .filter_map(|request| Some((request, numbers.over(request)?)));
        let found: Vec<_> = found.collect();
        assert!(found.len() > 9_000, "{}", found.len());
        assert!(found.iter().all(|(n, found)| *found == link(*n)));
        let grown = numbers.over.len();
        assert!(grown < MAX_OVER);
        for n in 20_000..50_000u64 {
            numbers.remember(n, 60_000_000_000 + n * 1_000_000, link(n));
        }
        assert_eq!(numbers.over.len(), grown);
        for n in 0..200_000u64 {
            numbers.remember(1_000_000 + n, 100_000_000_000_000, link(n));
        }
        assert_eq!(numbers.over.len(), MAX_OVER);
        assert!(numbers.over(1).is_none() && numbers.over(1_199_999).is_some());
    }
}
