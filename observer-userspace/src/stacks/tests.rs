//! Tests of the whole path from addresses to names, on real processes.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use observer_common::unwind::Outcome;

use super::worker::Stacks;
use super::{RawProfile, RawSample, RawStack, SymbolOptions};
use observer_signals::Profile;
use observer_signals::attribute::SharedResource;
use observer_signals::profile::FrameKind;

/// How often it is looked, with 10 ms between, for what comes at once unless the machine
/// has much else to do.
const LOOKS: usize = 6000;

/// Stops a process when the test is over, also when it fails.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sample(pid: u32, kernel: &[u64], user: &[u64]) -> RawSample {
    RawSample {
        stack: Arc::new(RawStack {
            kernel: kernel.into(),
            user: user.into(),
            python: Box::default(),
        }),
        pid,
        tid: pid,
        thread: "thread".into(),
        process: "process".into(),
        resource: SharedResource::default(),
        outcome: Outcome::Complete,
        wait: None,
        value: 1,
        request: 0,
        request_link: None,
    }
}

fn symbolize(stacks: &Stacks, samples: Vec<RawSample>) -> Profile {
    let raw = RawProfile {
        period: 1,
        samples,
        ..RawProfile::default()
    };
    let answer = stacks.symbolize(raw).blocking_recv();
    answer.expect("the thread lives").profile
}

/// `kind name` of every function, root first.
fn calls(profile: &Profile, sample: usize) -> Vec<(FrameKind, String)> {
    let stack = profile.samples[sample].stack;
    profile
        .calls_from_root(stack)
        .map(|c| (c.kind, c.name.into_owned()))
        .collect()
}

#[inline(never)]
fn a_function_of_the_test() -> u64 {
    std::hint::black_box(1)
}

/// Checks that own functions, the C library's and the kernel's get the names
/// that the compiler, dlsym(3) and /proc/kallsyms give them.
#[test]
fn names_of_known_addresses() {
    let stacks = Stacks::start(SymbolOptions {
        debug_info: true,
        interpreter_frames: false,
    })
    .expect("started");
    let own = a_function_of_the_test as *const () as u64;
    // SAFETY: looks a name up; the name is a C string.
    let qsort = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"qsort".as_ptr()) } as u64;
    let kallsyms = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let schedule = kallsyms.lines().find(|l| l.ends_with(" T schedule"));
    let schedule = schedule.and_then(|l| u64::from_str_radix(l.split(' ').next()?, 16).ok());
    let pid = std::process::id();
    let profile = symbolize(
        &stacks,
        vec![
            // Return addresses point behind the call. Nothing is mapped at
            // 0x10, so what follows it can't be a stack.
            sample(pid, &[], &[own, qsort + 5, 0x10, qsort + 5]),
            sample(pid, &[schedule.unwrap_or(0) + 4], &[]),
        ],
    );
    let user = calls(&profile, 0);
    assert_eq!(user.len(), 2, "{user:?}");
    assert!(user[0].1.contains("qsort"), "{user:?}");
    assert!(user[1].1.ends_with("a_function_of_the_test"), "{user:?}");
    assert!(a_function_of_the_test() == 1);
    let leaf = profile.stack_table[profile.samples[0].stack as usize][0];
    let frame = &profile.frame_table[leaf as usize];
    let function = &profile.function_table[frame.lines[0].function as usize];
    assert!(profile.text(function.file).ends_with("stacks/tests.rs"));
    assert!(frame.lines[0].line > 0);
    let mapping = &profile.mapping_table[frame.mapping as usize];
    assert!((mapping.start..mapping.end).contains(&frame.address));
    assert!(!profile.text(mapping.build_id).is_empty());
    if schedule.is_some_and(|address| address != 0) {
        let kernel = calls(&profile, 1);
        assert_eq!(kernel, [(FrameKind::Kernel, "schedule".to_owned())]);
    } else {
        eprintln!("kernel part skipped: /proc/kallsyms hides addresses");
    }
}

/// Code of `child` that lies in `file`, as `(address, offset in file)`.
fn mapped(child: &Child, file: &str) -> Option<(u64, u64)> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.id())).ok()?;
    let line = maps
        .lines()
        .find(|l| l.contains(" r-xp ") && l.contains(file))?;
    let mut fields = line.split_whitespace();
    let (start, _) = fields.next()?.split_once('-')?;
    let offset = fields.nth(1)?;
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    Some((hex(start)?, hex(offset)?))
}

