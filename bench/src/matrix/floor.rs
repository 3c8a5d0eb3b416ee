//! Empty programs on the hooks that Observer attaches to: what the kernel alone
//! charges for being asked.
//!
//! They are made from the plan by which Observer attaches its own, so that they are
//! always on the same hooks, as many programs on each. What isn't a tracepoint has no
//! floor: samples of CPUs, functions of user programs.

use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use observer_common::family::Family;
use observer_userspace::config::values::ChosenFamily;
use observer_userspace::kernel::Attach;
use observer_userspace::kernel::btf::KernelBtf;
use observer_userspace::probes::plan::{Plan, Purpose};

use super::{Contender, Report, Role, Running, Work};
use observer_testkit::empty_program;
use observer_testkit::tool::Tool;

/// The argument by which our own program becomes the floor.
pub const ARGUMENT: &str = "--floor";

/// What it says when all are attached.
const READY: &str = "attached";

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
            families: Family::ALL.map(Family::as_str).to_vec(),
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

    fn finish(self: Box<Self>) -> Result<Report> {
        Ok(Report::default())
    }
}

/// What the process does: attaches, says so, and waits to be killed.
pub fn main() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let btf = KernelBtf::load()?;
    let wanted = std::env::args().skip(2);
    let wanted = wanted.map(|word| word.parse().map(|ChosenFamily(family)| family));
    let families: Result<Vec<Family>, String> = wanted.collect();
    let plan = Plan::of(&families.map_err(anyhow::Error::msg)?, Purpose::Daemon);
    let mut held = Vec::new();
    for (_, program) in plan.programs() {
        let hook = match program.attach {
            Attach::Tracepoint(hook) => Some(hook),
            Attach::FirstTracepoint(hooks) => {
                hooks.iter().copied().find(|hook| btf.has_tracepoint(hook))
            }
            // Second looks are Observer's own cost.
            Attach::SecondLook(_) | Attach::Iterator(_) | Attach::Manual | Attach::UserFunction => {
                continue;
            }
        };
        // Observer does without what this kernel doesn't have, too.
        if let Some(id) = hook.and_then(|hook| btf.tracepoint_id(hook)) {
            held.push(empty_program::attach(id).with_context(|| format!("{hook:?}"))?);
        }
    }
    println!("{} {READY}", held.len());
    loop {
        std::thread::park();
    }
}
