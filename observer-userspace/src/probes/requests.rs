//! Requests on connections of known protocols.
//!
//! The kernel half recognises connections and tells of their bytes, piece by
//! piece; [`observer_requests`] makes requests of them.

mod own;
mod tasks;
pub(crate) mod tls;
mod unfollowed;

use observer_common::workload::WorkloadId;
use std::sync::Arc;

use anyhow::Context;
use aya::maps::Array;
use observer_common::family::{Family, Part};
use observer_common::names::{maps, programs};
use observer_common::requests::{Executed, Protocol, Tag};
use observer_common::tunables::Tunables;

use self::own::OwnExchanges;
use super::losses::{self, Cause};
use super::{MetricBuilder, Probe, Sight, SpanCollector, Tick, offcpu, sched};
use crate::blindness::Witness;
use crate::config::{self, Config};
use crate::kernel::clock;
use crate::kernel::ring::record;
use crate::kernel::{Attach, Kernel, ProbeSpec, ProgramSpec};
use observer_requests::Finished;
use observer_requests::metrics::{METRICS, Metrics};
use observer_requests::redact::Redactor;
use observer_requests::routes::Routes;
use observer_requests::semantics;
use observer_requests::tracer::{Active, Options, Output, Tracer};
use observer_signals::MetricDef;
use observer_signals::RequestLink;

/// What can't be missed of a socket.
const SOCKET_FIELDS: &[&str] = &[
    "task_pid",
    "task_tgid",
    "task_state",
    "task_group_leader",
    "task_cgroups",
    "task_voluntary",
    "task_involuntary",
    "pt_regs_second",
    "pt_regs_third",
    "pt_regs_fourth",
    "pt_regs_fifth",
    "pt_regs_sixth",
    "sock_family",
    "sock_protocol",
    "sock_type",
    "sock_saddr",
    "sock_daddr",
    "sock_v6_saddr",
    "sock_v6_daddr",
    "sock_num",
    "sock_dport",
    "sock_net",
];

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::Requests),
    observes: Protocol::OBSERVED,
    programs: &[
        ProgramSpec {
            name: programs::REQUESTS_SENT,
            attach: Attach::Tracepoint("sock_send_length"),
            needs: SOCKET_FIELDS,
            lost_without: "what programs send: requests of clients, answers of servers",
        },
        ProgramSpec {
            name: programs::REQUESTS_RECEIVED,
            attach: Attach::Tracepoint("sock_recv_length"),
            needs: SOCKET_FIELDS,
            lost_without: "what programs receive: requests to servers, answers to clients",
        },
        ProgramSpec {
            name: programs::REQUESTS_STATE,
            attach: Attach::Tracepoint("inet_sock_set_state"),
            needs: &["sock_err"],
            lost_without: "requests that end with their connection, and for which request a \
                           connection was made",
        },
        ProgramSpec {
            name: programs::REQUESTS_EXEC,
            attach: Attach::Tracepoint("sched_process_exec"),
            needs: &["task_tgid"],
            lost_without: "TLS in programs that contain their library, until they are found",
        },
        tls::PROGRAMS[0],
        tls::PROGRAMS[1],
        tls::PROGRAMS[2],
        tls::PROGRAMS[3],
        tls::PROGRAMS[4],
        tls::PROGRAMS[5],
        tls::PROGRAMS[6],
        tls::PROGRAMS[7],
        tls::PROGRAMS[8],
        tls::PROGRAMS[9],
        tls::PROGRAMS[10],
    ],
    requires: &[&offcpu::SYSCALLS, &sched::SPEC],
    covered_by: None,
    prepare: None,
    seen_by: &[programs::REQUESTS_SENT, programs::REQUESTS_RECEIVED],
};

/// Where sockets are found by their descriptors: the programs at the end of each
/// system call, one of which is attached.
const BY_DESCRIPTOR: [&str; 2] = [programs::SYSCALLS_EXIT, programs::OFFCPU_EXIT];

