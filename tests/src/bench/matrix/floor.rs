//! Empty programs on the hooks that Observer attaches to: what the kernel alone
//! charges for being asked.
//!
//! They are made from the probes' own list of hooks, so that they are always on
//! the same ones, as many programs on each. What isn't a tracepoint has no
//! floor: samples of CPUs, functions of user programs.

use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use observer_userspace::kernel::btf::KernelBtf;
use observer_userspace::kernel::{Attach, ProbeSpec};
use observer_userspace::probes::{block, cpu, offcpu, requests, sched, syscalls, tcp};

use super::{Contender, Role, Running, Told, Work};
use crate::bench::peers::Tool;

/// The argument by which our own program becomes the floor.
pub const ARGUMENT: &str = "--floor";

/// What it says when all are attached.
const READY: &str = "attached";

/// Families and what they attach. Identity is everybody's.
pub const FAMILIES: &[(&str, &[&ProbeSpec])] = &[
    ("sched", &[&sched::SPEC]),
    ("syscalls", &[&syscalls::SPEC]),
    ("cpu", &[&cpu::SPEC, &cpu::UNWIND]),
    ("offcpu", &[&offcpu::SPEC]),
    ("block", &[&block::SPEC]),
    ("tcp", &[&tcp::SPEC]),
    ("requests", &[&requests::SPEC]),
];

/// Empty programs, held by a process of their own.
pub struct Floor {
    name: String,
    narrow: bool,
    families: Vec<&'static str>,
}

impl Floor {
    /// On the hooks of all families.
    pub fn all() -> Self {
        Self {
            name: "empty programs, all hooks".into(),
            narrow: false,
            families: FAMILIES.iter().map(|(family, _)| *family).collect(),
        }
    }

    /// On the hooks of these.
    pub fn of(families: &[&'static str]) -> Self {
        Self {
            name: format!("empty programs, {}", families.join(", ")),
            narrow: true,
            families: families.to_vec(),
        }
    }
}

impl Contender for Floor {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn role(&self) -> Role {
        Role::Floor
    }

    fn narrow(&self) -> bool {
        self.narrow
    }

    fn start<'a>(&'a self, _work: &dyn Work) -> Result<Box<dyn Running + 'a>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).args(&self.families);
        let mut tool = Tool::start(&mut command)?;
        tool.wait_until(|tool| Ok(tool.printed()?.contains(READY)))
            .context("the empty programs")?;
        Ok(Box::new(Attached(tool)))
    }
}

struct Attached(Tool);

impl Running for Attached {
    fn pids(&self) -> Vec<u32> {
        vec![self.0.pid()]
    }

    fn finish(self: Box<Self>) -> Result<Told> {
        Ok(Told::default())
    }
}

/// What the process does: attaches, says so, and waits to be killed.
pub fn main() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let btf = KernelBtf::load()?;
    let wanted: Vec<String> = std::env::args().skip(2).collect();
    let chosen = FAMILIES
        .iter()
        .filter(|(f, _)| wanted.iter().any(|w| w == f));
    let specs = chosen.flat_map(|(_, specs)| specs.iter().copied());
    let mut held = Vec::new();
    for program in specs.chain([&sched::IDENTITY]).flat_map(|s| s.programs) {
        let hook = match program.attach {
            Attach::Tracepoint(hook) => Some(hook),
            Attach::FirstTracepoint(hooks) => {
                hooks.iter().copied().find(|hook| btf.has_tracepoint(hook))
            }
            Attach::Iterator(_) | Attach::Manual | Attach::UserFunction => continue,
        };
        // Observer does without what this kernel doesn't have, too.
        if let Some(id) = hook.and_then(|hook| btf.tracepoint_id(hook)) {
            held.push(attach(id).with_context(|| format!("{hook:?}"))?);
        }
    }
    println!("{} {READY}", held.len());
    loop {
        std::thread::park();
    }
}

/// `BPF_PROG_LOAD` and `BPF_RAW_TRACEPOINT_OPEN` of `enum bpf_cmd`, and so on
/// (include/uapi/linux/bpf.h).
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_RAW_TP: u32 = 23;

/// `r0 = 0; exit`: two `struct bpf_insn`.
static EMPTY: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// The member of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log: [u64; 2],
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    types: [u64; 4],
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_btf_obj_fd: u64,
}

/// The member for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
#[derive(Default)]
struct Open {
    name: u64,
    prog_fd: u64,
}

/// Attaches an empty program to a tracepoint, by its type's number; it is there
/// as long as both descriptors. Its name is `floor`.
///
/// # Errors
///
/// When the kernel refuses.
pub fn attach(id: u32) -> Result<[OwnedFd; 2]> {
    let load = Load {
        prog_type: BPF_PROG_TYPE_TRACING,
        insn_cnt: EMPTY.len() as u32,
        insns: EMPTY.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_name: *b"floor\0\0\0\0\0\0\0\0\0\0\0",
        expected_attach_type: BPF_TRACE_RAW_TP,
        attach_btf_id: id,
        ..Load::default()
    };
    // SAFETY: the layout is the kernel's, and what it points to is static.
    let program = unsafe { bpf(BPF_PROG_LOAD, &load) }.context("cannot load an empty program")?;
    let open = Open {
        prog_fd: std::os::fd::AsRawFd::as_raw_fd(&program) as u64,
        ..Open::default()
    };
    // SAFETY: likewise; it points to nothing.
    let link = unsafe { bpf(BPF_RAW_TRACEPOINT_OPEN, &open) }.context("cannot attach it")?;
    Ok([program, link])
}

/// A command of bpf(2) that answers with a descriptor.
///
/// # Safety
/// `attr` must be what the kernel takes `command`'s to be.
unsafe fn bpf<T>(command: libc::c_long, attr: &T) -> Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes as it is told.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if fd < 0 {
        bail!(std::io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd.try_into()?) })
}
