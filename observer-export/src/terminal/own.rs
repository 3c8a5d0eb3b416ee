//! What Observer itself cost, in one line, and what it lost, in a sentence each.

use super::format::{bytes, count, percent, wrapped};
use super::unfollowed::Unfollowed;
use super::{Interval, Shown};
use observer_signals::BudgetStatus;

/// The daemon's own cost in an interval.
#[derive(Clone, Debug, Default)]
pub struct OwnCost {
    /// CPU seconds of the daemon, user and system.
    pub cpu_seconds: f64,
    /// CPU seconds of the kernel half, estimated from a short window.
    pub bpf_seconds: f64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// What was lost; empty when nothing was.
    pub lost: Vec<Lost>,
    /// What families don't see though it happens.
    pub blind: Vec<String>,
    /// What the governor did, if any step is taken.
    pub governed: Option<BudgetStatus>,
}

/// Something that was lost in an interval.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Its name in metrics.
    pub cause: String,
    /// How often.
    pub count: u64,
    /// What exactly is lost each time, in a sentence.
    pub meaning: &'static str,
}

/// Losses that get a sentence; of the others only the names are told.
const SENTENCES: usize = 4;

/// Cost in one line, then what isn't right: losses, blindness, the governor.
pub fn line(interval: &Interval<'_>, unfollowed: &Unfollowed) -> Shown {
    let own = &interval.own;
    let lost = if own.lost.is_empty() && unfollowed.no_room() == 0.0 {
        "nothing lost"
    } else {
        "not all is seen:"
    };
    let first = format!(
        "observer itself: daemon {} of a core, kernel half {}, {} resident, {lost}",
        percent(own.cpu_seconds / interval.seconds),
        percent(own.bpf_seconds / interval.seconds),
        bytes(own.rss as f64),
    );
    let blind = own.blind.iter().map(|text| format!("BLIND: {text}"));
    let governed = own.governed.as_ref().map(governed);
    let lines = [first].into_iter().chain(losses(&own.lost));
    let lines = lines.chain(unfollowed.line());
    let mut out = Shown::default();
    for line in lines.chain(blind).chain(governed) {
        out.push(wrapped(line, interval.width));
    }
    out
}

/// A line for each loss, most first, and one for those that are more than have room.
fn losses(lost: &[Lost]) -> Vec<String> {
    let mut lost: Vec<&Lost> = lost.iter().collect();
    lost.sort_by_key(|loss| std::cmp::Reverse(loss.count));
    let (told, rest) = lost.split_at(lost.len().min(SENTENCES));
    let told = told.iter().map(
        |Lost {
             cause,
             count: n,
             meaning,
         }| { format!("LOST {} {cause}: {meaning}", count(*n as f64)) },
    );
    let mut lines: Vec<String> = told.collect();
    if !rest.is_empty() {
        let rest = rest
            .iter()
            .map(|loss| format!("{} {}", count(loss.count as f64), loss.cause));
        lines.push(format!("LOST {}", rest.collect::<Vec<_>>().join(", ")));
    }
    lines
}

/// One more line: what is done less, and why.
fn governed(status: &BudgetStatus) -> String {
    let over = if status.exhausted {
        "; there is nothing left to do without"
    } else {
        ""
    };
    format!(
        "to keep to its budget of {} of the host's CPU (now {}{over}): {}",
        percent(status.budget),
        percent(status.bpf + status.daemon),
        status.less,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that losses are told with their sentence, most first, and the fifth and later
    /// ones by name only; and what is said where there are none.
    #[test]
    fn losses_are_sentences() {
        let text = |lost: &[(&str, u64)]| {
            let lost = lost.iter().map(|(cause, count)| Lost {
                cause: (*cause).to_owned(),
                count: *count,
                meaning: "So it is.",
            });
            let interval = Interval {
                seconds: 1.0,
                width: 100,
                own: OwnCost {
                    lost: lost.collect(),
                    ..OwnCost::default()
                },
                ..Interval::default()
            };
            line(&interval, &Unfollowed::default()).as_str().to_owned()
        };
        let none = text(&[]);
        assert!(
            none.ends_with("nothing lost\n") && none.lines().count() == 1,
            "{none}"
        );
        let some = text(&[
            ("a", 1),
            ("b", 5000),
            ("c", 2),
            ("d", 3),
            ("e", 1),
            ("f", 1),
        ]);
        let lines: Vec<&str> = some.lines().collect();
        assert!(lines[0].ends_with("not all is seen:"), "{some}");
        assert_eq!(lines[1], "LOST 5k b: So it is.");
        assert_eq!(lines[4], "LOST 1 a: So it is.");
        assert_eq!(lines[5], "LOST 1 e, 1 f");
        assert_eq!(lines.len(), 6);
    }
}
