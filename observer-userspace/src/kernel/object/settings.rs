//! What the kernel half is told once, at load: made of the options and of this
//! kernel's types, and of nothing else.

use observer_common::config::{Config, FILTER_CGROUP, FILTER_COMM, FILTER_PID};
use observer_common::offsets::{MISSING, Offsets};

use super::machine;
use super::options::{Filters, LoadOptions, SpanLimit};
use crate::kernel::btf::KernelBtf;
use crate::kernel::preemption::Preemption;
use crate::kernel::syscalls;

/// Tells which socket a system call is about; since 6.3.
const SOCKET_TRACEPOINT: &str = "sock_send_length";

/// The two globals of the kernel half.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Where this kernel has its fields.
    pub(super) offsets: Offsets,
    /// What is to be done.
    pub(super) config: Config,
}

/// What of a kernel's types the settings depend on.
pub(super) trait Types {
    /// Where the fields are; what isn't there is [`MISSING`].
    fn offsets(&self) -> Offsets;
    /// Whether there is a tracepoint of this name.
    fn has_tracepoint(&self, name: &str) -> bool;
    /// The value of an enumerator.
    fn enumerator(&self, name: &str, enumerator: &str) -> Option<u32>;
}

impl Types for KernelBtf {
    fn offsets(&self) -> Offsets {
        Self::offsets(self)
    }

    fn has_tracepoint(&self, name: &str) -> bool {
        Self::has_tracepoint(self, name)
    }

    fn enumerator(&self, name: &str, enumerator: &str) -> Option<u32> {
        Self::enumerator(self, name, enumerator)
    }
}

impl Settings {
    /// The settings by which a kernel with these `types` is observed as `options`
    /// say, by a daemon that the kernel calls `own_tgid` (0: not known).
    pub(super) fn new(
        options: &LoadOptions,
        types: &impl Types,
        preemption: &Preemption,
        own_tgid: u32,
    ) -> Self {
        let mut offsets = types.offsets();
        let requests = options.requests.unwrap_or_default();
        let by_descriptor = options.requests.is_some()
            && (requests.by_descriptor || !types.has_tracepoint(SOCKET_TRACEPOINT));
        let (span_interval, span_advance) =
            options.span_limit.map_or((0, 0), SpanLimit::nanoseconds);
        let threshold = options.off_cpu.unwrap_or_default().as_nanos();
        let mut config = Config {
            filters: filters(&options.filters),
            diagnostics: options.diagnostics.into(),
            cgroup_v1: 0,
            slow_block_ns: options.slow_block_ns,
            connection_records: options.connection_records.into(),
            code_mask: machine::code_mask(),
            span_interval,
            span_advance,
            // A small number on every machine.
            connect: libc::SYS_connect as u32,
            sched_tallies: options.sched_tallies.into(),
            off_cpu: options.off_cpu.is_some().into(),
            off_cpu_threshold: u64::try_from(threshold).unwrap_or(u64::MAX),
            requests: options.requests.is_some().into(),
            own_tgid,
            capture: requests.capture,
            protocols: requests.protocols,
            shutdown: libc::SYS_shutdown as u32,
            // Woken whenever a quarter of it is full.
            request_ring_shift: requests.ring_bytes.max(4096).ilog2() - 2,
            by_descriptor: by_descriptor.into(),
            preemptible: preemption.tracepoints.into(),
            network_namespace: crate::kernel::namespaces::own_network().unwrap_or(0),
            syscalls: syscalls::classes(),
            link_period: options.link_period,
            dwarf_registers: machine::dwarf_registers(),
        };
        if let Some(subsystem) = &options.v1_subsystem
            && let Some(index) = types.enumerator("cgroup_subsys_id", subsystem)
            && offsets.css_set_subsys != MISSING
        {
            // The kernel half reads `subsys[index]` as if it were a field.
            offsets.css_set_subsys += index * size_of::<u64>() as u32;
            config.cgroup_v1 = 1;
        }
        Self { offsets, config }
    }

    /// Whether sockets are found by their descriptors.
    pub(super) fn by_descriptor(&self) -> bool {
        self.config.by_descriptor != 0
    }
}

