//! A process that nobody can look at: `observer-hang KIND NAME FUSE` calls itself
//! NAME, prints a line when it hangs, and lives until its standard input ends.
//! FUSE is a device node like `/dev/fuse` that it may open.
//!
//! - `memory`: its memory map stays locked. A page of a file that a file system of
//!   its own serves is asked for again and again: the first answers are errors, then none
//!   comes, and the kernel holds the lock of the map for as long as it waits.
//!   A thread that wants to change the map then keeps all who would read it waiting.
//!   It takes no privilege.
//! - `network`: the same in a network namespace of its own.
//! - `cgroups`: over `/sys/fs/cgroup` it sees a file system that answers nobody, and a thread
//!   of it waits there.
//! - `mounts`: likewise over `/tmp`; threads of it wait in the middle of mounting there.
//!   Neither takes a privilege.
//! - `debug-files`: likewise over `/usr/lib/debug`, where names of its functions would be.
//! - `program`: it runs a program from a file system that answers nobody else.
//! - `perf-map`: it runs code made at run time, whose names lie on such a file system.
//!   These three need root, as the kernel keeps root away from what others serve.
//!
//! The file system is served by a child (`fuse`).

mod fuse;

use std::ffi::{CString, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fuse::{NAME, Serve, Server};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork, getgid, getpid, getuid};

/// Where debug files of programs are.
const DEBUG_FILES: &str = "/usr/lib/debug";

/// How long threads take to begin.
const SOON: Duration = Duration::from_millis(100);

fn main() -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let text: Vec<&str> = arguments.iter().filter_map(|a| a.to_str()).collect();
    match text[..] {
        ["memory", name, device] => memory(name, Path::new(device), CloneFlags::empty()),
        ["network", name, device] => memory(name, Path::new(device), CloneFlags::CLONE_NEWNET),
        ["cgroups", name, device] => covered("/sys/fs/cgroup", name, Path::new(device)),
        ["mounts", name, device] => covered("/tmp", name, Path::new(device)),
        ["debug-files", name, device] => debug_files(name, Path::new(device)),
        ["program", name, device] => program(name, Path::new(device)),
        ["perf-map", name, device] => perf_map(name, Path::new(device)),
        ["spin", name] => {
            set_name(&CString::new(name)?)?;
            ends_with_input();
            hangs()?;
            spin()
        }
        _ => bail!(
            "observer-hang memory|network|cgroups|mounts|debug-files|program|perf-map NAME FUSE"
        ),
    }
}

/// Ends the process when nobody wants it any more.
fn ends_with_input() {
    std::thread::spawn(|| {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1)) {}
        std::process::exit(0);
    });
}

/// Says that it hangs, without memory that it hasn't got.
fn hangs() -> Result<()> {
    nix::unistd::write(io::stdout(), b"hangs\n")?;
    Ok(())
}

/// Uses the CPU, so that it is sampled.
fn spin() -> ! {
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(3));
    }
}

