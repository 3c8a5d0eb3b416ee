//! Python functions in profiles: a program whose call tree is known beforehand, on and off
//! CPU. Needs root, and Debian's python3.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use observer_testkit::chain::source;
use observer_testkit::root::is_root;
use observer_testkit::{in_time, observer_bin};
use pprof::protos::{Message as _, Profile};

/// Debian's own, whatever else is in the path.
const PYTHON: &str = "/usr/bin/python3";
/// Longer than any test; it is killed then.
const SECONDS: &str = "60";

/// Kills the process when the test is over, also when it fails.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program, which is at work when this returns.
fn start(python: &str, what: &str) -> Guard {
    let program = Command::new(python)
        .arg(source("known.py"))
        .args([what, SECONDS])
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Guard(program.expect("python3 (Debian: apt-get install python3)"));
    let said = program.0.stdout.take().expect("a pipe");
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).expect("read");
    assert_eq!(line, "ready\n");
    program
}

/// Records a process as a profile of pprof, and what was said of it.
fn record(pid: u32, arguments: &[&str]) -> (Profile, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("known.pb.gz");
    let output = Command::new(observer_bin())
        .args(["record", "--duration", "3s", "--pid", &pid.to_string()])
        .arg("-o")
        .arg(&out)
        .args(arguments)
        .output()
        .expect("observer runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(out).expect("a profile");
    let mut file = flate2::read::GzDecoder::new(file);
    file.read_to_end(&mut bytes).expect("inflated");
    (Profile::decode(bytes.as_slice()).expect("a profile"), said)
}

/// Function, file and line.
type Frame = (String, String, i64);

/// Stacks, root first, with what was counted.
fn stacks(profile: &Profile) -> Vec<(Vec<Frame>, i64)> {
    let locations: HashMap<u64, _> = profile.location.iter().map(|l| (l.id, l)).collect();
    let functions: HashMap<u64, _> = profile.function.iter().map(|f| (f.id, f)).collect();
    let text = |index: i64| profile.string_table[index as usize].clone();
    let stack = |ids: &[u64]| {
        let lines = ids
            .iter()
            .rev()
            .flat_map(|id| locations[id].line.iter().rev());
        let frame = |line: &pprof::protos::Line| {
            let function = functions[&line.function_id];
            (text(function.name), text(function.filename), line.line)
        };
        lines.map(frame).collect()
    };
    let samples = profile.sample.iter();
    samples
        .map(|s| (stack(&s.location_id), s.value[0]))
        .collect()
}

/// What the program says of its own lines: for each function, on which it may be.
fn lines_of_functions() -> BTreeMap<String, Vec<i64>> {
    let text = std::fs::read_to_string(source("known.py")).expect("the program");
    let mut lines: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (line, number) in text.lines().zip(1..) {
        if let Some((_, name)) = line.split_once("# in ") {
            lines.entry(name.to_owned()).or_default().push(number);
        }
    }
    lines
}

/// What `f20` calls, up to the leaf.
const ENDS: [&[&str]; 9] = [
    &["recursion", "recursion", "recursion", "recursion", "leaf"],
    &["make.<locals>.closure", "leaf"],
    &["by_sorted", "key", "leaf"],
    &["by_reduce", "add", "leaf"],
    &["by_generator", "numbers", "leaf"],
    &["by_exception", "fail", "leaf"],
    &["by_exception", "leaf"],
    &["Thing.method", "leaf"],
    &["Thing.value", "leaf"],
];

/// What Python functions are called on the way to the ends, in each of the threads.
fn ways() -> [Vec<String>; 2] {
    let root: &[&str] = &["<module>"];
    let thread = &[
        "Thread._bootstrap",
        "Thread._bootstrap_inner",
        "Thread.run",
        "other",
    ];
    let chain = (1..=20).map(|n| format!("f{n:02}"));
    let chain: Vec<String> = ["work".to_owned()].into_iter().chain(chain).collect();
    [root, thread].map(|begin| {
        let begin = begin.iter().map(|name| (*name).to_owned());
        begin.chain(chain.iter().cloned()).collect()
    })
}

/// Whether a stack is what the program calls, from its root to a leaf: names, order, files,
/// lines. The leaf may be any of the way's functions, which the program is in, too.
fn is_right(stack: &[Frame], lines: &BTreeMap<String, Vec<i64>>) -> bool {
    let program = source("known.py");
    let is_own = |file: &str| Path::new(file) == program;
    let is_python = |frame: &&Frame| frame.1.ends_with(".py");
    let python: Vec<&Frame> = stack.iter().filter(is_python).collect();
    let names: Vec<&str> = python.iter().map(|frame| &*frame.0).collect();
    let follows = ways().iter().any(|way| {
        ENDS.iter().any(|end| {
            let way = way.iter().map(|name| &**name).chain(end.iter().copied());
            let way: Vec<&str> = way.collect();
            // A wait may be for the lock of the interpreter, anywhere.
            way.starts_with(&names) && names.len() >= 2
        })
    });
    let places = python.iter().all(|(name, file, line)| {
        let of_thread = file.ends_with("/threading.py") && *line > 0;
        let known = lines.get(name).is_some_and(|lines| lines.contains(line));
        of_thread || is_own(file) && known
    });
    follows && places
}

/// Percent of a profile's values that are right, and the largest wrong stacks.
fn right(profile: &Profile) -> (f64, i64, String) {
    let lines = lines_of_functions();
    let stacks = stacks(profile);
    let all: i64 = stacks.iter().map(|(_, value)| value).sum();
    let (right, mut wrong): (Vec<_>, Vec<_>) = stacks
        .into_iter()
        .partition(|(stack, _)| is_right(stack, &lines));
    wrong.sort_by_key(|(_, value)| -value);
    wrong.truncate(5);
    let right: i64 = right.iter().map(|(_, value)| value).sum();
    let percent = right as f64 * 100.0 / all.max(1) as f64;
    (percent, all, format!("{wrong:#?}"))
}

/// Checks that the samples of a program of two threads, with a chain of 20 functions,
/// recursion, a closure, callbacks out of C, generators, exceptions and properties, are
/// complete from root to leaf, with functions, files and lines of the calls.
#[test]
fn on_cpu() {
    if !is_root() {
        return;
    }
    let program = start(PYTHON, "burn");
    let (profile, said) = record(program.0.id(), &["--frequency", "499"]);
    let (percent, all, wrong) = right(&profile);
    assert!(percent >= 99.0, "{percent:.2} % of {all}: {wrong}\n{said}");
    println!("{percent:.2} % of {all} samples");
    in_time!(all > 500, "{all} samples");
    // The interpreter's own are folded away.
    let has = |profile: &Profile| {
        let mut names = profile.string_table.iter();
        names.any(|name| name == "_PyEval_EvalFrameDefault")
    };
    assert!(!has(&profile), "{said}");
    let (whole, said) = record(
        program.0.id(),
        &["--frequency", "499", "--interpreter-frames"],
    );
    assert!(has(&whole), "{said}");
    let (percent, ..) = right(&whole);
    assert!(percent >= 99.0, "{percent:.2} %\n{said}");
}

/// Checks the same of time off CPU, within a system call and waiting for the interpreter's
/// lock.
#[test]
fn off_cpu() {
    if !is_root() {
        return;
    }
    let program = start(PYTHON, "wait");
    let (profile, said) = record(program.0.id(), &["--type", "off-cpu"]);
    let (percent, all, wrong) = right(&profile);
    assert!(percent >= 97.0, "{percent:.2} % of {all}: {wrong}\n{said}");
    println!("{percent:.2} % of {all} ns");
    in_time!(all > 5_000_000_000, "{all} ns of 6 s");
}