/// `FILTER_*` of the kinds of which there are entries.
fn filters(filters: &Filters) -> u32 {
    let kinds = [
        (!filters.pids.is_empty(), FILTER_PID),
        (!filters.comms.is_empty(), FILTER_COMM),
        (!filters.cgroups.is_empty(), FILTER_CGROUP),
    ];
    let present = kinds.iter().filter(|(present, _)| *present);
    present.fold(0, |flags, (_, flag)| flags | flag)
}

#[cfg(test)]
mod tests {
    use super::super::options::RequestOptions;
    use super::*;
    use std::time::Duration;

    /// A kernel with some tracepoints, one controller and one field.
    #[derive(Default)]
    struct Fake {
        tracepoints: &'static [&'static str],
        subsys: Option<u32>,
    }

    impl Types for Fake {
        fn offsets(&self) -> Offsets {
            Offsets {
                css_set_subsys: self.subsys.unwrap_or(MISSING),
                ..Offsets::MISSING
            }
        }

        fn has_tracepoint(&self, name: &str) -> bool {
            self.tracepoints.contains(&name)
        }

        fn enumerator(&self, name: &str, enumerator: &str) -> Option<u32> {
            (name == "cgroup_subsys_id" && enumerator == "memory_cgrp_id").then_some(4)
        }
    }

    fn config(options: &LoadOptions) -> Config {
        let new = Fake {
            tracepoints: &[SOCKET_TRACEPOINT],
            subsys: Some(16),
        };
        Settings::new(options, &new, &Preemption::default(), 7).config
    }

    /// Checks that what is off by default is off, and that a choice turns on its
    /// own setting.
    #[test]
    fn choices_turn_on_their_settings() {
        let defaults = config(&LoadOptions::default());
        assert_eq!((defaults.off_cpu, defaults.requests), (0, 0));
        assert_eq!((defaults.filters, defaults.diagnostics), (0, 0));
        assert_eq!((defaults.span_interval, defaults.own_tgid), (0, 7));
        assert_eq!(defaults.slow_block_ns, 50_000_000);
        let chosen = config(&LoadOptions {
            filters: Filters {
                comms: vec!["a".to_owned()],
                cgroups: vec![1],
                ..Filters::default()
            },
            off_cpu: Some(Duration::from_millis(1)),
            requests: Some(RequestOptions {
                ring_bytes: 1 << 20,
                ..RequestOptions::default()
            }),
            span_limit: Some(SpanLimit { rate: 10, burst: 3 }),
            ..LoadOptions::default()
        });
        assert_eq!(chosen.filters, FILTER_COMM | FILTER_CGROUP);
        assert_eq!((chosen.off_cpu, chosen.off_cpu_threshold), (1, 1_000_000));
        assert_eq!((chosen.requests, chosen.request_ring_shift), (1, 18));
        assert_eq!(
            (chosen.span_interval, chosen.span_advance),
            (100_000_000, 200_000_000)
        );
    }

    /// Checks that sockets are found by descriptors where the kernel doesn't tell
    /// of them or the user wants it so, and never where requests aren't followed.
    #[test]
    fn descriptors_are_the_other_way() {
        let follow = |by_descriptor| LoadOptions {
            requests: Some(RequestOptions {
                by_descriptor,
                ..RequestOptions::default()
            }),
            ..LoadOptions::default()
        };
        let old = |options: &LoadOptions| {
            Settings::new(options, &Fake::default(), &Preemption::default(), 0).by_descriptor()
        };
        assert!(old(&follow(false)));
        assert!(!old(&LoadOptions::default()));
        assert_eq!(config(&follow(false)).by_descriptor, 0);
        assert_eq!(config(&follow(true)).by_descriptor, 1);
    }

    /// Checks that a v1 controller's place is found, and that without the field or
    /// the controller there is none.
    #[test]
    fn controllers_are_found() {
        let options = |name: &str| LoadOptions {
            v1_subsystem: Some(name.to_owned()),
            ..LoadOptions::default()
        };
        let with = |subsys, name| {
            let types = Fake {
                subsys,
                ..Fake::default()
            };
            let Settings { offsets, config } =
                Settings::new(&options(name), &types, &Preemption::default(), 0);
            (config.cgroup_v1, offsets.css_set_subsys)
        };
        assert_eq!(with(Some(16), "memory_cgrp_id"), (1, 16 + 4 * 8));
        assert_eq!(with(None, "memory_cgrp_id"), (0, MISSING));
        assert_eq!(with(Some(16), "no_such_id"), (0, 16));
    }
}