/// Makes us root of a user namespace, in which everybody may mount.
fn own_namespaces(also: CloneFlags) -> Result<()> {
    let (user, group) = (getuid(), getgid());
    let both = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    unshare(both | also).context("unshare")?;
    // Who isn't mapped has no name in the namespace, and may mount nothing.
    fs::write("/proc/self/setgroups", "deny").context("setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("uid_map")?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("gid_map")
}

fn memory(name: &str, device: &Path, also: CloneFlags) -> Result<()> {
    own_namespaces(also)?;
    let folder = mounted(device, Serve::Page)?;
    let name = CString::new(name)?;
    let file = File::open(folder.join(NAME)).context("the file served")?;
    let length = std::num::NonZero::new(4096).context("length")?;
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let page = unsafe {
        mmap(
            None,
            length,
            ProtFlags::PROT_READ,
            MapFlags::MAP_SHARED,
            &file,
            0,
        )
    }?;
    let address = page.as_ptr() as usize;
    // Whoever is started later would wait for the lock, too.
    ends_with_input();
    std::thread::spawn(move || {
        std::thread::sleep(SOON);
        // SAFETY: the page is mapped and never unmapped. The read never ends.
        unsafe { (address as *const u8).read_volatile() }
    });
    std::thread::spawn(move || {
        std::thread::sleep(2 * SOON);
        // SAFETY: as above; this waits for the lock.
        let _ =
            unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE) };
    });
    std::thread::sleep(3 * SOON);
    // Only now, so that nobody has looked at what is called so before.
    set_name(&name)?;
    hangs()?;
    // Calls that need no memory, so that there is something to see of it.
    loop {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn covered(folder: &'static str, name: &str, device: &Path) -> Result<()> {
    own_namespaces(CloneFlags::empty())?;
    mounted_over(folder, device, Serve::Nothing)?;
    // Threads aren't family: nobody answers them.
    std::thread::spawn(move || fs::read(Path::new(folder).join(NAME)));
    std::thread::spawn(move || {
        let (none, there): (Option<&str>, _) = (None, Path::new(folder).join(NAME));
        mount(Some("/proc"), &there, none, MsFlags::MS_BIND, none)
    });
    std::thread::spawn(move || {
        let (none, there): (Option<&str>, _) = (None, Path::new(folder).join(NAME));
        mount(Some("none"), &there, Some("tmpfs"), MsFlags::empty(), none)
    });
    ends_with_input();
    std::thread::sleep(SOON);
    set_name(&CString::new(name)?)?;
    hangs()?;
    loop {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn debug_files(name: &str, device: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    private()?;
    fs::create_dir_all(DEBUG_FILES).context(DEBUG_FILES)?;
    mounted_over(DEBUG_FILES, device, Serve::Nothing)?;
    set_name(&CString::new(name)?)?;
    ends_with_input();
    hangs()?;
    spin()
}

fn program(name: &str, device: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    private()?;
    let folder = mounted(device, Serve::Program)?;
    let error = std::os::unix::process::CommandExt::exec(
        std::process::Command::new(folder.join(NAME)).args(["spin", name]),
    );
    Err(error).context("the program served")
}

fn perf_map(name: &str, device: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    private()?;
    mounted(device, Serve::Nothing)?;
    set_name(&CString::new(name)?)?;
    let length = std::num::NonZero::new(4096).context("length")?;
    let code = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC;
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let page = unsafe { mmap_anonymous(None, length, code, MapFlags::MAP_PRIVATE) }?;
    // A jump to itself, two bytes long.
    // SAFETY: the page is writable and nobody else's.
    unsafe { page.as_ptr().cast::<[u8; 2]>().write([0xeb, 0xfe]) };
    // SAFETY: what lies there is a function that takes nothing and never returns.
    let code: extern "C" fn() -> ! = unsafe { std::mem::transmute(page.as_ptr()) };
    ends_with_input();
    hangs()?;
    code()
}

/// What happens to mounts here is nobody else's business.
fn private() -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")
}

/// Mounts a file system over `/tmp`, which a child serves; returns where.
fn mounted(device: &Path, serve: Serve) -> Result<PathBuf> {
    mounted_over("/tmp", device, serve)
}

/// The same over another folder.
fn mounted_over(folder: &str, device: &Path, serve: Serve) -> Result<PathBuf> {
    let folder = PathBuf::from(folder);
    let contents = match serve {
        Serve::Program => fs::read("/proc/self/exe")?,
        _ => vec![0; 4096],
    };
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .context("the device of FUSE")?;
    let (user, group) = (getuid(), getgid());
    let options = format!(
        "fd={},rootmode=40000,user_id={user},group_id={group},allow_other",
        device.as_raw_fd()
    );
    mount(
        Some("hang"),
        &folder,
        Some("fuse"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(&*options),
    )
    .context("mount")?;
    let parent = getpid();
    // SAFETY: there is one thread yet.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(folder),
        ForkResult::Child => {
            set_pdeathsig(Signal::SIGKILL)?;
            ensure!(nix::unistd::getppid() == parent, "the parent is gone");
            let mut server = Server::new(device, contents, serve, parent.as_raw() as u32);
            let ended = server.run();
            std::process::exit(i32::from(ended.is_err()));
        }
    }
}