/// Whether any request can be seen.
pub fn is_seen(kernel: &Kernel) -> bool {
    let calls_end = BY_DESCRIPTOR.iter().any(|program| kernel.has(program));
    kernel.sees(&SPEC) || (kernel.finds_sockets_by_descriptor() && calls_end)
}

/// The ring buffer of its records.
pub const RING: &str = maps::REQUEST_RING;

/// Records that are handled at once: few, so that they and what comes of them
/// are still in the CPU's cache.
const AT_ONCE: u32 = 256;

/// The family.
pub struct Requests {
    tracer: Tracer,
    metrics: Metrics,
    redactor: Arc<Redactor>,
    output: Output,
    /// Records since they were handled last.
    waiting: u32,
    /// Whether TLS libraries are looked into.
    follow_tls: bool,
    /// Of 2ⁿ exchanges one is followed at first.
    share: u32,
    /// `None` without TLS.
    tls: Option<tls::Tls>,
    /// `None` if there is no way to know of them.
    tasks: Option<tasks::Tasks>,
    own: OwnExchanges,
}

impl Default for Requests {
    fn default() -> Self {
        Self::new(Redactor::default(), Options::default())
    }
}

impl Requests {
    fn new(redactor: Redactor, options: Options) -> Self {
        let redactor = Arc::new(redactor);
        Self {
            tracer: Tracer::new(options),
            metrics: Metrics::new(Arc::clone(&redactor)),
            redactor,
            output: Output::default(),
            waiting: 0,
            follow_tls: true,
            share: 0,
            tls: None,
            tasks: None,
            own: OwnExchanges::default(),
        }
    }

    /// Counts what the tracer found, and hands on the spans that are kept; the
    /// family's own exchanges are nobody's business.
    fn hand_on(&mut self, out: &mut SpanCollector<'_>) {
        for finished in self.output.finished() {
            if !self.own.recognise(finished) {
                self.metrics.observe(finished);
            }
        }
        let is_others = |finished: &&Finished| !self.own.is_own(finished);
        for finished in self.output.kept().iter().filter(is_others) {
            self.metrics.kept(finished);
        }
        if !out.wants_spans {
            return;
        }
        for finished in self.output.spans().filter(is_others) {
            let resource = (out.resource)(finished.workload);
            let span = semantics::span(finished, out.clock, resource, &self.redactor);
            out.kept.push(span);
        }
    }
}

/// What a tracer is to do as configured.
pub fn options(config: &config::Requests) -> Options {
    let limit = |(rate, burst)| (f64::from(rate), f64::from(burst));
    Options {
        sampler: config.sampler,
        span_limit: config.span_limit.map(limit),
        routes: Routes::configured(config.routes.clone(), Arc::new(config.redactor())),
        ..Options::default()
    }
}

/// From now on requests are followed: to be called when all programs are
/// attached.
///
/// # Errors
/// When the kernel half has no such switch.
pub fn follow(kernel: &mut Kernel) -> anyhow::Result<()> {
    set_on(kernel, 1).context("cannot begin to follow requests")
}

/// From now on no request is followed or counted any more.
///
/// # Errors
/// When the kernel half has no such switch.
fn leave(kernel: &mut Kernel) -> anyhow::Result<()> {
    set_on(kernel, 0).context("cannot end to follow requests")
}

fn set_on(kernel: &mut Kernel, value: u32) -> anyhow::Result<()> {
    let mut on: Array<_, u32> = Array::try_from(kernel.map_mut(maps::REQUESTS_ON)?)?;
    Ok(on.set(0, value, 0)?)
}

/// The process, if a record tells that one began a program.
pub fn executed(bytes: &[u8]) -> Option<u32> {
    let begun = tag(bytes) == Some(Tag::Executed as u32);
    begun.then(|| record::<Executed>(bytes))?.map(|of| of.tgid)
}

fn tag(record: &[u8]) -> Option<u32> {
    record.first_chunk().map(|tag| u32::from_ne_bytes(*tag))
}

impl Probe for Requests {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn is_seen(&self, kernel: &Kernel) -> bool {
        is_seen(kernel)
    }

