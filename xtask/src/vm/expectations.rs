//! What is expected of each kernel: one table. Whatever else isn't attached, or is
//! lost, fails, and so does each figure that is wrong by more than is told to be lost,
//! and a program of the table that is there.

use super::findings::Findings;
use super::kernels::Series;

/// Something that a kernel lacks, or that may be lost there.
#[derive(Debug)]
pub struct Expected {
    /// The first series of which it is true.
    from: Series,
    /// The first of which it isn't any more.
    before: Series,
    what: What,
    /// Why, in a sentence.
    why: &'static str,
}

/// What may differ; a name that ends with `*` is that of all which begin so.
#[derive(Debug)]
enum What {
    /// A program isn't attached: the kernel hasn't got its hook.
    Program(&'static str),
    /// Something is lost, sometimes, and told.
    Loss(&'static str),
}

/// Before all.
const FIRST: Series = Series(0, 0);
/// Behind all.
const LAST: Series = Series(u32::MAX, 0);

/// Rows of the table of results that aren't parts of figures.
pub const PROGRAMS: &str = "programs";
/// See [`PROGRAMS`].
pub const LOSSES: &str = "losses";
/// See [`PROGRAMS`].
pub const KERNEL: &str = "kernel's log";
/// See [`PROGRAMS`]: what the table of expectations says and isn't so.
const EXPECTATIONS: &str = "expectations";

const SOCKETS: &str = "sockets have no tracepoints (`sock_send_length` came with Linux 6.3): they \
                       are found by descriptor";
const DATAGRAMS: &str = "sockets have no tracepoints (`sock_send_length` came with Linux 6.3): \
                         datagrams aren't counted by workload";
const PREEMPTED: &str = "programs on tracepoints can lose the CPU inside, and then the kernel leaves \
                         out others of them (`program_missed`)";
const SLOW: &str = "a debug build on an emulated processor is too slow for some stacks";

/// The table.
const TABLE: &[Expected] = &[
    Expected {
        from: FIRST,
        before: Series(6, 3),
        what: What::Program("requests_sent"),
        why: SOCKETS,
    },
    Expected {
        from: FIRST,
        before: Series(6, 3),
        what: What::Program("requests_received"),
        why: SOCKETS,
    },
    Expected {
        from: FIRST,
        before: Series(6, 3),
        what: What::Program("net_sent"),
        why: DATAGRAMS,
    },
    Expected {
        from: FIRST,
        before: Series(6, 3),
        what: What::Program("net_received"),
        why: DATAGRAMS,
    },
    Expected {
        from: FIRST,
        before: Series(6, 5),
        what: What::Program("block_done"),
        why: "`block_io_done` came with Linux 6.5",
    },
    Expected {
        from: Series(7, 2),
        before: LAST,
        what: What::Loss("run: observer.probe.lost requests request_*"),
        why: PREEMPTED,
    },
    Expected {
        from: Series(7, 2),
        before: LAST,
        what: What::Loss("run: observer.probe.lost bpf program_missed"),
        why: PREEMPTED,
    },
    Expected {
        from: Series(7, 2),
        before: LAST,
        what: What::Loss("run: observer.probe.lost syscalls *"),
        why: PREEMPTED,
    },
    Expected {
        from: Series(7, 2),
        before: LAST,
        what: What::Loss("loops: observer.probe.lost bpf program_missed"),
        why: PREEMPTED,
    },
    Expected {
        from: Series(7, 2),
        before: LAST,
        what: What::Loss("loops: observer.probe.lost syscalls *"),
        why: PREEMPTED,
    },
    Expected {
        from: FIRST,
        before: Series(6, 3),
        what: What::Loss("run: observer.probe.lost requests request_unparsed"),
        why: "now and then a message is not understood where sockets are found by descriptor",
    },
    Expected {
        from: FIRST,
        before: LAST,
        what: What::Loss("run: observer.probe.lost cpu *"),
        why: SLOW,
    },
];

/// How a guest's findings compare with what is expected.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What isn't as it must be, each with its row.
    pub failures: Vec<(String, String)>,
    /// What was expected, by the figures' part or `programs` or `losses`: the reason.
    pub expected: Vec<Note>,
}

/// An expectation that came true.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    /// `programs`, `losses`, or a figure's part.
    pub row: String,
    /// Why.
    pub why: &'static str,
}

/// Judges the findings of a kernel.
pub fn judge(series: Series, findings: &Findings) -> Verdict {
    judge_by(TABLE, series, findings)
}

