//! Time off CPU against the clocks of threads that know what they do. Need root.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGINT as Interrupt;
use nix::sys::signal::kill;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, gettid, pipe};
use observer_common::family::Family;
use observer_common::loss::Loss;
use observer_export::otlp::Signal;
use observer_signals::attribute::SharedResource;
use observer_signals::profile::ProfileKind;
use observer_signals::{Profile, Reason};
use observer_testkit::loopdev::LoopDevice;
use observer_testkit::receiver::Receiver;
use observer_testkit::root::is_root;
use observer_testkit::stolen::Stolen;
use observer_testkit::{in_time, observer_bin, semaphore, workload};
use observer_userspace::kernel::Filters;
use observer_userspace::kernel::{Kernel, LoadOptions};
use observer_userspace::probes::cpu::{Sampler, Taken};
use observer_userspace::probes::offcpu::Blocked;
use observer_userspace::probes::plan::{Plan, Purpose};
use observer_userspace::stacks::{RawProfile, RawSample, Stacks, SymbolOptions, Wait};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::profiles::v1development::Sample;
use prost::Message as _;

/// Tests that load the CPUs would make those that measure wait for them.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The kernel half, counting this process's time off CPU.
struct Recorder {
    /// It counts from no earlier than this.
    began: Instant,
    kernel: Kernel,
    sampler: Sampler,
}

impl Recorder {
    fn start(options: LoadOptions, frequency: Option<u32>) -> Self {
        let mut kernel = Kernel::load(&options).expect("loaded");
        let families = [Some(Family::OffCpu), frequency.map(|_| Family::Cpu)];
        let families: Vec<Family> = families.into_iter().flatten().collect();
        Plan::of(&families, Purpose::Recording { children: false }).attach(&mut kernel);
        for state in kernel.states() {
            assert_eq!(state.failure, None, "{}", state.program.name);
        }
        let mut sampler = match frequency {
            Some(frequency) => Sampler::attach(&mut kernel, frequency).expect("attached"),
            None => Sampler::without_clocks(&mut kernel).expect("attached"),
        };
        sampler.follow(Blocked::new(&mut kernel).expect("linked"));
        let began = Instant::now();
        sampler.start().expect("started");
        Self {
            began,
            kernel,
            sampler,
        }
    }

    fn of_this_process(threshold: Duration) -> LoadOptions {
        LoadOptions {
            filters: Filters {
                pids: vec![std::process::id()],
                ..Filters::default()
            },
            off_cpu: Some(threshold),
            ..LoadOptions::default()
        }
    }

    fn take(&mut self) -> Taken {
        let taken = self
            .sampler
            .take(|_| SharedResource::default(), &mut |_| None);
        taken.expect("read")
    }

    /// Everything; nothing may be lost.
    fn finish(mut self) -> Taken {
        self.sampler.stop();
        let taken = self.take();
        for (cause, count) in self.kernel.losses().expect("losses") {
            // Switches from and to threads that the kernel hides.
            let expected = matches!(cause, Loss::SwitchUnseen);
            assert!(expected || count == 0, "{count} × {}", cause.name());
        }
        taken
    }
}

fn named(raw: RawProfile) -> Profile {
    let stacks = Stacks::start(SymbolOptions {
        debug_info: false,
        interpreter_frames: false,
    })
    .expect("started");
    let answer = stacks.symbolize(raw).blocking_recv();
    answer.expect("the thread lives").profile
}

/// Nanoseconds by thread and reason.
fn by_reason(profile: &Profile) -> HashMap<(u32, Reason), u64> {
    let mut sums = HashMap::new();
    for sample in &profile.samples {
        let wait = sample.wait.expect("time off CPU");
        *sums.entry((sample.tid, wait.reason)).or_default() += sample.value;
    }
    sums
}

fn seconds_of(clock: ClockId) -> f64 {
    Duration::from(clock_gettime(clock).expect("a clock")).as_secs_f64()
}

/// What a thread knows of itself.
#[derive(Clone, Copy, Debug)]
struct Truth {
    tid: u32,
    wall: f64,
    cpu: f64,
    /// How long it waited for its first CPU.
    before: f64,
}

/// Seconds that this thread waited for a CPU (proc_pid_schedstat(5)).
fn queued() -> f64 {
    let path = format!("/proc/self/task/{}/schedstat", gettid());
    let account = std::fs::read_to_string(path).expect("/proc");
    let waited = account.split_whitespace().nth(1).expect("a second number");
    waited.parse::<f64>().expect("nanoseconds") / 1e9
}

