//! `cargo xtask vm`: Debian's stock kernels under qemu, with the built daemon and the
//! host's own files.
//!
//! Kernels and the emulator come from Debian's archive by this machine's own mirrors
//! ([`apt`], [`kernels`], [`qemu`]) and are kept under `target/vm`. A guest
//! ([`machine`]) starts with an [`initramfs`] of ours, takes the host's root, which it
//! can't write to, as its own, and runs what its [`guest::Share`] says: a command, or
//! `observer-guest`, which makes known loads and compares what the daemon says of them.
//! A guest of another [`architecture`] has [`files`] of Debian's instead of the host's,
//! and programs that are built for it here.

mod apt;
mod architecture;
mod build;
mod expectations;
mod files;
mod findings;
mod guest;
mod initramfs;
mod kernels;
mod machine;
mod mirror;
mod modules;
mod qemu;
mod report;
mod system;
mod task;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cargo::run;
use crate::packages;
use apt::Apt;
use architecture::Architecture;
use findings::Findings;
use guest::Share;
use kernels::Kernel;
use machine::{End, Machine};
use qemu::Qemu;
use report::Kept;
use task::Task;

pub use system::boot as boot_system;

/// Where programs are, also those of administrators.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the host needs: a list like that of the tests.
const PACKAGES: &str = "xtask/src/vm/packages.txt";

/// What the loads need, which run the host's programs.
const TEST_PACKAGES: &str = "testkit/packages.txt";

/// Most guests at the same time, each with 2 GiB.
const MOST_GUESTS: usize = 4;

/// Longest run of a command in a guest.
const LIMIT: Duration = Duration::from_secs(1200);

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub struct Options {
    /// Kernels by their series, like 6.12, or `newest` or `oldest` of those that Debian
    /// has [default: all]
    kernels: Vec<String>,
    /// The guests' processor, as Rust calls it: x86_64 or aarch64 [default: this
    /// machine's]
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Only build what guests run
    #[arg(long)]
    build: bool,
    /// Only see whether what guests run compiles
    #[arg(long)]
    check: bool,
    /// Only load and attach every program, under every set of options that changes what
    /// is loaded
    #[arg(long)]
    verify: bool,
    /// Only print the table of what the last runs on each kernel said
    #[arg(long)]
    markdown: bool,
    /// Only list the kernels that there are
    #[arg(long)]
    list: bool,
    /// Fetch Debian's lists of packages again
    #[arg(long)]
    update: bool,
    /// Run this in each guest; it has our programs in its path, and the host's files
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Options {
    fn architecture(&self) -> Result<&'static Architecture> {
        match &self.arch {
            Some(name) => Architecture::named(name),
            None => Architecture::of_host(),
        }
    }
}

/// The user's variables that matter, also behind sudo.
const ENVIRONMENT: &[&str] = &["CI", "PATH", "CARGO_TARGET_DIR"];

/// Builds what guests run, and goes on as root.
pub fn main(options: &Options) -> Result<()> {
    let architecture = options.architecture()?;
    if options.markdown {
        print!("{}", report::markdown(&results(&folder_of(architecture)))?);
        return Ok(());
    }
    if options.check {
        return build::check(architecture);
    }
    if !options.list {
        build::programs(architecture)?;
    }
    if options.build {
        return Ok(());
    }
    if crate::root::is_root()? {
        return as_root(options);
    }
    let mut command = crate::root::command(crate::root::own_path()?, ENVIRONMENT)?;
    // The same arguments, behind the name of this part.
    run(command.arg("vm-as-root").args(std::env::args_os().skip(2)))
}

