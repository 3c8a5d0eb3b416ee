//! Profiles: how many samples are taken, and of which times off CPU.

use std::time::Duration;

use anyhow::{Context, Result};
use observer_common::tunables::Tunables;

use super::{Adjust, Parts};
use crate::governor::Lever;
use crate::kernel::tunables::MappedTunables;

/// Stack samples per second and CPU.
pub(super) struct StackSamples {
    /// In hertz, level by level.
    frequencies: Vec<u32>,
}

impl StackSamples {
    /// From `frequency` hertz as configured, like 49 Hz, 19 Hz, 7 Hz.
    pub(super) fn new(frequency: u32) -> Self {
        let mut frequencies = vec![frequency];
        let mut lower = vec![frequency * 2 / 5, frequency / 7];
        lower.retain(|hertz| *hertz > 0);
        lower.dedup();
        frequencies.extend(lower);
        Self { frequencies }
    }
}

impl Adjust for StackSamples {
    fn lever(&self) -> Lever {
        let levels = self.frequencies.iter().map(|hertz| format!("{hertz} Hz"));
        Lever {
            name: "stack_samples",
            subject: "stack samples per CPU",
            levels: levels.collect(),
            ends_off: false,
            lowers_slow: true,
        }
    }

    fn set(
        &mut self,
        level: usize,
        _tunables: &mut MappedTunables,
        parts: &mut Parts<'_>,
    ) -> Result<()> {
        let frequency = self.frequencies.get(level).context("no such level")?;
        if let Some(profiler) = parts.profiler {
            profiler.change_frequency(*frequency);
        }
        parts.ends_profile = true;
        Ok(())
    }
}

/// Time off CPU that is profiled.
pub(super) struct OffCpu {
    /// Shortest time that is profiled, level by level; at the one behind them
    /// none is.
    thresholds: Vec<Duration>,
    counted: bool,
}

impl OffCpu {
    /// From `threshold` as configured.
    pub(super) fn new(threshold: Duration) -> Self {
        let longer = [10, 100].map(Duration::from_millis);
        let longer = longer.into_iter().filter(|longer| *longer > threshold);
        Self {
            thresholds: [threshold].into_iter().chain(longer).collect(),
            counted: true,
        }
    }
}

impl Adjust for OffCpu {
    fn lever(&self) -> Lever {
        let levels = self.thresholds.iter().map(|time| format!("from {time:?}"));
        Lever {
            name: "off_cpu",
            subject: "profiled times off CPU",
            levels: levels.chain(["none".to_owned()]).collect(),
            ends_off: true,
            lowers_slow: true,
        }
    }

    fn set(
        &mut self,
        level: usize,
        tunables: &mut MappedTunables,
        parts: &mut Parts<'_>,
    ) -> Result<()> {
        let threshold = self.thresholds.get(level);
        if self.counted != threshold.is_some() {
            let profiler = parts.profiler.as_mut().context("there is no profiler")?;
            profiler.count_off_cpu(threshold.is_some())?;
            self.counted = threshold.is_some();
        }
        if let Some(threshold) = threshold {
            tunables.set(Tunables {
                off_cpu_threshold: u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX),
                ..tunables.get()
            });
        }
        Ok(())
    }
}
