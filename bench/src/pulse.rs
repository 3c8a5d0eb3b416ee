//! The measured programs of the profiler's benchmarks: `programs/pulse.c`, and
//! copies of it that profilers must take for different programs.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::machine;
use observer_testkit::chain::source;
use observer_testkit::daemon;

/// The compiled program's name, by which profilers report it.
pub const COMM: &str = "bench-pulse";

/// Longer than any benchmark, in seconds; they are killed at its end.
const LONG: &str = "3600";

/// Bytes of a build id, as the linker's SHA-1 has.
const BUILD_ID: usize = 20;

/// The programs' files; removed when dropped.
pub struct Programs {
    folder: TempDir,
}

impl Programs {
    /// A folder for them.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new().context("cannot make a temporary folder")?;
        Ok(Self { folder })
    }

    /// Compiles the program without frame pointers.
    pub fn pulse(&self) -> Result<PathBuf> {
        self.compile(COMM, &[])
    }

    /// Compiles it with frame pointers in all that lies between `main` and `leaf`.
    pub fn pulse_with_frame_pointers(&self) -> Result<PathBuf> {
        let flags = ["-fno-omit-frame-pointer", "-DOWN_SORT"];
        self.compile(COMM, &flags)
    }

    /// `count` copies that differ by their build ids. Every second one is
    /// static if `half_static`, and so has all it uses of libc in itself.
    pub fn copies(&self, count: usize, half_static: bool) -> Result<Vec<PathBuf>> {
        let marker = [0xb5; BUILD_ID];
        let text: String = marker.iter().map(|byte| format!("{byte:02x}")).collect();
        let build_id = format!("-Wl,--build-id=0x{text}");
        let mut originals = vec![self.compile("dynamic", &[&build_id])?];
        if half_static {
            originals.push(self.compile("static", &[&build_id, "-static"])?);
        }
        let images: Vec<(Vec<u8>, usize)> = originals
            .iter()
            .map(|path| {
                let image = fs::read(path)?;
                let mut places = image.windows(BUILD_ID).enumerate();
                let place = places.find(|(_, bytes)| *bytes == marker);
                let (place, _) = place.context("the program has no build id")?;
                Ok((image, place))
            })
            .collect::<Result<_>>()?;
        (0..count)
            .map(|number| {
                let (image, place) = &images[number % images.len()];
                let mut image = image.clone();
                image[*place..place + 8].copy_from_slice(&(number as u64).to_be_bytes());
                let path = self.folder.path().join(format!("pulse-{number:03}"));
                fs::write(&path, image)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                Ok(path)
            })
            .collect()
    }

    fn compile(&self, name: &str, flags: &[&str]) -> Result<PathBuf> {
        let out = self.folder.path().join(name);
        let mut compiler = Command::new("cc");
        compiler
            .args(["-O2", "-fomit-frame-pointer", "-o"])
            .arg(&out);
        let result = compiler
            .arg(source("pulse.c"))
            .args(flags)
            .output()
            .context("cannot start cc")?;
        let said = String::from_utf8_lossy(&result.stderr);
        ensure!(result.status.success(), "{compiler:?}: {said}");
        Ok(out)
    }
}

/// Running programs; killed when dropped, and by the kernel if we are.
#[derive(Default)]
pub struct Herd(Vec<Child>);

impl Herd {
    /// One on each CPU that never pauses.
    pub fn busy(program: &Path) -> Result<Self> {
        let mut herd = Self::default();
        for cpu in 0..machine::cpus() {
            herd.start(program, [LONG, "1000", "0"])?;
            herd.bind_last(cpu)?;
        }
        Ok(herd)
    }

    fn bind_last(&self, cpu: usize) -> Result<()> {
        let pid = self.0.last().map_or(0, Child::id);
        let mut set = CpuSet::new();
        set.set(cpu)?;
        Ok(sched_setaffinity(Pid::from_raw(pid.try_into()?), &set)?)
    }

    /// The same, which say how much they did in files in this folder.
    fn counting(program: &Path, folder: &Path) -> Result<(Self, Vec<PathBuf>)> {
        let mut herd = Self::default();
        let mut counters = Vec::new();
        for cpu in 0..machine::cpus() {
            let counter = folder.join(format!("rounds-{cpu}"));
            herd.0
                .push(start(program, [LONG, "1000", "0"], Some(&counter))?);
            herd.bind_last(cpu)?;
            counters.push(counter);
        }
        Ok((herd, counters))
    }

    /// Each of the programs once, which burn `busy` of CPU time every `period`.
    pub fn pulsing(programs: &[PathBuf], busy: Duration, period: Duration) -> Result<Self> {
        let mut herd = Self::default();
        let (busy, period) = (busy.as_micros().to_string(), period.as_millis().to_string());
        for program in programs {
            herd.start(program, [LONG, &busy, &period])?;
        }
        Ok(herd)
    }