/// Boots the kernels that are asked for.
pub fn as_root(options: &Options) -> Result<()> {
    let architecture = options.architecture()?;
    let folder = folder_of(architecture);
    packages::install(PACKAGES, "virtual machines")?;
    let apt = Apt::new(&folder.join("apt"), architecture.debian, options.update)?;
    let all = kernels::newest(&apt.show(&kernels::names(architecture.debian))?);
    let chosen = kernels::choose(&all, &options.kernels)?;
    if options.list {
        for kernel in &chosen {
            let is_here = kernel_folder(&folder, kernel).exists();
            let here = if is_here { "  (here)" } else { "" };
            println!("{:6} {}{here}", kernel.series.to_string(), kernel.release);
        }
        return Ok(());
    }
    let host = Host::find(apt, architecture, folder)?;
    let task = match options.command.as_slice() {
        [] if options.verify => Task::Verify,
        [] => Task::Compare,
        command => Task::Run(command.to_vec()),
    };
    if task == Task::Compare && architecture.is_host() {
        packages::install(TEST_PACKAGES, "the loads in virtual machines")?;
    }
    for kernel in &chosen {
        let folder = kernel_folder(&host.folder, kernel);
        host.apt.unpack(&kernel.packages, &folder)?;
    }
    let failed = host.carry_out_on_all(&task, &chosen);
    if !failed.is_empty() {
        bail!("failed on {}; why is above", failed.join(", "));
    }
    Ok(())
}

/// What it takes to boot a kernel.
struct Host {
    apt: Apt,
    architecture: &'static Architecture,
    qemu: Qemu,
    /// The files that guests take as their own.
    files: PathBuf,
    /// Where everything is kept.
    folder: PathBuf,
}

impl Host {
    /// Finds or fetches the emulator, with the server of files.
    fn find(apt: Apt, architecture: &'static Architecture, folder: PathBuf) -> Result<Self> {
        if qemu::file_server().is_err() {
            // A package of its own since Debian 13.
            packages::install_named(&["virtiofsd"], "virtual machines")?;
        }
        let (qemu, files) = if architecture.is_host() {
            (Qemu::find(&apt, architecture, &folder)?, "/".into())
        } else {
            packages::install_named(&[architecture.qemu_package], "virtual machines")?;
            let own = Architecture::of_host()?;
            let own = Apt::new(&folder_of(own).join("apt"), own.debian, false)?;
            let qemu = Qemu::find(&own, architecture, &folder)?;
            (qemu, files::unpack(&apt, &folder)?)
        };
        Ok(Self {
            qemu,
            files,
            apt,
            architecture,
            folder,
        })
    }

