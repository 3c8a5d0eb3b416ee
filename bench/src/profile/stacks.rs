//! Profiles as the tools write them, judged by what the measured program is
//! known to do.

use crate::pulse::COMM;
use observer_testkit::chain::{Line, Shape, Verdict};

/// Reads collapsed stacks: `process;outermost;…;innermost 12` line by line.
pub fn folded(text: &str) -> Vec<Line> {
    let lines = text.lines().filter_map(|line| {
        let (stack, count) = line.rsplit_once(' ')?;
        let mut names = stack.split(';').map(str::to_owned);
        Some(Line {
            process: names.next()?,
            frames: names.collect(),
            count: count.parse().ok()?,
        })
    });
    lines.collect()
}

/// Reads what `perf script -F comm,pid,ip,sym` writes: a line with the process's
/// name and id, then its frames, innermost first, then an empty line.
pub fn perf_script(text: &str) -> Vec<Line> {
    let samples = text.split("\n\n").filter_map(|sample| {
        let mut lines = sample.trim_start_matches('\n').lines();
        let (process, _) = lines.next()?.trim().rsplit_once(' ')?;
        let frames = lines.filter_map(|line| {
            let (address, name) = line.trim().split_once(' ')?;
            // What it ends a stack with that it can't follow to the end.
            let mark = u64::from_str_radix(address, 16) == Ok(u64::MAX);
            (!mark).then(|| name.to_owned())
        });
        let mut frames: Vec<String> = frames.collect();
        frames.reverse();
        Some(Line {
            process: process.trim().to_owned(),
            frames,
            count: 1,
        })
    });
    samples.collect()
}

/// Reads what bpftrace prints of `@[comm, ustack] = count()`: `@[comm, `, the
/// frames, innermost first, then `]: 12`.
pub fn bpftrace(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut open: Option<(String, Vec<String>)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("@[") {
            // Without a stack all is in one line.
            let process = rest.split(',').next().unwrap_or_default().trim();
            open = Some((process.to_owned(), Vec::new()));
        }
        let count = line.rsplit_once("]: ").and_then(|(_, n)| n.parse().ok());
        match (count, &mut open) {
            (Some(count), Some(_)) => {
                let (process, mut frames) = open.take().unwrap_or_default();
                frames.reverse();
                lines.push(Line {
                    process,
                    frames,
                    count,
                });
            }
            (None, Some((_, frames))) if !line.starts_with("@[") => {
                let frame = line.trim();
                let name = frame.rsplit_once('+').map_or(frame, |(name, _)| name);
                let known = !name.starts_with("0x");
                frames.push(if known { name } else { "[unknown]" }.to_owned());
            }
            _ => {}
        }
    }
    lines
}

/// What a tool made of the measured program.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Its samples.
    pub samples: u64,
    /// The share of them whose stack begins at `_start`, but for frames that
    /// nobody knows, and has no gap.
    pub complete: f64,
    /// The share of them with all of the chain to its leaf.
    pub whole_chain: f64,
}

impl Quality {
    /// Of all the program's samples; a stack that is complete begins at one of
    /// `roots`.
    pub fn of(lines: &[Line], roots: &[&str]) -> Self {
        let shape = Shape {
            process: COMM,
            roots,
            ..Shape::default()
        };
        let mut quality = Self::default();
        let (mut complete, mut whole) = (0, 0);
        for line in lines.iter().filter(|line| line.process == COMM) {
            quality.samples += line.count;
            match shape.judge(outermost(&line.frames)) {
                Verdict::WholeChain => whole += line.count,
                Verdict::Complete => complete += line.count,
                Verdict::NoRoot | Verdict::Gap => {}
            }
        }
        let all = quality.samples.max(1) as f64;
        quality.complete = (complete + whole) as f64 / all;
        quality.whole_chain = whole as f64 / all;
        quality
    }
}

/// Without what some tools put before the outermost frame: frames that they
/// know nothing of.
fn outermost(frames: &[String]) -> &[String] {
    let known = frames.iter().position(|name| name != "[unknown]");
    &frames[known.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_testkit::chain::LINKS;

    /// Checks that all forms of the same samples come to the same, and that
    /// other processes and broken stacks don't count as complete.
    #[test]
    fn forms_agree() {
        let links: Vec<String> = (1..=LINKS).map(|n| format!("f{n:02}")).collect();
        let chain = format!("_start;main;qsort_r;compare;{}", links.join(";"));
        let whole = format!("{COMM};{chain};leaf");
        let before = whole.replacen(';', ";[unknown];[unknown];", 1);
        let mut text = format!("{whole} 1\n{before} 1\n{COMM};_start;main 1\n");
        text += &format!("{COMM};[unknown];f01 1\n{COMM};leaf 1\n");
        text += "bash;main 5\n";
        let expected = Quality {
            samples: 5,
            complete: 0.6,
            whole_chain: 0.4,
        };
        let collapsed = folded(&text);
        assert_eq!(Quality::of(&collapsed, &["_start"]), expected);

        let (mut script, mut maps) = (String::from("Attaching 2 probes...\n\n"), String::new());
        for line in &collapsed {
            maps += &format!("@[{}, \n", line.process);
            for (at, name) in line.frames.iter().rev().enumerate() {
                let unknown = name == "[unknown]";
                let name = if unknown { "0x7f00" } else { name };
                maps += &format!(
                    "    {name}{}\n",
                    if unknown {
                        String::new()
                    } else {
                        format!("+{at}")
                    }
                );
            }
            maps += &format!("]: {}\n", line.count);
            for _ in 0..line.count {
                script += &format!("{} 123 \n", line.process);
                for name in line.frames.iter().rev() {
                    script += &format!("\t            1234 {name}\n");
                }
                script += "\tffffffffffffffff [unknown]\n\n";
            }
        }
        assert_eq!(Quality::of(&perf_script(&script), &["_start"]), expected);
        maps += &format!("@[{COMM}, ]: 0\n");
        assert_eq!(Quality::of(&bpftrace(&maps), &["_start"]), expected);
        assert_eq!(Quality::of(&[], &["_start"]), Quality::default());
    }
}
