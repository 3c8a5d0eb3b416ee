//! One guest, from its start to its end.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::architecture::Architecture;
use super::qemu::{self, Qemu};

/// Size of the disk that guests may write to, in MiB.
const DISK_MIB: u64 = 256;

/// A guest's memory, in MiB.
const MEMORY_MIB: u64 = 2048;

/// A guest's CPUs.
const CPUS: u32 = 2;

/// How long a guest may take to its first process, which takes ten seconds: now and then
/// the emulator hangs before the kernel has begun.
const BOOT_LIMIT: Duration = Duration::from_secs(150);

/// What the first process says when it begins (`init.sh`).
const BEGUN: &str = "observer-vm: begun";

/// How long servers of files may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is booted.
#[derive(Debug)]
pub struct Machine<'a> {
    /// Its processor.
    pub architecture: &'a Architecture,
    /// The emulator.
    pub qemu: &'a Qemu,
    /// The kernel.
    pub image: &'a Path,
    /// What it starts with.
    pub initramfs: &'a Path,
    /// A folder for its sockets, its disk and what it says.
    pub folder: &'a Path,
    /// The files that it takes as its own.
    pub root: &'a Path,
    /// Its first process, once it has its files, which then may be written; none: a
    /// script of ours.
    pub first: Option<&'a str>,
    /// A folder that it can write to.
    pub share: &'a Path,
    /// When it is killed.
    pub limit: Duration,
    /// Whether what it says is printed as it comes.
    pub is_loud: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Over,
    /// The emulator did, by a signal, or it never came to the guest's first process: what
    /// it said.
    Crashed(String),
    /// At its limit.
    Killed,
}

/// A process that ends with us, and when dropped.
struct Guard(Child);

impl Guard {
    fn start(command: &mut Command) -> Result<Self> {
        // SAFETY: a single system call between fork and exec.
        unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) };
        let child = command.stdin(Stdio::null()).spawn();
        Ok(Self(
            child.with_context(|| format!("cannot start {command:?}"))?,
        ))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine<'_> {
    /// Boots it, and waits for its end.
    pub fn run(&self) -> Result<End> {
        let sockets = ["host.socket", "share.socket"].map(|name| self.folder.join(name));
        let _servers = [
            self.serve(&sockets[0], self.root)?,
            self.serve(&sockets[1], self.share)?,
        ];
        let disk = self.folder.join("disk");
        File::create(&disk)
            .and_then(|file| file.set_len(DISK_MIB << 20))
            .with_context(|| format!("cannot make {}", disk.display()))?;
        let mut emulator = Guard::start(
            self.command(&sockets, &disk)
                .stdout(Stdio::piped())
                .stderr(File::create(self.folder.join("qemu"))?),
        )?;
        let output = emulator.0.stdout.take().context("a pipe")?;
        let mut log = File::create(self.console())?;
        let is_loud = self.is_loud;
        let has_begun = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&has_begun);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches('\r');
                if line.contains(BEGUN) {
                    begun.store(true, Ordering::Relaxed);
                    continue;
                }
                // Nobody misses a log that can't be written.
                let _ = writeln!(log, "{line}");
                if is_loud {
                    println!("{line}");
                }
            }
        });
        let begin = Instant::now();
        let end = loop {
            if let Some(status) = emulator.0.try_wait()? {
                let said = fs::read_to_string(self.folder.join("qemu")).unwrap_or_default();
                if status.signal().is_some() {
                    break End::Crashed(format!("{status}: {}", said.trim()));
                }
                ensure!(status.success(), "qemu failed ({status}): {}", said.trim());
                break End::Over;
            }
            if begin.elapsed() > self.limit {
                break End::Killed;
            }
            if begin.elapsed() > BOOT_LIMIT && !has_begun.load(Ordering::Relaxed) {
                let seconds = BOOT_LIMIT.as_secs();
                break End::Crashed(format!("no first process after {seconds} s"));
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        drop(emulator);
        // It ends with the emulator.
        let _ = reader.join();
        Ok(end)
    }

    /// Where what it says is kept.
    pub fn console(&self) -> PathBuf {
        self.folder.join("console.txt")
    }

    /// Starts a server of a folder's files, and waits until it is there.
    fn serve(&self, socket: &Path, folder: &Path) -> Result<Guard> {
        let _ = fs::remove_file(socket);
        let (program, is_older) = qemu::file_server()?;
        let log = File::create(socket.with_extension("log"))?;
        let mut command = Command::new(program);
        command.args(qemu::server_options(is_older, socket, folder));
        let mut server = Guard::start(command.stdout(log.try_clone()?).stderr(log))?;
        let begin = Instant::now();
        while !socket.exists() {
            let log = || fs::read_to_string(socket.with_extension("log")).unwrap_or_default();
            if let Some(status) = server.0.try_wait()? {
                anyhow::bail!("{} ended ({status}): {}", program.display(), log().trim());
            }
            ensure!(
                begin.elapsed() < PATIENCE,
                "{} isn't there after {} s: {}",
                program.display(),
                PATIENCE.as_secs(),
                log().trim()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn command(&self, sockets: &[PathBuf; 2], disk: &Path) -> Command {
        let mut command = Command::new(&self.qemu.program);
        for folder in &self.qemu.data {
            command.arg("-L").arg(folder);
        }
        if self.architecture.is_host() && can_virtualize() {
            command.args(["-accel", "kvm"]);
        }
        command.args(["-accel", "tcg,thread=multi"]);
        command.args(self.architecture.machine);
        command.args(["-nographic", "-vga", "none", "-nic", "none", "-no-reboot"]);
        command.args(["-smp", &CPUS.to_string(), "-m", &MEMORY_MIB.to_string()]);
        command.arg("-kernel").arg(self.image);
        command.arg("-initrd").arg(self.initramfs);
        // Messages of the kernel's boot are kept, and only warnings shown.
        let console = self.architecture.console;
        let first = self.first.map(|first| format!(" observer_first={first}"));
        command.arg("-append").arg(format!(
            "console={console} panic=-1 quiet loglevel=4 log_buf_len=4M {}{}",
            self.architecture.boot,
            first.unwrap_or_default()
        ));
        // The servers of files see the guest's memory.
        command.arg("-object").arg(format!(
            "memory-backend-memfd,id=memory,size={MEMORY_MIB}M,share=on"
        ));
        command.args(["-numa", "node,memdev=memory"]);
        for (socket, tag) in sockets.iter().zip(["host", "share"]) {
            let socket = socket.display();
            command
                .arg("-chardev")
                .arg(format!("socket,id={tag},path={socket}"));
            command.arg("-device");
            command.arg(format!("vhost-user-fs-pci,chardev={tag},tag={tag}"));
        }
        let disk = disk.display();
        command
            .arg("-drive")
            .arg(format!("file={disk},format=raw,if=virtio,cache=unsafe"));
        command
    }
}

/// Whether this machine can virtualize, so that guests are as fast as it is. Some
/// have the device and can't.
fn can_virtualize() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_flag = flags.split_whitespace().any(|f| f == "vmx" || f == "svm");
    let device = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    has_flag && device.is_ok()
}
