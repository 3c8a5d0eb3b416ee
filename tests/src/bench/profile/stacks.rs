//! Profiles as the tools write them, judged by what the measured program is
//! known to do.

use crate::bench::pulse::COMM;
use crate::chain::{Line, Shape, Verdict};

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
    /// Of all the program's samples.
    pub fn of(lines: &[Line]) -> Self {
        let shape = Shape {
            process: COMM,
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
    use crate::chain::LINKS;

    /// Checks that the two forms of the same samples come to the same, and that
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
        assert_eq!(Quality::of(&collapsed), expected);

        let mut script = String::new();
        for line in &collapsed {
            for _ in 0..line.count {
                script += &format!("{} 123 \n", line.process);
                for name in line.frames.iter().rev() {
                    script += &format!("\t            1234 {name}\n");
                }
                script += "\tffffffffffffffff [unknown]\n\n";
            }
        }
        assert_eq!(Quality::of(&perf_script(&script)), expected);
        assert_eq!(Quality::of(&[]), Quality::default());
    }
}
