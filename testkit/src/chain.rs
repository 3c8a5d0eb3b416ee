//! Stacks that are known beforehand: the programs under `programs/` call a chain
//! of 20 functions, `f01` to `f20`. What a profiler says about them is compared
//! with that chain.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{in_time, observer_bin};

/// Functions in the chain.
pub const LINKS: usize = 20;

/// CPU time of each recorded program, in seconds.
pub const SECONDS: &str = "1.5";
/// How many samples at least they must have.
pub const SAMPLES: u64 = 1000;

/// Path of a file under `programs/`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs")
        .join(name)
}

/// Runs a command that must succeed.
///
/// # Panics
/// With what it said, when it doesn't.
pub fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| {
        panic!("cannot start {}: {e}", command.get_program().display());
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Compiles `programs/<program>` without frame pointers to `folder/name`.
///
/// # Panics
/// When it can't be compiled.
pub fn compile(
    compiler: Command,
    folder: &Path,
    name: &str,
    program: &str,
    flags: &[&str],
) -> PathBuf {
    let out = folder.join(name);
    let mut compiler = compiler;
    compiler
        .args(["-O2", "-fomit-frame-pointer", "-o"])
        .arg(&out)
        .arg(source(program))
        .args(flags);
    must(&mut compiler);
    out
}

/// One line of a recording: a stack, root first, and how often it was seen.
#[derive(Clone, Debug)]
pub struct Line {
    /// The process's name.
    pub process: String,
    /// Names of its functions, root first.
    pub frames: Vec<String>,
    /// Samples.
    pub count: u64,
}

/// What `observer record` wrote and said.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Collapsed stacks.
    pub lines: Vec<Line>,
    /// Its summary.
    pub said: String,
}

impl Recorded {
    /// What the summary says about an outcome of unwinding, in percent.
    pub fn percent(&self, outcome: &str) -> f64 {
        let before = |text: &str| {
            let (before, _) = self.said.split_once(text)?;
            let number = before.rsplit([' ', '\n']).next()?;
            number.trim_end_matches('%').parse().ok()
        };
        before(&format!("% {outcome}"))
            .or_else(|| before(&format!("% of the samples with {outcome}")))
            .unwrap_or(0.0)
    }
}

/// Runs `observer record` with these arguments and reads its stacks.
///
/// # Panics
/// When it fails.
pub fn record<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Recorded {
    let mut command = Command::new(observer_bin());
    command.args(["record", "--frequency", "997", "-o", "-"]);
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("observer runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| {
        let (stack, count) = line.rsplit_once(' ').expect("a count");
        let mut names = stack.split(';').map(str::to_owned);
        Line {
            process: names.next().expect("a process"),
            frames: names.collect(),
            count: count.parse().expect("a number"),
        }
    });
    Recorded {
        lines: lines.collect(),
        said,
    }
}

/// Records the shell script's processes.
pub fn record_script(script: &str) -> Recorded {
    record(["--", "sh", "-c", script])
}

