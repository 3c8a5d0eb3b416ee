//! Packets: what the kernel drops and why, datagrams by workload, and what it counts of
//! interfaces and queues itself.
//!
//! - [`metrics`]: what is exported
//! - [`reasons`]: the kernel's reasons
//! - [`host`]: interfaces, softnet, datagrams' errors, queues, from `/proc` and `/sys`
//! - [`witnesses`]: by what it is compared

mod host;
pub mod metrics;
mod reasons;
mod witnesses;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use anyhow::Result;
use observer_common::family::{Family, Part};
use observer_common::names::programs;
use observer_common::net::{Drop, owner};
use observer_common::tally::Kind;
use observer_signals::{Instrument, MetricDef};

use super::{MetricBuilder, Probe, Sight, Tick};
use crate::blindness::Witness;
use crate::foreign::{SHORTLY, Subject, ask};
use crate::kernel::iter::Iterator;
use crate::kernel::{Attach, Kernel, ProbeSpec, ProgramSpec};
use host::Host;
use reasons::Reasons;
use witnesses::Own;

const SOCKET_FIELDS: &[&str] = &["sock_family", "sock_type", "sock_protocol"];

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::Net),
    observes: "dropped packets and their reasons, datagrams, interfaces",
    programs: &[
        ProgramSpec {
            name: programs::NET_DROP,
            attach: Attach::Tracepoint("kfree_skb"),
            needs: &[
                "skb_sk",
                "skb_dev",
                "skb_iif",
                "skb_protocol",
                "skb_head",
                "skb_end",
                "device_index",
                "device_net",
                "sock_family",
                "sock_net_inum",
            ],
            lost_without: "dropped packets and their reasons",
        },
        ProgramSpec {
            name: programs::NET_SENT,
            attach: Attach::Tracepoint("sock_send_length"),
            needs: SOCKET_FIELDS,
            lost_without: "datagrams that programs send, and whose the sockets are that they use",
        },
        ProgramSpec {
            name: programs::NET_RECEIVED,
            attach: Attach::Tracepoint("sock_recv_length"),
            needs: SOCKET_FIELDS,
            lost_without: "datagrams that programs receive, and whose the sockets are that they use",
        },
        ProgramSpec {
            name: programs::NET_HOLDERS,
            attach: Attach::Iterator("task_file"),
            needs: &["socket_sk", "sock_family", "task_tgid"],
            lost_without: "whose the dropped packets are of sockets by which nothing was sent or received",
        },
    ],
    requires: &[&super::sched::SPEC],
    covered_by: None,
    prepare: None,
    seen_by: &[
        programs::NET_DROP,
        programs::NET_SENT,
        programs::NET_RECEIVED,
    ],
};

/// The programs that count datagrams, in the order in which they are attached.
pub(crate) const DATAGRAMS: [&str; 2] = [programs::NET_SENT, programs::NET_RECEIVED];

/// Who holds which socket is looked for so often, if nothing asks for it earlier.
const HOLDERS_PERIOD: Duration = Duration::from_secs(60);

/// The family.
#[derive(Default)]
pub struct Net {
    host: Arc<Mutex<Host>>,
    reasons: Reasons,
    /// Sees every open file.
    holders: Option<Iterator>,
    /// When it last did.
    looked: Option<Instant>,
    /// Packets dropped of sockets of which nobody knew whose they are: as of the last
    /// tick, and when holders were looked for.
    unknown: (u64, u64),
    /// Names of interfaces by index, also of those that are gone.
    interfaces: HashMap<u32, String>,
    own: Own,
}

/// What nobody else holds; `None` while a reader that doesn't come back does.
fn free<T>(shared: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match shared.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Net {
    fn read_host(&self) {
        let host = Arc::clone(&self.host);
        // What doesn't answer is said there.
        let _ = ask(Subject::Figures, SHORTLY, move |foreign| {
            if let Some(mut host) = free(&host) {
                host.read(foreign);
            }
        });
    }

    /// Looks who holds which socket, if packets of sockets were dropped of which that
    /// isn't known, or it is long ago.
    fn look_for_holders(&mut self) -> Result<()> {
        let (now, before) = self.unknown;
        let is_old = self.looked.is_none_or(|at| at.elapsed() >= HOLDERS_PERIOD);
        let Some(holders) = self.holders.as_ref().filter(|_| is_old || now != before) else {
            return Ok(());
        };
        self.unknown.1 = now;
        self.looked = Some(Instant::now());
        holders.run(|_| {})
    }
}

impl Probe for Net {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        metrics::ALL
    }

    fn start(&mut self, kernel: &mut Kernel) -> Result<()> {
        self.reasons = Reasons::of(kernel.drop_reasons());
        match Iterator::new(kernel, programs::NET_HOLDERS, None) {
            Ok(holders) => self.holders = Some(holders),
            Err(error) => tracing::warn!("{error:#}"),
        }
        self.look_for_holders()
    }

    fn begin(&mut self, _kernel: &mut Kernel) -> Result<()> {
        self.read_host();
        Ok(())
    }

    fn before_tick(&mut self, _kernel: &mut Kernel) -> Result<()> {
        self.read_host();
        self.look_for_holders()
    }

    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder) {
        let unknown = |label| Drop::of(label).owner == owner::UNKNOWN;
        self.unknown.0 = tick.tallies.sum_where(Kind::NetDrops, unknown);
        let host = free(&self.host);
        if let Some(host) = &host {
            self.interfaces.extend(host.interfaces());
        }
        let boot = tick.clock.wall(0);
        for figure in host.iter().flat_map(|host| host.figures()) {
            let start = match figure.def.instrument {
                Instrument::Counter => boot,
                _ => 0,
            };
            out.host(
                figure.def,
                figure.attributes.clone(),
                start,
                figure.value.clone(),
            );
        }
        let name = |index| self.interfaces.get(&index).cloned();
        drop(host);
        metrics::tallies(tick, &self.reasons, name, out);
    }

    fn witnesses(&mut self, sight: &mut Sight<'_>) -> Result<Vec<Witness>> {
        self.own.witnesses(sight)
    }
}
