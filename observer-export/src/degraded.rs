//! What works less than it should now, by name: for `/readyz` and the service manager.

use std::collections::HashMap;

use crate::otlp::signal::{ExportStats, Signal};
use crate::self_stats::SelfStats;

/// Compares the daemon's figures with those of the time before.
#[derive(Debug, Default)]
pub struct Degradation {
    /// Losses by probe and cause.
    losses: HashMap<(String, String), u64>,
    export: ExportStats,
}

impl Degradation {
    /// One line for each thing that is degraded, its name first. Losses are those since the
    /// last look.
    pub fn look(&mut self, own: &SelfStats, export: Option<&ExportStats>) -> Vec<String> {
        let missing = own.missing.iter().map(|program| {
            let (name, without) = (&program.program, program.lost_without);
            format!(
                "{}: {name} is not attached; lost without it: {without}",
                program.probe
            )
        });
        let mut lines: Vec<String> = missing.collect();
        for family in &own.seeing {
            for what in family.blind.iter().flatten() {
                lines.push(format!("{}: blind: {what}", family.probe));
            }
        }
        for loss in &own.losses {
            let key = (loss.probe.clone(), loss.cause.clone());
            let before = self.losses.insert(key, loss.count).unwrap_or(0);
            let lost = loss.count.saturating_sub(before);
            if lost > 0 && !loss.quiet {
                let (probe, cause) = (&loss.probe, &loss.cause);
                lines.push(format!("{probe}: {cause}: {lost} lost: {}", loss.meaning));
            }
        }
        if !own.set_aside.is_empty() {
            let count = own.set_aside.len();
            lines.push(format!("readers: {count} wait for what doesn't answer"));
        }
        if let Some(status) = own.governing.as_ref().filter(|status| status.level > 0) {
            let (level, levels) = (status.level, status.levels);
            lines.push(format!("budget: step {level} of {levels}: {}", status.less));
        }
        lines.extend(export.into_iter().flat_map(|export| self.export(export)));
        lines
    }

    /// Signals of which the endpoint took nothing, or not all.
    fn export(&mut self, export: &ExportStats) -> Vec<String> {
        let before = std::mem::replace(&mut self.export, *export);
        let mut lines = Vec::new();
        for signal in Signal::ALL {
            let (then, now) = (before.signal(signal), export.signal(signal));
            let name = signal.as_str();
            let failed = now.retries.saturating_sub(then.retries);
            if failed > 0 && now.sent_requests == then.sent_requests {
                lines.push(format!("otlp: {name}: the endpoint takes nothing"));
            }
            let lost = now.lost_total().saturating_sub(then.lost_total());
            if lost > 0 {
                lines.push(format!(
                    "otlp: {name}: {lost} lost on the way to the endpoint"
                ));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::self_stats::{Missing, ProbeLoss, Seeing, SetAside};
    use observer_signals::BudgetStatus;

    /// Checks that each kind is named, that losses and failures are those since the last
    /// look, and that a quiet loss and a healthy daemon say nothing.
    #[test]
    fn what_is_degraded_is_named() {
        let loss = |cause: &str, count, quiet| ProbeLoss {
            probe: "tcp".to_owned(),
            cause: cause.to_owned(),
            meaning: "Records.",
            count,
            quiet,
        };
        let own = SelfStats {
            losses: vec![loss("ring_full", 5, false), loss("limited", 9, true)],
            ..SelfStats::default()
        };
        let mut degradation = Degradation::default();
        let first = degradation.look(&own, None);
        assert_eq!(first, ["tcp: ring_full: 5 lost: Records."]);
        assert_eq!(degradation.look(&own, None), [""; 0]);
        let own = SelfStats {
            losses: vec![loss("ring_full", 7, false)],
            missing: vec![Missing {
                probe: "block".to_owned(),
                program: "block_rq_issue",
                lost_without: "disks",
            }],
            seeing: vec![Seeing {
                probe: "sched".to_owned(),
                blind: Some(vec!["switches".to_owned()]),
            }],
            set_aside: vec![SetAside::default()],
            governing: Some(BudgetStatus {
                level: 1,
                levels: 8,
                less: "no spans".to_owned(),
                ..BudgetStatus::default()
            }),
            ..SelfStats::default()
        };
        let mut export = ExportStats::default();
        export.signals[Signal::Traces].retries = 3;
        let lines = degradation.look(&own, Some(&export));
        let expected = [
            "block: block_rq_issue is not attached; lost without it: disks",
            "sched: blind: switches",
            "tcp: ring_full: 2 lost: Records.",
            "readers: 1 wait for what doesn't answer",
            "budget: step 1 of 8: no spans",
            "otlp: traces: the endpoint takes nothing",
        ];
        assert_eq!(lines, expected);
        export.signals[Signal::Traces].retries = 4;
        export.signals[Signal::Traces].sent_requests = 1;
        assert_eq!(
            degradation.look(&SelfStats::default(), Some(&export)),
            [""; 0]
        );
    }
}
