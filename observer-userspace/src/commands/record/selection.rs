//! Which samples a recording keeps, if it is about some requests only.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::request_filter::RequestFilter;
use crate::stacks::{RawProfile, RawSample};
use observer_requests::{Finished, Role};
use observer_signals::RequestLink;
use observer_signals::profile::ProfileKind;

/// Samples that may wait for the end of their request.
const MAX_UNDECIDED: usize = 200_000;

/// Routes that are told of where none matched, and remembered at most.
const NAMED: usize = 5;
const MAX_ROUTES: usize = 1000;

/// Samples or nanoseconds, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    /// Of a request that is meant.
    pub(super) kept: u64,
    /// Of another one, or of none.
    pub(super) left_out: u64,
    /// Of a request whose end wasn't seen: it may have been meant.
    pub(super) undecided: u64,
}

/// Chooses samples by their requests.
#[derive(Debug)]
pub(super) struct Selection {
    filter: RequestFilter,
    on_cpu: Samples,
    off_cpu: Samples,
    /// Requests of servers that ended, and those that are meant.
    requests: u64,
    matched: u64,
    routes: BTreeMap<Option<Arc<str>>, u64>,
}

/// The samples of one kind.
#[derive(Debug, Default)]
struct Samples {
    /// Those whose requests aren't over.
    undecided: Vec<RawSample>,
    /// What became of those that are decided.
    selected: Selected,
}

impl Selection {
    /// For requests that `filter` means.
    pub(super) fn new(filter: RequestFilter) -> Self {
        Self {
            filter,
            on_cpu: Samples::default(),
            off_cpu: Samples::default(),
            requests: 0,
            matched: 0,
            routes: BTreeMap::new(),
        }
    }

    /// Counts a request that is over.
    pub(super) fn count(&mut self, finished: &Finished) {
        if finished.role != Role::Server {
            return;
        }
        self.requests += 1;
        let route = &finished.route;
        if self.filter.matches(route.as_deref(), finished.duration()) {
            self.matched += 1;
        }
        if let Some(count) = self.routes.get_mut(route) {
            *count += 1;
        } else if self.routes.len() < MAX_ROUTES {
            self.routes.insert(route.clone(), 1);
        }
    }

    /// What is left of a piece of a recording, with samples of earlier pieces
    /// whose requests are over now. `request_link` says what is known of a request;
    /// with the `last` piece nothing waits any more.
    pub(super) fn select(
        &mut self,
        raw: RawProfile,
        request_link: &mut dyn FnMut(u64) -> Option<Arc<RequestLink>>,
        last: bool,
    ) -> RawProfile {
        let Samples {
            undecided,
            selected,
        } = match raw.kind {
            ProfileKind::OnCpu => &mut self.on_cpu,
            ProfileKind::OffCpu | ProfileKind::Wall => &mut self.off_cpu,
        };
        let mut samples = std::mem::take(undecided);
        samples.extend(raw.samples);
        let mut kept = Vec::new();
        for mut sample in samples {
            if sample.request == 0 {
                selected.left_out += sample.value;
                continue;
            }
            sample.request_link = request_link(sample.request);
            let over = sample.request_link.as_deref();
            let over = over.and_then(|of| Some((of.route.as_deref(), of.duration?)));
            match over {
                Some((route, duration)) if self.filter.matches(route, duration) => {
                    selected.kept += sample.value;
                    kept.push(sample);
                }
                Some(_) => selected.left_out += sample.value,
                None if last || undecided.len() >= MAX_UNDECIDED => {
                    selected.undecided += sample.value;
                }
                None => undecided.push(sample),
            }
        }
        RawProfile {
            samples: kept,
            ..raw
        }
    }

    /// Requests that are meant.
    pub(super) fn matched(&self) -> u64 {
        self.matched
    }

    /// What became of the samples of this kind, those that wait aside.
    pub(super) fn selected(&self, kind: ProfileKind) -> Selected {
        match kind {
            ProfileKind::OnCpu => self.on_cpu.selected,
            ProfileKind::OffCpu | ProfileKind::Wall => self.off_cpu.selected,
        }
    }

    /// How many requests were meant, in one line.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} of {} requests match {}",
            self.matched, self.requests, self.filter
        )
    }

    /// What is wrong if none matched.
    pub(super) fn nothing(&self) -> String {
        if self.requests == 0 {
            return format!(
                "no requests were seen, so none matched {}; nothing is written",
                self.filter
            );
        }
        let mut routes: Vec<_> = self.routes.iter().collect();
        routes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let more = routes.len().saturating_sub(NAMED);
        let mut named: Vec<String> = routes
            .iter()
            .take(NAMED)
            .map(|(route, count)| match route {
                Some(route) => format!("{route} ({count})"),
                None => format!("without a route ({count})"),
            })
            .collect();
        if more > 0 {
            named.push(format!("{more} more"));
        }
        format!(
            "none of {} requests matched {}; there were {}; nothing is written",
            self.requests,
            self.filter,
            named.join(", ")
        )
    }
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
