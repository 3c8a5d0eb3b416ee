//! What a recording comes to.

use std::collections::BTreeMap;

use observer_signals::profile::Profile;
use observer_signals::wait::Reason;

use super::options::RecordOptions;
use crate::stacks::Symbolized;
use observer_export::terminal::local_date_time;

/// What was recorded, with names.
pub(super) struct Recorded {
    /// What the outputs show.
    pub(super) shown: Symbolized,
    /// Time off CPU, where it is written beside them.
    pub(super) off_cpu: Option<Symbolized>,
    /// Time off CPU that neither has.
    pub(super) left_out: LeftOut,
}

/// Nanoseconds in which threads were idle, by reason.
pub(super) type LeftOut = BTreeMap<Reason, u64>;

impl Recorded {
    /// Is there nothing to show?
    pub(super) fn is_empty(&self) -> bool {
        let beside = self.off_cpu.iter().map(|beside| beside.profile.total());
        self.shown.profile.total() == 0 && beside.sum::<u64>() == 0
    }

    /// Has profiles say whom they are about, on which host, since when.
    pub(super) fn tell_about(&mut self, options: &RecordOptions) {
        let uname = nix::sys::utsname::uname();
        let host = uname
            .as_ref()
            .map_or("".into(), |name| name.nodename().to_string_lossy());
        let beside = self.off_cpu.iter_mut().map(|beside| &mut beside.profile);
        for profile in [&mut self.shown.profile].into_iter().chain(beside) {
            let since = local_date_time(profile.start);
            profile.about = format!("{} · {host}, {since}", options.whom);
        }
    }

    /// Takes waits in which nothing was delayed out of what is shown.
    pub(super) fn leave_idle_out(&mut self) {
        self.left_out = leave_idle_out(&mut self.shown.profile);
        if let Some(beside) = &mut self.off_cpu {
            // The same time, where both have it.
            self.left_out = leave_idle_out(&mut beside.profile);
        }
    }
}

fn leave_idle_out(profile: &mut Profile) -> LeftOut {
    let mut left_out = LeftOut::new();
    profile.samples.retain(|sample| match sample.wait {
        Some(wait) if !wait.holds_up() => {
            *left_out.entry(wait.reason).or_default() += sample.value;
            false
        }
        _ => true,
    });
    left_out
}
