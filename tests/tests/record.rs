//! `observer record` on a real kernel: whom it records, where it writes, how it
//! ends. All but the first need root.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use observer_testkit::busy::compile;
use observer_testkit::cgroup::Cgroup;
use observer_testkit::root::is_root;
use observer_testkit::{daemon, in_time, observer_bin};
use observer_userspace::identity::hierarchy::Hierarchies;
use observer_userspace::kernel::stats;

fn record(arguments: &[&str]) -> Command {
    let mut command = Command::new(observer_bin());
    command.arg("record").args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    record(arguments).output().expect("observer runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `(stack, count)` of each line.
fn folded(text: &str) -> Vec<(String, u64)> {
    let parse = |line: &str| {
        let (stack, count) = line.rsplit_once(' ').expect("a count");
        (stack.to_owned(), count.parse().expect("a number"))
    };
    text.lines().map(parse).collect()
}

/// Kills the process when the test is over, also when it fails.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("UTF-8").to_owned()
}

/// Checks that an unknown format and a missing folder are one clear line and
/// status 2, and that the command isn't started.
#[test]
fn wrong_output_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let proof = path(folder.path(), "ran");
    for wrong in ["x.png", "/nowhere/at/all/x.svg", "/tmp"] {
        let output = run(&["-o", wrong, "--", "touch", &proof]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        let error = text(&output.stderr);
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(wrong), "{error}");
    }
    assert!(!Path::new(&proof).exists());
}

/// Checks that the command's exit status and signal come through, and that a
/// missing command gives the shell's status.
#[test]
fn exit_status_is_passed_on() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let out = path(folder.path(), "x.folded");
    let status = |script: &str| run(&["-o", &out, "--", "sh", "-c", script]).status.code();
    assert_eq!(status("exit 7"), Some(7));
    assert_eq!(status("kill -TERM $$"), Some(128 + 15));
    let missing = run(&["-o", &out, "--", "no-such-command"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing.stderr).contains("no-such-command"));
}

/// Checks that a command is recorded with its children and nobody else, all
/// with names, in all formats at once; `-o -` is standard output.
#[test]
fn command_and_children_only() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let program = compile(folder.path(), "only-me");
    let other = Guard(Command::new(&program).arg("20").spawn().expect("started"));
    let program = program.to_str().expect("UTF-8");
    let script = format!("{program} 0.3 & {program} 0.3; wait");
    let [svg, pprof] = ["x.svg", "x.pb.gz"].map(|name| path(folder.path(), name));
    let all = ["-o", "-", "-o", &svg, "-o", &pprof, "--frequency", "499"];
    let output = run(&[&all[..], &["--", "sh", "-c", &script]].concat());
    drop(other);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stacks = folded(&text(&output.stdout));
    let of = |what: &str| -> u64 {
        let wanted = stacks.iter().filter(|(stack, _)| stack.contains(what));
        wanted.map(|(_, count)| count).sum()
    };
    let mine = of("only-me;");
    // Two children, 0.3 s each, and not the third one of 20 s. (How exact the
    // count is, another test checks.)
    in_time!((200..=400).contains(&mine), "{mine} samples of 299");
    in_time!(of(";main;") * 100 > mine * 95, "{stacks:?}");
    assert!(of(";main;work;spin_five") > 0, "{stacks:?}");
    let known = ["only-me;", "sh;", "observer;"];
    let foreign = stacks
        .iter()
        .find(|(stack, _)| !known.iter().any(|k| stack.starts_with(k)));
    assert_eq!(foreign, None);
    let picture = std::fs::read_to_string(svg).expect("a picture");
    assert!(picture.contains("spin_five") && picture.contains("</svg>"));
    let gzip = std::fs::read(pprof).expect("a profile");
    assert_eq!(gzip[..2], [0x1f, 0x8b]);
    assert!(text(&output.stderr).contains("nothing was lost"));
}

/// Checks that processes which live for 10 ms are named as well.
#[test]
fn short_lived_processes_are_named() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let program = compile(folder.path(), "short");
    let script = format!(
        "i=0; while [ $i -lt 60 ]; do i=$((i+1)); {} 0.01; done",
        program.display()
    );
    let output = run(&["--frequency", "997", "-o", "-", "--", "sh", "-c", &script]);
    let stacks = folded(&text(&output.stdout));
    let count = |keep: &dyn Fn(&str) -> bool| -> u64 {
        let kept = stacks.iter().filter(|(stack, _)| keep(stack));
        kept.map(|(_, count)| count).sum()
    };
    let all = count(&|stack| stack.starts_with("short;"));
    let named = count(&|stack| stack.starts_with("short;") && stack.contains("spin_"));
    let whole = count(&|stack| stack.starts_with("short;") && stack.contains("work;spin_"));
    in_time!(all > 300, "60 processes of 10 ms, 997 Hz: {all} samples");
    // Starting and ending a process is kernel work.
    in_time!(named * 100 > all * 80, "{named} of {all} are named");
    // Callers are known as soon as the kernel half is told of the process's mappings,
    // which takes some of the 10 ms, on a slow machine three.
    in_time!(whole * 100 > all * 50, "{whole} of {all} have callers");
}

