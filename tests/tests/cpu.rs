//! CPU samples against independent truths: CPU clocks and perf. Need root.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use observer_common::loss::Loss;
use observer_signals::attribute::SharedResource;
use observer_testkit::busy::{FUNCTIONS, compile};
use observer_testkit::in_time;
use observer_testkit::observer_bin;
use observer_testkit::packages::program;
use observer_testkit::root::is_root;
use observer_testkit::stolen::Stolen;
use observer_userspace::kernel::Filters;
use observer_userspace::kernel::{Kernel, LoadOptions};
use observer_userspace::probes::cpu::{SPEC, Sampler};

/// Sum of the counts of the stacks that `keep` keeps.
fn count(folded: &str, keep: impl Fn(&str) -> bool) -> f64 {
    let lines = folded.lines().filter_map(|line| line.rsplit_once(' '));
    let kept = lines.filter(|(stack, _)| keep(stack));
    kept.map(|(_, count)| count.parse::<f64>().expect("a number"))
        .sum()
}

fn record(arguments: &[&str]) -> String {
    let mut observer = Command::new(observer_bin());
    let output = observer
        .args(["record", "-o", "-"])
        .args(arguments)
        .output()
        .expect("observer runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("nothing was lost"), "{said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// That `samples` are 997 Hz × `used` seconds, within 2 %, and what was stolen.
fn assert_rate(samples: f64, used: f64, stolen: Stolen) {
    let stolen = stolen.seconds();
    let least = 997.0 * (used * 0.98 - stolen);
    let most = 997.0 * (used * 1.02 + stolen);
    in_time!(
        (least..=most).contains(&samples),
        "{samples} samples in {used} s ({stolen} s stolen), not {least} to {most}"
    );
}

/// Checks that two programs in a 3:1 share of CPU time (by their own CPU
/// clocks, which decide when they end) have shares within 2 points, and that
/// there are as many samples as rate × CPU time, within 2 %.
#[test]
fn shares_and_rate() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let start = |name: &str, seconds: f64| {
        let program = compile(folder.path(), name);
        format!("{} {seconds}", program.display())
    };
    let script = format!("{} & {}; wait", start("large", 1.8), start("small", 0.6));
    let stolen = Stolen::begin();
    let stacks = record(&["--frequency", "997", "--", "sh", "-c", &script]);
    let large = count(&stacks, |stack| stack.starts_with("large;"));
    let small = count(&stacks, |stack| stack.starts_with("small;"));
    let share = 100.0 * large / (large + small);
    in_time!((73.0..=77.0).contains(&share), "{large}:{small}");
    assert_rate(large + small, 2.4, stolen);
}

/// The functions of `perf report`, hottest first.
fn perf_report(data: &Path, comm: &str) -> Vec<String> {
    let mut perf = program("perf", "linux-perf").expect("perf");
    perf.args(["report", "--stdio", "--no-children", "-g", "none"])
        .args(["--sort", "symbol", "--comm", comm, "-i"])
        .arg(data);
    let output = perf.output().expect("perf report");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = report.lines().map(str::trim);
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(']')?.1.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Checks that `perf record -F 99 -g` of the same run names the same five
/// hottest functions.
#[test]
fn perf_agrees() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let program = compile(folder.path(), "compared");
    let data = folder.path().join("perf.data");
    let data = data.to_str().expect("UTF-8");
    let program = program.to_str().expect("UTF-8");
    // Without build ids: collecting them takes perf many seconds.
    let perf = ["perf", "record", "-q", "-B", "-N", "-F", "99", "-g"];
    let perf = [&perf[..], &["-e", "cpu-clock"]].concat();
    let stacks = record(&[&["--"], &perf[..], &["-o", data, "--", program, "3"]].concat());
    let mut own: HashMap<&str, f64> = HashMap::new();
    for line in stacks.lines().filter(|l| l.starts_with("compared;")) {
        let (stack, count) = line.rsplit_once(' ').expect("a count");
        let leaf = stack.rsplit(';').next().expect("a leaf");
        *own.entry(leaf).or_default() += count.parse::<f64>().expect("a number");
    }
    let mut own: Vec<(&str, f64)> = own.into_iter().collect();
    own.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut own: Vec<&str> = own.into_iter().map(|(name, _)| name).take(5).collect();
    let theirs = perf_report(Path::new(data), "compared");
    let mut theirs: Vec<&str> = theirs.iter().map(String::as_str).take(5).collect();
    assert_eq!(own[0], FUNCTIONS[0]);
    assert_eq!(theirs[0], FUNCTIONS[0]);
    own.sort_unstable();
    theirs.sort_unstable();
    assert_eq!(own, theirs);
}

/// Held by tests that burn this process's own CPU time and count it.
static BURNING: Mutex<()> = Mutex::new(());

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("clock");
    Duration::from(time).as_secs_f64()
}

/// Checks that reading twenty times a second loses and doubles nothing: the
/// samples of all intervals together are rate × this process's CPU time.
#[test]
fn intervals_lose_nothing() {
    if !is_root() {
        return;
    }
    let _burning = BURNING.lock().unwrap_or_else(PoisonError::into_inner);
    let own = std::process::id();
    let options = LoadOptions {
        filters: Filters {
            pids: vec![own],
            ..Filters::default()
        },
        ..LoadOptions::default()
    };
    let mut kernel = Kernel::load(&options).expect("loaded");
    assert!(kernel.attach(&SPEC), "{:?}", kernel.states());
    let mut sampler = Sampler::attach(&mut kernel, 997).expect("attached");
    let mut samples = 0;
    let mut keys = 0;
    let mut take = |sampler: &mut Sampler| {
        let raw = sampler
            .take(|_| SharedResource::default(), &mut |_| None)
            .expect("read")
            .on_cpu;
        for sample in raw.samples.iter().filter(|s| s.pid == own) {
            samples += sample.value;
            keys += 1;
            let stack = &sample.stack;
            assert!(!stack.user.is_empty() || !stack.kernel.is_empty());
        }
    };
    let stolen = Stolen::begin();
    sampler.start().expect("started");
    let begin = cpu_seconds();
    let mut next = 0.05;
    while cpu_seconds() - begin < 1.5 {
        if cpu_seconds() - begin > next {
            take(&mut sampler);
            next += 0.05;
        }
    }
    let used = cpu_seconds() - begin;
    sampler.stop();
    take(&mut sampler);
    take(&mut sampler);
    assert_rate(samples as f64, used, stolen);
    assert!(keys > 20);
    let losses = kernel.losses().expect("losses");
    // Switches may be anybody's, and need not be reported. Nobody here answers what is
    // asked about mappings: the longer it takes, the more questions there are.
    let others = [Loss::SwitchUnseen, Loss::UnwindRequestLost];
    let is_lost = |(loss, count): &&(Loss, u64)| *count > 0 && !others.contains(loss);
    let lost: Vec<_> = losses.iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// Recursion to `depth`, then work: as many different stacks as wanted.
#[inline(never)]
fn burn_at(depth: u32) -> u64 {
    if depth > 0 {
        return std::hint::black_box(burn_at(depth - 1) + 1);
    }
    (0..20_000).fold(0, |sum, i| std::hint::black_box(sum ^ i))
}

/// Checks that a table with hardly any room loses nothing silently: what was
/// counted and what was lost, by cause, are together rate × CPU time.
#[test]
fn full_table_is_counted() {
    if !is_root() {
        return;
    }
    let _burning = BURNING.lock().unwrap_or_else(PoisonError::into_inner);
    let options = LoadOptions {
        filters: Filters {
            pids: vec![std::process::id()],
            ..Filters::default()
        },
        sample_entries: 4,
        ..LoadOptions::default()
    };
    let mut kernel = Kernel::load(&options).expect("loaded");
    assert!(kernel.attach(&SPEC), "{:?}", kernel.states());
    let mut sampler = Sampler::attach(&mut kernel, 997).expect("attached");
    let stolen = Stolen::begin();
    sampler.start().expect("started");
    let begin = cpu_seconds();
    let mut depth = 0;
    while cpu_seconds() - begin < 1.0 {
        burn_at(depth % 64);
        depth += 1;
    }
    let used = cpu_seconds() - begin;
    sampler.stop();
    let raw = sampler
        .take(|_| SharedResource::default(), &mut |_| None)
        .expect("read")
        .on_cpu;
    let counted: u64 = raw.samples.iter().map(|sample| sample.value).sum();
    let losses = kernel.losses().expect("losses");
    let full = losses.iter().find(|(l, _)| *l == Loss::SampleTableFull);
    let lost = full.expect("a known cause").1;
    assert!(lost > 0, "{} stacks had room", raw.samples.len());
    assert_rate((counted + lost) as f64, used, stolen);
}