/// What a thread will know of itself.
struct Measured(Arc<OnceLock<Truth>>);

impl Measured {
    fn recv(self) -> Truth {
        // Nobody wakes us, and loses the CPU by that before it has nothing
        // more to do.
        loop {
            match self.0.get() {
                Some(truth) => return *truth,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Runs `work` in a thread of its own and measures it there.
fn measured(work: impl FnOnce() + Send + 'static) -> Measured {
    let truth = Arc::new(OnceLock::new());
    let told = truth.clone();
    std::thread::spawn(move || {
        let (before, wall, cpu) = (
            queued(),
            seconds_of(ClockId::CLOCK_MONOTONIC),
            seconds_of(ClockId::CLOCK_THREAD_CPUTIME_ID),
        );
        work();
        // It has a fresh slice of CPU now, and won't lose it at once.
        std::thread::sleep(Duration::from_millis(1));
        let _ = truth.set(Truth {
            cpu: seconds_of(ClockId::CLOCK_THREAD_CPUTIME_ID) - cpu,
            wall: seconds_of(ClockId::CLOCK_MONOTONIC) - wall,
            before,
            tid: gettid().as_raw() as u32,
        });
        // Ending takes a while, too: it must not be mistaken for work.
        loop {
            nix::unistd::pause();
        }
    });
    Measured(told)
}

fn after(delay: Duration, act: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        std::thread::sleep(delay);
        act();
    });
}

const WAIT: Duration = Duration::from_secs(1);
/// Read at once from the device, which is twice as large.
const READ_BYTES: usize = 16 << 20;

fn wait_for_lock() {
    let lock = Arc::new(Mutex::new(()));
    let (ready, is_ready) = mpsc::channel();
    let held = lock.clone();
    std::thread::spawn(move || {
        let _guard = held.lock().expect("nobody panics");
        ready.send(()).expect("somebody waits");
        std::thread::sleep(WAIT);
    });
    is_ready.recv().expect("it is held");
    drop(lock.lock().expect("nobody panics"));
}

fn wait_for_pipe() {
    let (reader, writer) = pipe().expect("a pipe");
    after(WAIT, move || {
        nix::unistd::write(writer, b"x").expect("written");
    });
    nix::unistd::read(reader, &mut [0]).expect("read");
}

fn wait_for_socket() {
    let (mut here, mut there) = UnixStream::pair().expect("sockets");
    after(WAIT, move || there.write_all(b"x").expect("written"));
    here.read_exact(&mut [0]).expect("read");
}

fn wait_in_poll() {
    let (reader, _writer) = pipe().expect("a pipe");
    let mut fd = libc::pollfd {
        fd: reader.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live descriptor.
    let ready = unsafe { libc::poll(&raw mut fd, 1, WAIT.as_millis() as libc::c_int) };
    assert_eq!(ready, 0);
}

/// Reads past the page cache for [`WAIT`]; much at once, because to the kernel
/// a thread's CPU time begins when it is woken, some microseconds before it
/// gets the CPU.
fn read_disk(path: &std::path::Path) {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .expect("a device");
    // Aligned as the device wants it.
    let mut memory = vec![1_u8; READ_BYTES + 4096];
    let skip = memory.as_ptr().align_offset(4096);
    let buffer = &mut memory[skip..skip + READ_BYTES];
    let begin = Instant::now();
    while begin.elapsed() < WAIT {
        if file.read(buffer).expect("read") == 0 {
            std::io::Seek::rewind(&mut file).expect("a disk");
        }
    }
}

/// How often the disk is measured; once must be right.
const DISK_TRIES: usize = 4;

/// Whether `found` is within 2 % of `expected`, and what was stolen.
fn close(what: &str, found: f64, expected: f64, stolen: &Stolen) -> Result<(), String> {
    // Told in whole ticks.
    let stolen = stolen.seconds() + 0.01;
    if (found - expected).abs() <= expected * 0.02 + stolen {
        return Ok(());
    }
    Err(format!(
        "{what}: {found} s, not {expected} s ({stolen} s stolen)"
    ))
}

/// Fails unless [`close`].
fn assert_close(what: &str, found: f64, expected: f64, stolen: &Stolen) {
    let result = close(what, found, expected, stolen);
    in_time!(result.is_ok(), "{}", result.unwrap_err());
}

/// Checks for each reason that a thread which waits for it and measures its
/// own clocks gets its time off CPU back within 2 %, under that reason.
#[test]
fn every_wait_has_its_time_and_reason() {
    if !is_root() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let device = LoopDevice::new(2 * READ_BYTES as u64, true).expect("a loop device");
    let path = device.path();
    let stolen = Stolen::begin();
    let recorder = Recorder::start(Recorder::of_this_process(Duration::ZERO), None);
    let threads = [
        (Reason::Sleep, measured(|| std::thread::sleep(WAIT))),
        // A futex by the system call; it's a lock by the name of the function that waits.
        (Reason::Lock, measured(wait_for_lock)),
        (
            Reason::Lock,
            measured(|| semaphore::wait(WAIT).expect("a semaphore")),
        ),
        (Reason::Pipe, measured(wait_for_pipe)),
        (Reason::Socket, measured(wait_for_socket)),
        (Reason::Poll, measured(wait_in_poll)),
    ];
    let truths: Vec<(Reason, Truth)> = threads
        .into_iter()
        .map(|(reason, thread)| (reason, thread.recv()))
        .collect();
    // Alone: it needs a CPU. And several times: while the disk's interrupts and
    // other machines have that CPU, nobody's clock is right.
    let disks: Vec<Truth> = (0..DISK_TRIES)
        .map(|_| {
            let path = path.clone();
            measured(move || read_disk(&path)).recv()
        })
        .collect();
    let profile = named(recorder.finish().off_cpu);
    assert_eq!(profile.kind, ProfileKind::OffCpu);
    let found = by_reason(&profile);
    let seconds = |tid, reason| found.get(&(tid, reason)).copied().unwrap_or_default() as f64 / 1e9;
    let check = |reason: Reason, truth: &Truth| -> Result<(), String> {
        // Signals are what the thread waits for when it is done.
        let own: HashMap<Reason, f64> = Reason::ALL
            .into_iter()
            .filter(|reason| *reason != Reason::Signal)
            .map(|reason| (reason, seconds(truth.tid, reason)))
            .filter(|(_, seconds)| *seconds > 0.0)
            .collect();
        let off = own.values().sum::<f64>() - truth.before;
        let what = format!("{} in {own:?}, {truth:?}", reason.as_str());
        close(&what, off, truth.wall - truth.cpu, &stolen)?;
        // Of switches that the kernel doesn't report nobody knows the reason.
        let known = [reason, Reason::RunQueue, Reason::Other];
        let known = known.iter().filter_map(|reason| own.get(reason));
        let rest = off + truth.before - known.sum::<f64>();
        if rest < 0.02 * off {
            Ok(())
        } else {
            Err(format!("{what}: {rest} s otherwise"))
        }
    };
    for (reason, truth) in &truths {
        // Another reason is wrong however little CPU there was. Signals come later.
        let longest = Reason::ALL
            .into_iter()
            .filter(|reason| *reason != Reason::Signal)
            .max_by(|a, b| seconds(truth.tid, *a).total_cmp(&seconds(truth.tid, *b)));
        assert!(
            longest == Some(*reason) || longest == Some(Reason::RunQueue),
            "{} is called {longest:?}",
            reason.as_str()
        );
        let result = check(*reason, truth);
        in_time!(result.is_ok(), "{}", result.unwrap_err());
    }
    let wrong: Vec<String> = disks
        .iter()
        .filter_map(|truth| check(Reason::Disk, truth).err())
        .collect();
    in_time!(wrong.len() < disks.len(), "{wrong:#?}");
    // The frame that says why stands on top of each stack.
    for sample in &profile.samples {
        let reason = sample.wait.expect("time off CPU").reason;
        assert_eq!(profile.leaf(sample.stack), reason.frame());
    }
}

/// Works, sleeps, and fights for a lock.
fn mixed(lock: &Mutex<()>, turns: u32) {
    let spin = |ms: u64| {
        let end = seconds_of(ClockId::CLOCK_THREAD_CPUTIME_ID) + ms as f64 / 1e3;
        while seconds_of(ClockId::CLOCK_THREAD_CPUTIME_ID) < end {
            std::hint::spin_loop();
        }
    };
    for _ in 0..turns {
        spin(15);
        std::thread::sleep(Duration::from_millis(10));
        let _guard = lock.lock().expect("nobody panics");
        spin(3);
    }
}

/// Checks that time on CPU, off CPU and in the run queue are together each
/// thread's wall-clock time within 2 %, with more threads than CPUs; and the
/// same with samples for the time on CPU, as `--type wall` adds them up.
#[test]
fn parts_are_wall_clock_time() {
    if !is_root() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let options = Recorder::of_this_process(Duration::ZERO);
    let stolen = Stolen::begin();
    let recorder = Recorder::start(options, Some(997));
    let lock = Arc::new(Mutex::new(()));
    let threads: Vec<_> = (0..5)
        .map(|_| {
            let lock = lock.clone();
            measured(move || mixed(&lock, 25))
        })
        .collect();
    let truths: Vec<Truth> = threads.into_iter().map(|thread| thread.recv()).collect();
    let Taken { on_cpu, off_cpu } = recorder.finish();
    let period = on_cpu.period;
    let sampled_of = |tid| -> f64 {
        let own = on_cpu.samples.iter().filter(|s| s.tid == tid);
        own.map(|s| s.value * period).sum::<u64>() as f64 / 1e9
    };
    let reasons = by_reason(&named(off_cpu));
    let off_of = |tid| -> f64 {
        // Signals are what the threads wait for when they are done.
        let own = reasons
            .iter()
            .filter(|((t, reason), _)| *t == tid && *reason != Reason::Signal);
        own.map(|(_, ns)| ns).sum::<u64>() as f64 / 1e9
    };
    let (mut sampled, mut wall) = (0.0, 0.0);
    for truth in truths {
        let off = off_of(truth.tid) - truth.before;
        assert!(off > 0.2, "{off} s off CPU");
        let what = format!("thread with {} s of CPU, {off} s off CPU", truth.cpu);
        assert_close(&what, truth.cpu + off, truth.wall, &stolen);
        sampled += sampled_of(truth.tid) + off;
        wall += truth.wall;
    }
    assert_close("samples and time off CPU", sampled, wall, &stolen);
}

/// Whether the thread slept, not whatever it did before and after.
fn slept(sample: &RawSample) -> bool {
    matches!(sample.wait, Some(Wait::Blocked { syscall, .. })
        if i64::from(syscall) == libc::SYS_clock_nanosleep)
}

/// Checks that a wait that goes on through many intervals is counted to each
/// of them, once in full, always with the stack that was told once.
#[test]
fn long_waits_are_counted_once() {
    if !is_root() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let options = Recorder::of_this_process(Duration::from_millis(1));
    let stolen = Stolen::begin();
    let mut recorder = Recorder::start(options, None);
    let thread = measured(|| std::thread::sleep(Duration::from_millis(1500)));
    let mut intervals = Vec::new();
    // Between these two times each was ended.
    let mut ends = Vec::new();
    while thread.0.get().is_none() {
        std::thread::sleep(Duration::from_millis(150));
        let begin = Instant::now();
        intervals.push(recorder.take().off_cpu);
        ends.push((begin, Instant::now()));
    }
    let truth = thread.recv();
    intervals.push(recorder.finish().off_cpu);
    let mut all = Vec::new();
    let mut stacks = std::collections::HashSet::new();
    for (n, interval) in intervals.iter().enumerate() {
        let own = interval.samples.iter();
        let own = own.filter(|s| s.tid == truth.tid && slept(s));
        let mut of_interval = 0;
        for sample in own {
            if sample.value < 10_000_000 {
                continue; // another one, behind it
            }
            of_interval += sample.value;
            assert!(!sample.stack.kernel.is_empty(), "interval {n}: no stack");
            assert!(!sample.stack.user.is_empty(), "interval {n}: no stack");
            stacks.insert(sample.stack.clone());
        }
        all.push(of_interval);
    }
    assert_eq!(stacks.len(), 1, "{stacks:?}");
    // But for that in which it began and that in which it ended, all is their length.
    let first = all.iter().position(|ns| *ns > 0).expect("a wait");
    let last = all.iter().rposition(|ns| *ns > 0).expect("a wait");
    for n in first + 1..last {
        let ((before, after), (begin, end)) = (ends[n - 1], ends[n]);
        let length = (begin - after).as_nanos()..=(end - before).as_nanos();
        let counted = u128::from(all[n]);
        assert!(length.contains(&counted), "{n}: {all:?} ns, not {length:?}");
    }
    in_time!(last >= first + 4, "{all:?} ns: there are few intervals");
    let total: u64 = all.iter().sum();
    assert_close(
        "all intervals",
        total as f64 / 1e9,
        truth.wall - truth.cpu,
        &stolen,
    );
}

/// From so long on times are counted.
const THRESHOLD: Duration = Duration::from_millis(200);

/// Checks that a thread that waited before the daemon came counts from then
/// on, and that times below the threshold are left out.
#[test]
fn older_waits_and_short_ones() {
    if !is_root() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (tell, told) = mpsc::channel();
    // It ends with the test.
    std::thread::spawn(move || {
        tell.send(gettid().as_raw() as u32).expect("somebody waits");
        std::thread::sleep(Duration::from_secs(600));
    });
    let older_tid = told.recv().expect("its id");
    // proc_pid_syscall(5): the number of what it waits in.
    let path = format!("/proc/self/task/{older_tid}/syscall");
    let asleep = format!("{} ", libc::SYS_clock_nanosleep);
    let begin = Instant::now();
    while !std::fs::read_to_string(&path).is_ok_and(|call| call.starts_with(&asleep)) {
        assert!(begin.elapsed() < Duration::from_secs(60), "it never sleeps");
        std::thread::sleep(Duration::from_millis(5));
    }
    let recorder = Recorder::start(Recorder::of_this_process(THRESHOLD), None);
    let (began, begin) = (recorder.began, Instant::now());
    // What took as long all the same, by the thread's own clock.
    let long = Arc::new(Mutex::new(Duration::ZERO));
    let of_thread = Arc::clone(&long);
    let short = measured(move || {
        for _ in 0..50 {
            let begin = Instant::now();
            std::thread::sleep(Duration::from_millis(1));
            let took = begin.elapsed();
            if took >= THRESHOLD {
                *of_thread.lock().expect("nobody panics") += took;
            }
        }
    });
    let short = short.recv();
    std::thread::sleep(Duration::from_millis(300));
    let seconds = begin.elapsed().as_secs_f64();
    let taken = recorder.finish().off_cpu;
    let of = |tid| -> f64 {
        let own = taken.samples.iter().filter(|s| s.tid == tid && slept(s));
        own.map(|s| s.value).sum::<u64>() as f64 / 1e9
    };
    let since_start = began.elapsed().as_secs_f64();
    let counted = of(older_tid);
    assert!(
        (seconds * 0.98..=since_start).contains(&counted),
        "{counted} s in {seconds} to {since_start} s"
    );
    let long = long.lock().expect("nobody panics").as_secs_f64();
    let found = of(short.tid);
    assert!(found <= long, "{found} s, of {long} s that were not short");
}

/// Sum of the values of the stacks that `keep` keeps.
fn sum(folded: &str, keep: impl Fn(&str) -> bool) -> f64 {
    let lines = folded.lines().filter_map(|line| line.rsplit_once(' '));
    let kept = lines.filter(|(stack, _)| keep(stack));
    kept.map(|(_, ns)| ns.parse::<f64>().expect("a number"))
        .sum()
}

/// Checks that `record` writes time off CPU beside its outputs, that the wall
/// clock is all of a program's time, and that the summary says why it waited.
#[test]
fn record_writes_both() {
    if !is_root() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("both.folded");
    let program = workload::program().expect("the workload");
    let record = |arguments: &[&str]| {
        let output = Command::new(observer_bin())
            .args(["record", "--frequency", "499", "-o"])
            .arg(&out)
            .args(arguments)
            .arg("--")
            .arg(&program)
            .args(["obs-waits", "sleep=5:100", "spin=500"])
            .output()
            .expect("observer runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let stolen = Stolen::begin();
    let said = record(&["--off-cpu"]);
    let beside = folder.path().join("both.off-cpu.folded");
    let off_cpu = std::fs::read_to_string(&beside).expect("written beside");
    let slept = sum(&off_cpu, |s| {
        s.starts_with("obs-waits;") && s.ends_with(";[sleep]")
    });
    assert_close("sleeps", slept / 1e9, 0.5, &stolen);
    // It ended before either file was written.
    let unnamed = sum(&off_cpu, |s| {
        s.starts_with("obs-waits;") && s.ends_with(";[sleep]") && s.contains(";0x")
    });
    assert_eq!(unnamed, 0.0, "{off_cpu}");
    let all = sum(&off_cpu, |stack| stack.ends_with(";[sleep]")) / 1e9;
    let told = format!("sleep {all:.2} s");
    assert!(
        said.contains("off CPU: ") && said.contains(&told),
        "{told}: {said}"
    );
    assert!(said.contains("both.off-cpu.folded"), "{said}");
    let on_cpu = std::fs::read_to_string(&out).expect("written");
    // (A frame without a name has brackets, too, but waits are told at the end.)
    let waited = |s: &str| Reason::ALL.iter().any(|why| s.ends_with(why.frame()));
    assert_eq!(sum(&on_cpu, waited), 0.0, "{on_cpu}");

    record(&["--type", "wall"]);
    let wall = std::fs::read_to_string(&out).expect("written");
    let own = |s: &str| s.starts_with("obs-waits;");
    let all = sum(&wall, own) / 1e9;
    let off = sum(&wall, |s| own(s) && s.ends_with(']')) / 1e9;
    let on = all - off;
    in_time!((0.45..0.56).contains(&on), "{on} s on CPU");
    assert!(off > 0.5, "{off} s off CPU");
}

/// Checks that contradictions are refused in one line.
#[test]
fn contradictions_are_refused() {
    for arguments in [
        &["--off-cpu", "--type", "off-cpu"][..],
        &["--off-cpu", "-o", "-"],
        &["--type", "of-cpu"],
    ] {
        let output = Command::new(observer_bin())
            .arg("record")
            .args(arguments)
            .output()
            .expect("observer runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

/// Checks that the daemon sends time off CPU to a receiver, with type, unit,
/// reason and thread state, from the threshold on.
#[tokio::test]
async fn daemon_exports_it() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let receiver = Receiver::start().await?;
    let mut observer = Command::new(observer_bin())
        .args(["run", "--budget", "off"])
        .args(["--probes", "offcpu"])
        .args(["--off-cpu-threshold", "100ms"])
        .args(["--otlp-endpoint", &receiver.endpoint()])
        .args(["--otlp-protocol", "http/protobuf"])
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(observer.stderr.take().expect("piped")).lines();
    let started = said.any(|line| line.is_ok_and(|line| line.contains("observing ")));
    assert!(started, "it says when it is ready");
    let waiting = workload::run("obs-exported", &["sleep=2:400", "sleep=20:2"])?;
    let ended = tokio::task::spawn_blocking(move || {
        waiting.wait()?;
        kill(Pid::from_raw(observer.id().try_into()?), Interrupt)?;
        observer.wait().map_err(anyhow::Error::from)
    });
    assert!(ended.await??.success());
    let mut slept = 0;
    for request in receiver.taken(Signal::Profiles) {
        let request = ExportProfilesServiceRequest::decode(&request.message[..])?;
        let dictionary = request.dictionary.expect("a dictionary");
        let text = |id: i32| dictionary.string_table[id as usize].as_str();
        let attribute = |sample: &Sample, key: &str| {
            let mut own = sample.attribute_indices.iter();
            let found = own.find_map(|index| {
                let attribute = &dictionary.attribute_table[*index as usize];
                (text(attribute.key_strindex) == key).then_some(attribute.value.clone())
            });
            match found.flatten().and_then(|value| value.value) {
                Some(any_value::Value::StringValue(text)) => text,
                other => format!("{other:?}"),
            }
        };
        let scopes = request
            .resource_profiles
            .iter()
            .flat_map(|r| &r.scope_profiles);
        for profile in scopes.flat_map(|scope| &scope.profiles) {
            let kind = profile.sample_type.as_ref().expect("a sample type");
            assert_eq!(text(kind.type_strindex), "off_cpu");
            assert_eq!(text(kind.unit_strindex), "nanoseconds");
            for sample in &profile.samples {
                let own = attribute(sample, "process.executable.name") == "obs-exported";
                if own && attribute(sample, "observer.wait.reason") == "sleep" {
                    assert_eq!(attribute(sample, "observer.thread.state"), "interruptible");
                    slept += sample.values.iter().sum::<i64>();
                }
            }
        }
    }
    // Without those of 2 ms.
    let seconds = slept as f64 / 1e9;
    in_time!((0.79..0.9).contains(&seconds), "{seconds} s asleep");
    receiver.stop().await;
    Ok(())
}