/// Checks that `--pid` and `--comm` record that process and no other.
#[test]
fn filters_by_pid_and_comm() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let start = |name: &str| {
        let program = compile(folder.path(), name);
        Guard(Command::new(program).arg("20").spawn().expect("started"))
    };
    let (wanted, _other) = (start("wanted"), start("other"));
    let pid = wanted.0.id().to_string();
    for filter in [["--pid", &pid], ["--comm", "wanted"]] {
        let common = ["--duration", "500ms", "-o", "-"];
        let output = run(&[&common[..], &filter].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let stacks = folded(&text(&output.stdout));
        assert!(!stacks.is_empty());
        let foreign = stacks.iter().find(|(s, _)| !s.starts_with("wanted;"));
        assert_eq!(foreign, None, "{filter:?}");
    }
}

/// Checks that `--cgroup` records what is below that cgroup, whatever it is
/// called, and nothing else.
#[test]
fn filters_by_cgroup() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let start = |name: &str| {
        let program = compile(folder.path(), name);
        Guard(Command::new(program).arg("20").spawn().expect("started"))
    };
    let hierarchies = Hierarchies::open();
    let mounts = [hierarchies.v2_mount(), hierarchies.v1_mount()];
    let mut tried = 0;
    for mount in mounts.into_iter().flatten() {
        let outer = format!("observer-record-{}", std::process::id());
        let outer = Cgroup::create(mount, &outer).expect("cgroups can be made");
        let name = outer.directory().file_name().expect("a name");
        let inner = format!("{}/inner", name.to_str().expect("UTF-8"));
        let inner = Cgroup::create(mount, &inner).expect("cgroups can be made");
        let (inside, _outside) = (start("inside"), start("outside"));
        inner.add(inside.0.id()).expect("moved");
        let path = outer.directory().to_str().expect("UTF-8");
        let output = run(&["--duration", "500ms", "-o", "-", "--cgroup", path]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let stacks = folded(&text(&output.stdout));
        assert!(!stacks.is_empty(), "{path}: {}", text(&output.stderr));
        let foreign = stacks.iter().find(|(s, _)| !s.starts_with("inside;"));
        assert_eq!(foreign, None, "{path}");
        tried += 1;
    }
    assert!(tried > 0, "no cgroup hierarchy is mounted");
}

/// Checks that an interrupt ends the recording early and what there is gets
/// written.
#[test]
fn interrupt_ends_early() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let program = compile(folder.path(), "interrupted");
    let _busy = Guard(Command::new(program).arg("20").spawn().expect("started"));
    let out = path(folder.path(), "x.folded");
    let mut observer = Guard(
        record(&["--duration", "60s", "-o", &out])
            .stderr(Stdio::piped())
            .spawn()
            .expect("observer runs"),
    );
    // It says nothing when it begins; but the kernel knows how often its program ran.
    let _counted = stats::enable().expect("the kernel counts");
    let samples = || {
        let programs = daemon::programs(observer.0.id()).into_iter();
        let sampler = programs.filter(|program| program.kind == daemon::PERF_EVENT);
        sampler.map(|program| program.run_count).sum::<u64>()
    };
    let begin = Instant::now();
    while samples() < 50 {
        assert!(begin.elapsed() < Duration::from_secs(60), "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = Pid::from_raw(observer.0.id().try_into().expect("a pid"));
    kill(pid, Signal::SIGINT).expect("signalled");
    let status = observer.0.wait().expect("ended");
    let mut said = String::new();
    let stderr = observer.0.stderr.as_mut().expect("piped");
    stderr.read_to_string(&mut said).expect("UTF-8");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("samples in"), "{said}");
    let stacks = std::fs::read_to_string(out).expect("written");
    assert!(stacks.contains("interrupted;"), "{stacks}");
}

/// Checks that a recording of nobody leaves the file that was there as it was, says of whom
/// there was nothing, and fails; and that a command's own status is kept.
#[test]
fn nothing_is_not_written() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("kept.folded");
    std::fs::write(&out, "kept 1\n").expect("written");
    let record = |arguments: &[&str]| {
        let mut command = Command::new(observer_bin());
        command.args(["record", "-o"]).arg(&out).args(arguments);
        let output = command.output().expect("observer runs");
        (output.status.code(), text(&output.stderr))
    };
    let nobody = format!("nobody-{}", std::process::id() % 10_000);
    let (status, said) = record(&["--duration", "300ms", "--comm", &nobody]);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains(&format!("nothing of --comm {nobody} used a CPU")),
        "{said}"
    );
    assert!(said.contains("nothing is written"), "{said}");
    let kept = std::fs::read_to_string(&out).expect("there");
    assert_eq!(kept, "kept 1\n");
    let (status, said) = record(&["--type", "wall", "--", "sh", "-c", "exit 7"]);
    assert_eq!(status, Some(7), "{said}");
    // What a picture is called doesn't tell what was a command's argument.
    let svg = folder.path().join("titled.svg");
    let shown = svg.to_str().expect("UTF-8");
    let secret = format!(": password={nobody}; exit 7");
    let (_, said) = record(&["-o", shown, "--type", "wall", "--", "sh", "-c", &secret]);
    let svg = std::fs::read_to_string(&svg).expect("written");
    assert!(svg.contains(" · sh · ") && !svg.contains(&nobody), "{said}");
    let written = std::fs::read_to_string(&out).expect("there");
    assert_ne!(written, "kept 1\n", "{said}");
}