fn judge_by(table: &'static [Expected], series: Series, findings: &Findings) -> Verdict {
    let here: Vec<&Expected> = table
        .iter()
        .filter(|row| row.from <= series && series < row.before)
        .collect();
    let mut came_true = vec![false; here.len()];
    let mut verdict = Verdict::default();
    let mut found = |row: &str, text: String, is_it: &dyn Fn(&What) -> bool| {
        let at = here.iter().position(|expected| is_it(&expected.what));
        match at.and_then(|at| Some((here.get(at)?, came_true.get_mut(at)?))) {
            None => verdict.failures.push((row.to_owned(), text)),
            Some((expected, came_true)) => {
                *came_true = true;
                let note = Note {
                    row: row.to_owned(),
                    why: expected.why,
                };
                if !verdict.expected.contains(&note) {
                    verdict.expected.push(note);
                }
            }
        }
    };
    for missing in &findings.missing {
        let text = format!(
            "{} isn't there (options: {:?}): {}",
            missing.name, missing.options, missing.reason
        );
        found(
            "programs",
            text,
            &|what| matches!(what, What::Program(name) if is_named(name, &missing.name)),
        );
    }
    for (cause, count) in &findings.losses {
        let text = format!("lost: {count} × {cause}");
        found(
            "losses",
            text,
            &|what| matches!(what, What::Loss(name) if is_named(name, cause)),
        );
    }
    for (expected, came_true) in here.iter().zip(came_true) {
        if !came_true && matches!(expected.what, What::Program(_)) {
            let text = format!(
                "is no longer true, strike it out of the table of expectations: {:?}, {}",
                expected.what, expected.why
            );
            verdict.failures.push((EXPECTATIONS.to_owned(), text));
        }
    }
    for figure in findings.figures.iter().filter(|figure| !figure.holds) {
        let text = format!("{}: {}, not {}", figure.name, figure.found, figure.known);
        let row = part(&figure.name).to_owned();
        verdict.failures.push((row, text));
    }
    for complaint in &findings.complaints {
        verdict
            .failures
            .push((KERNEL.to_owned(), complaint.clone()));
    }
    verdict
}

/// The part of a figure: what stands before the colon.
pub fn part(figure: &str) -> &str {
    figure.split_once(": ").map_or(figure, |(part, _)| part)
}

fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::findings::{Figure, Missing};

    const TRIED: &[Expected] = &[
        Expected {
            from: FIRST,
            before: Series(6, 3),
            what: What::Program("requests_sent"),
            why: "the tracepoint came with 6.3",
        },
        Expected {
            from: FIRST,
            before: LAST,
            what: What::Loss("run: *"),
            why: "now and then",
        },
    ];

    fn findings(missing: &[&str], wrong: &[&str], lost: &[&str]) -> Findings {
        Findings {
            figures: wrong
                .iter()
                .map(|name| Figure {
                    name: (*name).to_owned(),
                    found: "1".into(),
                    known: "2".into(),
                    holds: false,
                })
                .collect(),
            losses: lost.iter().map(|name| ((*name).to_owned(), 1)).collect(),
            missing: missing
                .iter()
                .map(|name| Missing {
                    options: String::new(),
                    name: (*name).to_owned(),
                    reason: "why".into(),
                })
                .collect(),
            complaints: Vec::new(),
        }
    }

    fn said(verdict: Verdict) -> Vec<String> {
        verdict.failures.into_iter().map(|(_, text)| text).collect()
    }

    fn failures(series: Series, findings: &Findings) -> Vec<String> {
        said(judge_by(TRIED, series, findings))
    }

    /// Checks that what is expected of a kernel passes there and nowhere else, that
    /// what isn't in the table fails, a wrong figure above all, and that a program that
    /// is there though the table says otherwise fails, too.
    #[test]
    fn expectations_hold_where_they_are() {
        let old = findings(&["requests_sent"], &[], &["run: x"]);
        assert_eq!(failures(Series(6, 1), &old), [""; 0]);
        let elsewhere = failures(Series(6, 12), &old);
        assert!(elsewhere.len() == 1 && elsewhere[0].starts_with("requests_sent isn't there"));
        let nothing = failures(Series(6, 1), &findings(&[], &[], &[]));
        assert!(
            nothing.len() == 1 && nothing[0].contains("strike it out"),
            "{nothing:?}"
        );
        assert_eq!(failures(Series(6, 12), &findings(&[], &[], &[])), [""; 0]);
        let wrong = findings(&[], &["tcp: bytes"], &["loops: y"]);
        let wrong = failures(Series(7, 3), &wrong);
        assert_eq!(wrong, ["lost: 1 × loops: y", "tcp: bytes: 1, not 2"]);
    }

    /// Checks that a complaint of the kernel fails, whatever else is expected, and that
    /// reasons come with the part they are about.
    #[test]
    fn complaints_and_reasons() {
        let mut wrong = findings(&[], &[], &["run: x", "run: y"]);
        wrong.complaints.push("BUG: x".into());
        let verdict = judge_by(TRIED, Series(7, 3), &wrong);
        assert_eq!(verdict.failures, [(KERNEL.to_owned(), "BUG: x".to_owned())]);
        let note = Note {
            row: LOSSES.into(),
            why: "now and then",
        };
        assert_eq!(verdict.expected, [note]);
    }
}
