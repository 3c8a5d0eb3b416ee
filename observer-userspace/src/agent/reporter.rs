//! What the service manager is told: that the daemon lives, and how things stand.

use observer_common::family::Family;

use crate::supervisor::Supervisor;
use observer_export::degraded::Degradation;
use observer_export::self_stats::SelfStats;

/// Who tells it.
pub(super) struct Reporter {
    supervisor: Supervisor,
    degradation: Degradation,
}

impl Reporter {
    /// Tells whoever the environment names.
    pub(super) fn of_environment() -> Self {
        Self {
            supervisor: Supervisor::of_environment(),
            degradation: Degradation::default(),
        }
    }

    /// Everything is attached, and these families see.
    pub(super) fn begin(&mut self, families: &[Family]) {
        self.supervisor.ready();
        self.supervisor.status(&status(families, &[]));
    }

    /// The loop has come round once more.
    pub(super) fn alive(&mut self) {
        self.supervisor.alive();
    }

    /// The daemon is about to end.
    pub(super) fn stopping(&mut self) {
        self.supervisor.stopping();
    }

    /// An interval has ended with these figures.
    pub(super) fn tick(&mut self, families: &[Family], own: &SelfStats) {
        let degraded = self.degradation.look(own, None);
        self.supervisor.status(&status(families, &degraded));
    }
}

/// How things stand, in a line.
fn status(families: &[Family], degraded: &[String]) -> String {
    let families = families.iter().map(|family| family.as_str());
    let observing = format!("observing {}", families.collect::<Vec<_>>().join(", "));
    match degraded {
        [] => observing,
        [first] => format!("{observing}; degraded: {first}"),
        [first, rest @ ..] => format!("{observing}; degraded: {first} (and {} more)", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a status says what is observed, and the first of what is degraded.
    #[test]
    fn a_status_is_a_line() {
        let of = |degraded: &[&str]| {
            let degraded: Vec<String> = degraded.iter().map(|d| (*d).to_owned()).collect();
            status(&[Family::Tcp, Family::Block], &degraded)
        };
        assert_eq!(of(&[]), "observing tcp, block");
        assert_eq!(of(&["a: b"]), "observing tcp, block; degraded: a: b");
        let several = "observing tcp, block; degraded: a (and 2 more)";
        assert_eq!(of(&["a", "b", "c"]), several);
    }
}
