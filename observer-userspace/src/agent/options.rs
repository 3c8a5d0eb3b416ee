//! What a configuration means to the kernel half.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use observer_common::config::FILTER_V1;
use observer_common::family::Family;

use crate::config::{self, Config};
use crate::identity::{find_cgroup, subsys_enum_name, v1_controller};
use crate::kernel::{Filters, LoadOptions, RequestOptions, SpanLimit};
use crate::probes;

/// Of each CPU's waits one in so many nanoseconds says for which request it was.
const LINK_PERIOD: u64 = 4_000_000;

/// What `--cgroup` means to the kernel half.
///
/// # Errors
///
/// When a cgroup isn't there.
pub fn cgroup_filters(paths: &[PathBuf]) -> Result<Vec<u64>> {
    let mut cgroups = Vec::new();
    for path in paths {
        let found = find_cgroup(path).with_context(|| format!("--cgroup {}", path.display()))?;
        cgroups.extend(found.iter().map(|cgroup| {
            if cgroup.is_v2 {
                cgroup.id
            } else {
                cgroup.id | FILTER_V1
            }
        }));
    }
    Ok(cgroups)
}

/// What the configuration means to the kernel half.
///
/// # Errors
/// A cgroup of the filter isn't there.
pub fn load_options(config: &Config) -> Result<LoadOptions> {
    let cgroups = cgroup_filters(&config.filter.cgroups)?;
    let off_cpu = config.probes.contains(&Family::OffCpu);
    Ok(LoadOptions {
        filters: Filters {
            pids: config.filter.pids.clone(),
            with_children: false,
            comms: config.filter.comms.clone(),
            cgroups,
        },
        workloads: config.tables.workloads,
        histogram_cells: config.tables.cells,
        counter_cells: config.tables.cells.saturating_mul(2),
        v1_subsystem: v1_controller().map(subsys_enum_name),
        slow_block_ns: if config.spans.block {
            u64::try_from(config.spans.slow_io.as_nanos()).unwrap_or(u64::MAX)
        } else {
            u64::MAX
        },
        connection_records: config.spans.tcp,
        span_limit: Some(SpanLimit {
            rate: config.spans.rate,
            burst: config.spans.burst,
        }),
        sched_tallies: true,
        off_cpu: off_cpu.then_some(config.off_cpu_threshold),
        requests: config
            .probes
            .contains(&Family::Requests)
            .then(|| request_options(&config.requests)),
        link_period: LINK_PERIOD,
        // Profiles may have a longer period than metrics.
        sample_entries: probes::cpu::entries(
            config.frequency,
            config.interval.max(Duration::from_secs(10)),
        ) + if off_cpu {
            probes::cpu::OFF_CPU_ENTRIES
        } else {
            0
        },
        diagnostics: config.kernel_debug,
        ring_bytes: Some(config.tables.ring_bytes),
        btf: config.btf.clone(),
    })
}

/// What the kernel half must know to follow requests.
pub fn request_options(config: &config::Requests) -> RequestOptions {
    RequestOptions {
        capture: config.capture,
        protocols: config
            .protocols
            .iter()
            .fold(0, |bits, protocol| bits | 1 << *protocol as u32),
        ring_bytes: config.ring_bytes,
        by_descriptor: config.by_descriptor,
    }
}

#[cfg(test)]
mod tests {
    use observer_common::requests::Protocol;

    use super::*;
    use crate::config::layer::Layer;

    fn options(text: &str) -> Result<LoadOptions> {
        let layer: Layer = toml::from_str(text)?;
        load_options(&Config::load(None, layer)?)
    }

    /// Checks that the kernel half is told to leave out what isn't chosen, and that it
    /// has more room for samples with time off CPU than without.
    #[test]
    fn what_is_not_chosen_is_off() {
        let all = options("").expect("defaults");
        assert!(all.requests.is_some() && all.off_cpu.is_some() && all.connection_records);
        assert_eq!(all.slow_block_ns, 50_000_000);
        let few = "probes=['cpu','tcp']\n[spans]\ntcp=false\nblock=false";
        let few = options(few).expect("correct");
        assert!(few.requests.is_none() && few.off_cpu.is_none() && !few.connection_records);
        assert_eq!(few.slow_block_ns, u64::MAX);
        assert!(few.sample_entries < all.sample_entries);
    }

    /// Checks that protocols become bits, and that a cgroup that isn't there is named
    /// with the option that asks for it.
    #[test]
    fn names_become_numbers() {
        let options = |text| options(&format!("[requests]\nprotocols=['redis','dns']\n{text}"));
        let two = options("").expect("correct").requests.expect("chosen");
        let bit = |protocol: Protocol| 1 << protocol as u32;
        assert_eq!(two.protocols, bit(Protocol::Redis) | bit(Protocol::Dns));
        let missing = options("[filter]\ncgroup=['/no/such/cgroup']").expect_err("none");
        assert!(
            format!("{missing:#}").starts_with("--cgroup /no/such/cgroup: "),
            "{missing:#}"
        );
    }
}