/// A shell function `built` for scripts that are recorded: waits until Observer,
/// which is our parent, has built the unwinding tables of the programs that run in
/// the background, and ends them. They are built when the thread that does it has
/// worked and then had nothing to do for half a second. How long that takes depends
/// on the files, the machine, and what else it does; after two minutes `built`
/// gives up.
pub const BUILT: &str = r#"
tables() {
    now=
    for thread in /proc/$PPID/task/*; do
        { read -r name < $thread/comm; } 2>/dev/null
        [ "$name" = observer-tables ] || continue
        read -r used _ < $thread/schedstat
        read -r _ _ state _ < $thread/stat
        now="$state $used"
    done
}
built() {
    last=; same=0; tries=0
    while [ $same -lt 3 ] && [ $tries -lt 600 ]; do
        sleep 0.2
        tries=$((tries + 1)); tables
        if [ "$now" = "$last" ]; then same=$((same + 1)); else same=0; fi
        case "$now" in "$first") same=0 ;; S*) ;; *) same=0 ;; esac
        last=$now
    done
    [ $same -ge 3 ] || echo "the tables were not built in two minutes" >&2
    kill $warming; wait
}
tables; first=$now; warming=
"#;

/// Records programs with arguments, two at a time, after each has run for a
/// moment under another name: how soon a program's first samples are complete
/// is another question (and on a busy machine not ours to answer).
///
/// # Panics
/// When a program can't be linked to its other name, or recording fails.
pub fn record_warm(programs: &[(&Path, &str)]) -> Recorded {
    record_warm_for(SECONDS, programs)
}

/// The same with so many seconds of CPU time for each program.
///
/// # Panics
/// As above.
pub fn record_warm_for(seconds: &str, programs: &[(&Path, &str)]) -> Recorded {
    let mut script = BUILT.to_owned();
    for (program, rest) in programs {
        let folder = program.parent().expect("a folder").join("warm");
        std::fs::create_dir_all(&folder).expect("a folder");
        let name = program.file_name().expect("a name").display();
        let warm = folder.join(format!("warm-{name}"));
        std::fs::hard_link(program, &warm).expect("linked");
        // Writing to a String can't fail.
        let _ = write!(script, "{} 600 {rest} & ", warm.display());
        script += "warming=\"$warming $!\"; ";
    }
    script += "built; ";
    for pair in programs.chunks(2) {
        for (program, rest) in pair {
            let _ = write!(script, "{} {seconds} {rest} & ", program.display());
        }
        script += "wait; ";
    }
    record_script(&script)
}

/// Which link of the chain a function is: 1 for `f01`, `main.f01`,
/// `chain::f01`, `f01(long)`, `JS:*f01 /x/chain.js:1:2`.
pub fn link(name: &str) -> Option<usize> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = name.split(|c: char| !word(c));
    let digits = words.find_map(|word| {
        let digits = word.strip_prefix('f')?;
        (digits.len() == 2).then_some(digits)
    })?;
    let number = digits.parse().ok()?;
    (1..=LINKS).contains(&number).then_some(number)
}

/// What the stacks of a program must look like, root first.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// The process's name.
    pub process: &'a str,
    /// The outermost frame's name begins with one of these.
    pub roots: &'a [&'a str],
    /// What lies, in this order but perhaps with others between, above the
    /// chain: each a part of a function's name.
    pub before: &'a [&'a str],
    /// What must lie, likewise, below the chain's last link in a stack with the
    /// whole chain.
    pub after: &'a [&'a str],
    /// Share of samples in which all of this is there.
    pub whole_chain: f64,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Self {
            process: "",
            roots: &["_start"],
            before: &["main", "qsort", "compare"],
            after: &["leaf"],
            whole_chain: 0.7,
        }
    }
}

/// How one stack compares with its [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// From the root to the end of the chain.
    WholeChain,
    /// From the root to somewhere before or in the chain.
    Complete,
    /// The root is another.
    NoRoot,
    /// The chain, or what must lie above it, has gaps or another order.
    Gap,
}

impl Shape<'_> {
    /// Judges one stack, root first.
    pub fn judge(&self, frames: &[String]) -> Verdict {
        let Some(root) = frames.first() else {
            return Verdict::NoRoot;
        };
        if !self.roots.iter().any(|name| root.starts_with(name)) {
            return Verdict::NoRoot;
        }
        let links: Vec<(usize, usize)> = frames
            .iter()
            .enumerate()
            .filter_map(|(at, name)| Some((at, link(name)?)))
            .collect();
        let Some(&(first, _)) = links.first() else {
            return Verdict::Complete;
        };
        // `f08` is made of two functions.
        let mut at = first;
        for (number, &(place, which)) in links.iter().enumerate() {
            if frames.get(at).is_some_and(|name| name.contains("f08_with")) {
                at += 1;
            }
            // An exception's unwinder leaves by returning into the function that
            // cleans up: for a moment that function is there twice.
            let again = place == at && which == number && resumes(&frames[at..]);
            if again {
                continue;
            }
            if place != at || which != number + 1 {
                return Verdict::Gap;
            }
            at += 1;
        }
        if !in_order(&frames[..first], self.before) {
            return Verdict::Gap;
        }
        if links.len() == LINKS && in_order(&frames[at..], self.after) {
            Verdict::WholeChain
        } else {
            Verdict::Complete
        }
    }

    /// Judges all stacks of the process; the error says what is wrong with
    /// which.
    ///
    /// # Errors
    /// When fewer than `at_least` samples are there, fewer than 99 % are
    /// complete, or the chain isn't where most of the time went.
    pub fn check(&self, recorded: &Recorded, at_least: u64) -> Result<(), String> {
        let mut counts = [0; 4];
        let mut wrong = Vec::new();
        for line in recorded.lines.iter().filter(|l| l.process == self.process) {
            let verdict = self.judge(&line.frames);
            counts[verdict as usize] += line.count;
            if matches!(verdict, Verdict::NoRoot | Verdict::Gap) {
                wrong.push((line.count, verdict, line));
            }
        }
        let [whole, partly, ..] = counts;
        let all: u64 = counts.iter().sum();
        let complete = (whole + partly) as f64 / all.max(1) as f64;
        let chain = whole as f64 / all.max(1) as f64;
        let mut report = format!(
            "{}: {all} samples, {:.2} % complete, {:.1} % with the whole chain",
            self.process,
            100.0 * complete,
            100.0 * chain,
        );
        eprintln!("{report}");
        if all >= at_least && complete >= 0.99 && chain >= self.whole_chain {
            return Ok(());
        }
        wrong.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
        // Writing to a String can't fail.
        for (count, verdict, line) in wrong.iter().take(6) {
            let _ = write!(report, "\n  {count} {verdict:?}: {}", line.frames.join(";"));
        }
        Err(report)
    }
}

/// Whether the first frame's callee is where the exception unwinder leaves.
fn resumes(frames: &[String]) -> bool {
    let last = ["_Unwind_Resume", "_Unwind_RaiseException"];
    frames
        .get(1)
        .is_some_and(|name| last.contains(&name.as_str()))
}

/// Whether the names' functions follow each other, perhaps with others between.
fn in_order(frames: &[String], names: &[&str]) -> bool {
    let mut rest = frames.iter();
    names
        .iter()
        .all(|name| rest.any(|frame| frame.contains(name)))
}

/// Checks several shapes and fails with what is wrong with each.
///
/// # Panics
/// When one of them doesn't hold.
pub fn check_all(recorded: &Recorded, at_least: u64, shapes: &[Shape<'_>]) {
    let results = shapes.iter().map(|shape| shape.check(recorded, at_least));
    let wrong: Vec<String> = results.filter_map(Result::err).collect();
    // Tables are built, and samples taken, by those who get a CPU.
    in_time!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), recorded.said);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(text: &str) -> Vec<String> {
        text.split(';').map(str::to_owned).collect()
    }

    /// Checks that links are found in the names that languages give them, and
    /// nowhere else.
    #[test]
    fn links() {
        for name in [
            "f07",
            "main.f07",
            "chain::f07",
            "f07(long)",
            "JS:*f07 /x/chain.js:1:2",
        ] {
            assert_eq!(link(name), Some(7), "{name}");
        }
        for name in [
            "f7",
            "f21",
            "f00",
            "f08_with",
            "off07",
            "leaf",
            "libc.so.6+0xf07",
        ] {
            assert_eq!(link(name), None, "{name}");
        }
    }

    /// Checks that a missing root, a missing link, a wrong order and a missing
    /// caller are noticed, and that a stack that ends early is complete.
    #[test]
    fn verdicts() {
        let shape = Shape::default();
        let links: Vec<String> = (1..=LINKS).map(|n| format!("f{n:02}")).collect();
        let head = "_start;libc.so.6+0x1;main;qsort_r;compare";
        let whole = format!("{head};{};leaf;asm_sysvec_apic", links.join(";"));
        let judge = |text: &str| shape.judge(&stack(text));
        assert_eq!(judge(&whole), Verdict::WholeChain);
        assert_eq!(
            judge(&whole.replace("f08;", "f08;f08_with;")),
            Verdict::WholeChain
        );
        assert_eq!(judge(&format!("{head};f01;f02")), Verdict::Complete);
        assert_eq!(judge("_start;libc.so.6+0x1;main"), Verdict::Complete);
        assert_eq!(judge(&whole.replace("_start;", "")), Verdict::NoRoot);
        assert_eq!(
            judge(&format!("{head};f01;f02;f02;_Unwind_Resume")),
            Verdict::Complete
        );
        assert_eq!(judge(&format!("{head};f01;f02;f02;leaf")), Verdict::Gap);
        assert_eq!(judge(&whole.replace("f05;", "")), Verdict::Gap);
        assert_eq!(judge(&whole.replace("f05;", "0x1234;f05;")), Verdict::Gap);
        assert_eq!(judge(&whole.replace("f05;f06", "f06;f05")), Verdict::Gap);
        assert_eq!(judge(&whole.replace("qsort_r;", "")), Verdict::Gap);
        assert_eq!(shape.judge(&[]), Verdict::NoRoot);
    }
}