    /// Carries out a task on kernels, one after the other; verifying is the work of one
    /// CPU, so as many are at it as there are CPUs. Returns those where it failed.
    fn carry_out_on_all(&self, task: &Task, kernels: &[Kernel]) -> Vec<String> {
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        let workers = match task {
            Task::Verify => cpus.min(MOST_GUESTS),
            Task::Run(_) | Task::Compare => 1,
        };
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(kernel) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = self.carry_out(task, kernel) {
                            eprintln!("{}: {error:#}", kernel.series);
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.push(kernel.series.to_string());
                        }
                    }
                });
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a task in a guest; an error unless all went well. An emulator that
    /// crashes or hangs has one more try: that says nothing of Observer.
    fn carry_out(&self, task: &Task, kernel: &Kernel) -> Result<()> {
        let share = match self.boot(kernel, task)? {
            Booted::Over(share) => share,
            Booted::Crashed(said) => {
                println!("{}: the emulator failed; once more: {said}", kernel.series);
                match self.boot(kernel, task)? {
                    Booted::Over(share) => share,
                    Booted::Crashed(said) => bail!("the emulator failed twice: {said}"),
                }
            }
        };
        match (task, share.status()) {
            (_, None) => bail!("the guest never came to the end of its task"),
            (_, Some(status)) if status != 0 => bail!("the task ended with status {status}"),
            (Task::Run(_), _) => Ok(()),
            (Task::Verify | Task::Compare, _) => self.judge(kernel, &share, task),
        }
    }

    /// Judges what a guest found.
    fn judge(&self, kernel: &Kernel, share: &Share, task: &Task) -> Result<()> {
        let findings = Findings::read(share)?;
        let verdict = expectations::judge(kernel.series, &findings);
        for note in &verdict.expected {
            println!("{}: expected: {}: {}", kernel.series, note.row, note.why);
        }
        for (_, failure) in &verdict.failures {
            println!("{}: FAILED: {failure}", kernel.series);
        }
        let count = findings.figures.len();
        if *task == Task::Compare {
            let kept = Kept::new(&kernel.version, findings);
            kept.write(&results(&self.folder), kernel.series)?;
        }
        match verdict.failures.len() {
            0 => println!("{}: as expected, {count} figures compared", kernel.series),
            failures => bail!("{failures} failures"),
        }
        Ok(())
    }

    /// Boots a kernel with a task.
    fn boot(&self, kernel: &Kernel, task: &Task) -> Result<Booted> {
        let folder = self.run_folder(kernel)?;
        let built = build::folder(self.architecture);
        let strip = build::tool(self.architecture, "strip");
        let share = Share::new(&folder.join("share"), &built, &strip, &task.command())?;
        if *task != Task::Verify {
            let compiler = match self.architecture.cross() {
                Some(cross) => cross.compiler(),
                None => "cc".into(),
            };
            share.prepare(&build::own_guest(), &compiler)?;
        }
        let is_loud = matches!(task, Task::Run(_));
        self.start(kernel, share, &self.files, None, is_loud)
    }

    /// A folder for what a guest needs and leaves.
    fn run_folder(&self, kernel: &Kernel) -> Result<PathBuf> {
        let folder = self.folder.join("run").join(&kernel.release);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Boots a kernel with the files of `root` and the first process `first`
    /// ([`Machine::root`], [`Machine::first`]).
    fn start(
        &self,
        kernel: &Kernel,
        share: Share,
        root: &Path,
        first: Option<&str>,
        is_loud: bool,
    ) -> Result<Booted> {
        let unpacked = kernel_folder(&self.folder, kernel);
        let folder = self.run_folder(kernel)?;
        let initramfs = folder.join("initramfs");
        initramfs::build(&unpacked, &kernel.release, &self.files, &initramfs)?;
        let machine = Machine {
            architecture: self.architecture,
            qemu: &self.qemu,
            image: &image(&unpacked, &kernel.release)?,
            initramfs: &initramfs,
            folder: &folder,
            root,
            first,
            share: share.folder(),
            limit: LIMIT,
            is_loud,
        };
        eprintln!("booting {} ({})", kernel.series, kernel.release);
        let begin = Instant::now();
        let end = machine.run()?;
        let seconds = begin.elapsed().as_secs();
        match end {
            End::Over => {}
            End::Crashed(said) => return Ok(Booted::Crashed(said)),
            End::Killed => bail!("it was killed after {seconds} s{}", last_words(&machine)),
        }
        if share.status().is_none() {
            bail!("it ended after {seconds} s{}", last_words(&machine));
        }
        eprintln!("{}: over after {seconds} s", kernel.series);
        Ok(Booted::Over(share))
    }
}

/// What became of a guest.
enum Booted {
    /// It came to its end, and left this.
    Over(Share),
    /// The emulator crashed, and said this.
    Crashed(String),
}

/// Where all of it is kept.
fn folder() -> PathBuf {
    crate::target_dir().join("vm")
}

/// Where what is about guests of an architecture is kept.
fn folder_of(architecture: &Architecture) -> PathBuf {
    if architecture.is_host() {
        folder()
    } else {
        folder().join(architecture.name)
    }
}

/// Where the last results of each kernel are kept.
fn results(folder: &Path) -> PathBuf {
    folder.join("results")
}

/// Where a kernel's packages are unpacked.
fn kernel_folder(folder: &Path, kernel: &Kernel) -> PathBuf {
    folder.join("kernels").join(&kernel.release)
}

/// A kernel's image, below where its packages were unpacked.
fn image(root: &Path, release: &str) -> Result<PathBuf> {
    let images = [
        root.join(format!("boot/vmlinuz-{release}")),
        root.join(format!("usr/lib/modules/{release}/vmlinuz")),
    ];
    let found = images.into_iter().find(|image| image.is_file());
    found.with_context(|| format!("no kernel in {}", root.display()))
}

/// The last that a guest said.
fn last_words(machine: &Machine<'_>) -> String {
    let said = fs::read_to_string(machine.console()).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(20)..].join("\n  ");
    format!(
        "; its last words (all in {}):\n  {last}",
        machine.console().display()
    )
}
