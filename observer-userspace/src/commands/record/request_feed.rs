//! Follows the requests that a recording is about.

use std::sync::Arc;

use anyhow::Result;

use super::request_filter::RequestFilter;
use super::selection::Selection;
use crate::config;
use crate::kernel::Kernel;
use crate::kernel::clock;
use crate::kernel::ring::Ring;
use crate::probes::cpu::{Sampler, Taken};
use crate::probes::requests::{self, tls::Tls};
use observer_requests::tracer::{Output, Tracer};
use observer_signals::RequestLink;

/// Records read at once, so that the rest gets its turn.
const BATCH: usize = 16 * 1024;

/// Requests of the recorded processes, as they come.
pub(super) struct RequestFeed {
    ring: Ring,
    tracer: Tracer,
    output: Output,
    selection: Selection,
    /// `None` without TLS.
    tls: Option<Tls>,
}

impl RequestFeed {
    /// Takes the requests' ring out of the kernel object, when all programs are
    /// attached. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the ring is missing or can't be polled.
    pub(super) fn take(
        kernel: &mut Kernel,
        config: &config::Requests,
        filter: RequestFilter,
    ) -> Result<Self> {
        requests::follow(kernel)?;
        let tls = config.tls.then(|| Tls::start(kernel)).transpose();
        let tls = tls.unwrap_or_else(|error| {
            tracing::warn!("TLS is not observed: {error:#}");
            None
        });
        Ok(Self {
            tls,
            ring: Ring::take(kernel, requests::RING)?,
            tracer: Tracer::new(requests::options(config)),
            output: Output::default(),
            selection: Selection::new(filter),
        })
    }

    /// Resolves when there is much to read.
    pub(super) async fn ready(&self) -> Result<()> {
        std::future::poll_fn(|context| self.ring.poll_ready(context)).await
    }

    /// Reads what there is.
    pub(super) fn read(&mut self) {
        loop {
            let read = self.ring.drain(BATCH, |bytes| {
                if let Some(tgid) = requests::executed(bytes) {
                    self.tls.iter().for_each(|tls| tls.executed(tgid));
                } else {
                    self.tracer.record(bytes);
                }
            });
            self.tracer.advance(clock::monotonic(), &mut self.output);
            self.count();
            if read < BATCH {
                break;
            }
        }
    }

    /// Reads what there is for the last time: nothing is waited for any more.
    pub(super) fn end(&mut self) {
        self.read();
        self.tracer.flush(clock::monotonic(), &mut self.output);
        self.count();
    }

    fn count(&mut self) {
        for finished in self.output.finished() {
            self.selection.count(finished);
        }
    }

    /// What is known of a request.
    pub(super) fn request_link(&self, request: u64) -> Option<RequestLink> {
        self.tracer.link(request)
    }

    /// Leaves of what was taken from `sampler` only what is meant.
    pub(super) fn select(&mut self, taken: Taken, sampler: &mut Sampler, last: bool) -> Taken {
        let Self {
            tracer, selection, ..
        } = self;
        let mut known = |request| -> Option<Arc<RequestLink>> {
            sampler.request_link(request, &mut |request| tracer.link(request))
        };
        Taken {
            on_cpu: selection.select(taken.on_cpu, &mut known, last),
            off_cpu: selection.select(taken.off_cpu, &mut known, last),
        }
    }

    pub(super) fn selection(&self) -> &Selection {
        &self.selection
    }
}