    fn configure(&mut self, config: &Config) {
        let config = &config.requests;
        *self = Self {
            follow_tls: config.tls,
            share: config.share,
            own: OwnExchanges::of(&config.protocols),
            ..Self::new(config.redactor(), options(config))
        };
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        METRICS
    }

    fn begin(&mut self, kernel: &mut Kernel) -> anyhow::Result<()> {
        if self.share != 0 {
            let mut tunables = kernel.tunables()?;
            tunables.set(Tunables {
                request_share: self.share,
                ..tunables.get()
            });
        }
        follow(kernel)?;
        self.own.begin(kernel)?;
        self.tasks = Some(tasks::Tasks::start(kernel)?);
        if self.follow_tls {
            self.tls = Some(tls::Tls::start(kernel).context("TLS is not observed")?);
        }
        Ok(())
    }

    fn end(&mut self, kernel: &mut Kernel) -> anyhow::Result<()> {
        leave(kernel)
    }

    fn retire(&mut self, gone: WorkloadId, heir: Option<WorkloadId>) {
        self.metrics.retire(gone, heir);
        self.tracer.retire(gone);
    }

    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder) {
        let now = clock::monotonic();
        for active in self.tracer.active() {
            if matches!(active.protocol, Protocol::Http1 | Protocol::Http2) {
                let Active { workload, role, .. } = active;
                self.metrics
                    .active(workload, role, active.tls, active.count, now);
            }
        }
        self.metrics.collect(tick.clock, out);
        self.tls.iter_mut().for_each(tls::Tls::sweep);
        unfollowed::collect(tick, out);
    }

    fn witnesses(&mut self, _sight: &mut Sight<'_>) -> anyhow::Result<Vec<Witness>> {
        self.own.witnesses()
    }

    fn ring(&self) -> Option<&'static str> {
        Some(RING)
    }

    fn record(&mut self, bytes: &[u8], out: &mut SpanCollector<'_>) {
        if let Some(tgid) = executed(bytes) {
            self.tls.iter().for_each(|tls| tls.executed(tgid));
            self.tasks.iter_mut().for_each(|tasks| tasks.executed(tgid));
            return;
        }
        self.tracer.record(bytes);
        self.waiting += 1;
        if self.waiting == AT_ONCE {
            self.drained(false, out);
        }
    }

    fn drained(&mut self, last: bool, out: &mut SpanCollector<'_>) {
        let now = clock::monotonic();
        self.waiting = 0;
        if last {
            self.tracer.flush(now, &mut self.output);
        } else {
            self.tracer.advance(now, &mut self.output);
        }
        if let Some(tasks) = &mut self.tasks {
            self.tracer.take_unsure().for_each(|tgid| tasks.ask(tgid));
        }
        self.hand_on(out);
    }

    fn request_link(&self, request: u64) -> Option<RequestLink> {
        self.tracer.link(request)
    }

    fn keep_one_in(&mut self, n: u32) {
        self.tracer.keep_one_in(n);
    }

    fn losses(&self) -> Vec<(Cause, u64)> {
        let lost = self.tracer.losses();
        let tls = self.tls.as_ref().map(tls::Tls::figures);
        let tls = tls.unwrap_or_default();
        vec![
            (losses::REQUEST_MALFORMED, lost.malformed),
            (losses::REQUEST_OVERRUN, lost.overrun),
            (losses::REQUEST_MISSED, lost.missed),
            (losses::REQUEST_EVICTED, lost.evicted),
            (losses::REQUEST_UNPARSED, lost.failed),
            (losses::REQUEST_ABANDONED, lost.abandoned),
            (losses::REQUEST_LEFT, lost.left),
            (losses::REQUEST_HEAD_PARTIAL, lost.partial),
            (losses::REQUEST_CLOCK, lost.clocks),
            (losses::REQUEST_LIMITED, lost.limited),
            (losses::REQUEST_UNBUFFERED, lost.unbuffered),
            (losses::TLS_FILE_FAILED, tls.failed),
            (losses::TLS_FILE_NO_ROOM, tls.full),
            (losses::TLS_FILE_HELD, tls.held),
        ]
    }
}