/// Checks that a process which was born, changed its program and ended between
/// two profiles is still named, though nothing of it is left in /proc.
#[test]
fn ended_process_is_named() {
    let stacks = Stacks::start(SymbolOptions::default()).expect("started");
    let mut child = Guard(
        Command::new("/bin/sh")
            .args(["-c", "echo started; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell"),
    );
    let pid = child.0.id();
    let mut byte = [0];
    let out = child.0.stdout.as_mut().expect("piped");
    out.read_exact(&mut byte).expect("it started");
    // The exec follows the echo; the test's own truth is /proc.
    let libc = (0..LOOKS).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let is_cat = std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .ok()?
            .trim()
            == "cat";
        is_cat.then(|| mapped(&child.0, "/libc"))?
    });
    let (start, offset) = libc.expect("cat maps the C library");
    drop(child.0.stdin.take());
    child.0.wait().expect("ended");
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert!(!std::path::Path::new(&format!("/proc/{pid}/maps")).exists());

    // qsort lies in the same library here as there.
    // SAFETY: looks a name up; the name is a C string.
    let here = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"qsort".as_ptr()) } as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").expect("own maps");
    let own = maps.lines().find_map(|l| {
        let (range, rest) = l.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        let (from, to) = (hex(from)?, hex(to)?);
        let offset = hex(rest.split_whitespace().nth(1)?)?;
        (from..to).contains(&here).then(|| here - from + offset)
    });
    let there = start + own.expect("mapped here") - offset;
    // In each of an interval's profiles: on CPU and off CPU.
    for _ in 0..2 {
        let profile = symbolize(&stacks, vec![sample(pid, &[], &[there])]);
        let names = calls(&profile, 0);
        assert!(names[0].1.contains("qsort"), "{names:?}");
    }
    // And then it is let go: its number may be somebody else's now.
    stacks.let_go();
    let profile = symbolize(&stacks, vec![sample(pid, &[], &[there])]);
    assert_eq!(calls(&profile, 0)[0].1, format!("{there:#x}"));
}

/// Checks that the code of a deleted program is named while it runs.
#[test]
fn deleted_program_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let program = folder.path().join("deleted-sleep");
    // By another process: a copy written by this one could still be open for
    // writing in the child of another test, and then it can't be executed.
    let mut copy = Command::new("cp");
    let copied = copy.arg("/bin/sleep").arg(&program).status().expect("cp");
    assert!(copied.success());
    let child = Guard(Command::new(&program).arg("60").spawn().expect("started"));
    std::fs::remove_file(&program).expect("deleted");
    // The new program's mappings appear a moment after the start.
    let code = (0..LOOKS).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        mapped(&child.0, "deleted-sleep")
    });
    let code = code.expect("mapped");
    let stacks = Stacks::start(SymbolOptions::default()).expect("started");
    let profile = symbolize(&stacks, vec![sample(child.0.id(), &[], &[code.0 + 64])]);
    let frame = &profile.frame_table[profile.stack_table[1][0] as usize];
    let mapping = &profile.mapping_table[frame.mapping as usize];
    assert!(profile.text(mapping.path).ends_with("/deleted-sleep"));
    let opened = !profile.text(mapping.build_id).is_empty();
    assert!(opened || !nix::unistd::geteuid().is_root());
}

/// Removes a file when the test is over.
struct Remove(std::path::PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        // It may not have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Checks that code made at run time has the name that its maker wrote to the
/// perf map, and without one the name of nothing.
#[test]
fn run_time_code_is_named_by_its_perf_map() {
    const PAGE: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let code = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    assert_ne!(code, libc::MAP_FAILED);
    let code = code as u64;
    let pid = std::process::id();
    let map = Remove(format!("/tmp/perf-{pid}.map").into());
    let text = format!("{code:x} 80 LazyCompile:~answer app.js:42\n");
    std::fs::write(&map.0, text).expect("written");
    let stacks = Stacks::start(SymbolOptions::default()).expect("started");
    let samples = [code + 0x10, code + 0x90].map(|address| sample(pid, &[], &[address]));
    let profile = symbolize(&stacks, samples.to_vec());
    let expected = "LazyCompile:~answer app.js:42".to_owned();
    assert_eq!(calls(&profile, 0), [(FrameKind::Jit, expected)]);
    let unnamed = calls(&profile, 1);
    assert_eq!(unnamed[0].0, FrameKind::Jit);
    assert!(unnamed[0].1.starts_with("[anon]+0x"), "{unnamed:?}");
    // SAFETY: mapped above; nothing refers to it any more.
    unsafe { libc::munmap(code as *mut libc::c_void, PAGE) };
}

/// Checks that a program which only exists in another mount namespace is found
/// there, also when its process ended.
#[test]
fn other_mount_namespace() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let stacks = Stacks::start(SymbolOptions::default()).expect("started");
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().display();
    let script = format!(
        "mount -t tmpfs none {path} && cp /bin/sleep {path}/hidden && exec {path}/hidden 3"
    );
    let mut child = Guard(
        Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .spawn()
            .expect("unshare"),
    );
    let code = (0..LOOKS).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        mapped(&child.0, "/hidden")
    });
    let (start, _) = code.expect("it runs");
    assert!(!folder.path().join("hidden").exists(), "another namespace");
    // Its file is opened while it lives: nobody finds it afterwards.
    child.0.wait().expect("ended");
    let profile = symbolize(&stacks, vec![sample(child.0.id(), &[], &[start + 64])]);
    let frame = &profile.frame_table[profile.stack_table[1][0] as usize];
    let mapping = &profile.mapping_table[frame.mapping as usize];
    assert!(profile.text(mapping.path).ends_with("/hidden"));
    assert!(!profile.text(mapping.build_id).is_empty(), "it was opened");
}