    /// How many still run.
    pub fn alive(&mut self) -> usize {
        let running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        self.0
            .iter_mut()
            .filter_map(|c| running(c).then_some(()))
            .count()
    }

    fn start(&mut self, program: &Path, arguments: [&str; 3]) -> Result<()> {
        self.0.push(start(program, arguments, None)?);
        Ok(())
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        end(self.0.iter_mut());
    }
}

/// How far busy programs have got.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Rounds of work.
    pub rounds: f64,
    /// CPU seconds, all together.
    pub cpu: f64,
}

impl Done {
    /// Rounds per CPU second since then.
    pub fn rate_since(&self, before: &Self) -> f64 {
        (self.rounds - before.rounds) / (self.cpu - before.cpu)
    }
}

/// A program on each CPU that never pauses and says how much it does.
pub struct Busy {
    herd: Herd,
    counters: Vec<PathBuf>,
    _folder: TempDir,
}

impl Busy {
    /// Starts them.
    pub fn start(program: &Path) -> Result<Self> {
        let folder = TempDir::new().context("cannot make a temporary folder")?;
        let (herd, counters) = Herd::counting(program, folder.path())?;
        // Until they have made their files.
        std::thread::sleep(Duration::from_millis(200));
        Ok(Self {
            herd,
            counters,
            _folder: folder,
        })
    }

    /// What they have done so far.
    pub fn done(&self) -> Result<Done> {
        let mut done = Done::default();
        for (child, counter) in self.herd.0.iter().zip(&self.counters) {
            let bytes = fs::read(counter).context("a busy program ended")?;
            let bytes: [u8; 8] = bytes.try_into().unwrap_or_default();
            done.rounds += u64::from_ne_bytes(bytes) as f64;
            done.cpu += daemon::cpu_seconds(child.id())?;
        }
        Ok(done)
    }
}

/// Starts one; it ends with the thread that called this.
fn start(program: &Path, arguments: [&str; 3], counter: Option<&Path>) -> Result<Child> {
    Command::new(program)
        .args(arguments)
        .args(counter)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// Kills first and waits then, so that many end quickly.
fn end<'a>(children: impl Iterator<Item = &'a mut Child>) {
    let mut children: Vec<_> = children.collect();
    for child in &mut children {
        // Fails for one that has been waited for.
        let _ = child.kill();
    }
    for child in children {
        let _ = child.wait();
    }
}

/// What is started all the time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Programs started per second; as many end.
    pub rate: f64,
    /// How long each lives.
    pub life: Duration,
    /// CPU time that each burns …
    pub busy: Duration,
    /// … every so often.
    pub period: Duration,
}

/// Processes that come and go; all end when it is dropped.
pub struct Churn {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Counts {
    started: AtomicU64,
    ended: AtomicU64,
}

impl Churn {
    /// Starts the programs in turn, from a thread of its own.
    pub fn start(programs: Vec<PathBuf>, pace: Pace) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let thread = {
            let (stop, counts) = (stop.clone(), counts.clone());
            std::thread::spawn(move || churn(&programs, pace, &stop, &counts))
        };
        Self {
            stop,
            counts,
            thread: Some(thread),
        }
    }

    /// How many were started and how many have ended so far.
    pub fn counts(&self) -> (u64, u64) {
        let ended = self.counts.ended.load(Ordering::Relaxed);
        (self.counts.started.load(Ordering::Relaxed), ended)
    }

    /// Ends them all; an error if one could not be started.
    pub fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(anyhow::anyhow!("the thread that starts processes panicked")),
        }
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn churn(programs: &[PathBuf], pace: Pace, stop: &AtomicBool, counts: &Counts) -> Result<()> {
    let (life, busy) = (
        pace.life.as_secs_f64().to_string(),
        pace.busy.as_micros().to_string(),
    );
    let period = pace.period.as_millis().to_string();
    let mut running = Alive(VecDeque::new());
    let begin = Instant::now();
    let mut started = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (begin.elapsed().as_secs_f64() * pace.rate) as u64;
        while started < due {
            let program = &programs[started as usize % programs.len()];
            running
                .0
                .push_back(start(program, [&life, &busy, &period], None)?);
            started += 1;
        }
        counts.started.store(started, Ordering::Relaxed);
        // They end nearly in the order in which they were started.
        while let Some(oldest) = running.0.front_mut() {
            if oldest.try_wait()?.is_none() {
                break;
            }
            running.0.pop_front();
            counts.ended.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Killed when dropped.
struct Alive(VecDeque<Child>);

impl Drop for Alive {
    fn drop(&mut self) {
        end(self.0.iter_mut());
    }
}
