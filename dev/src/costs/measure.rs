//! Asks the kernel.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use observer_common::family::Family;
use observer_userspace::agent::options;
use observer_userspace::config::Config;
use observer_userspace::kernel::btf::KernelBtf;
use observer_userspace::kernel::loaded::{self, LoadedProgram};
use observer_userspace::kernel::{Attach, Kernel, LoadOptions, ProgramSpec, stats};
use observer_userspace::probes::plan::{Plan, Purpose};

use super::{Costs, Map, Platform, Program, Run, load};
use observer_testkit::daemon;
use observer_testkit::empty_program;

/// Bytes of a program's or a map's name that the kernel keeps
/// (`BPF_OBJ_NAME_LEN`, include/uapi/linux/bpf.h, with a NUL).
const NAME: usize = 15;

/// Runs of the program that does nothing.
const FLOOR_RUNS: u64 = 300_000;

/// How long programs that run by themselves are given after the load.
const SETTLE: Duration = Duration::from_secs(2);

/// What can be told without running anything: all programs are attached for a
/// moment, as the default configuration has them on a host without cgroups v1.
///
/// # Errors
///
/// Without root, or when the kernel refuses a program.
pub fn sizes() -> Result<Costs> {
    let config = Config::load(None, Default::default())?;
    let mut kernel = Kernel::load(&LoadOptions {
        v1_subsystem: None,
        ..options::load_options(&config)?
    })?;
    Plan::of(&Family::ALL, Purpose::Everything).attach(&mut kernel);
    let held = loaded::programs(std::process::id())?;
    let mut programs = Vec::new();
    for state in kernel.states() {
        let name = state.program.name;
        if let Some(failure) = &state.failure {
            anyhow::bail!("{name} can't be loaded: {failure}");
        }
        let found = named(&held, name).with_context(|| format!("the kernel has no {name}"))?;
        programs.push(Program {
            name: name.to_owned(),
            family: state.family.to_string(),
            event: event(&state.program),
            verified: found.verified,
            translated: found.translated,
            jited: found.jited,
            run: None,
        });
    }
    Ok(Costs {
        platform: Platform::here()?,
        programs,
        maps: maps(&kernel)?,
        floor: None,
    })
}

fn named<'a>(programs: &'a [LoadedProgram], name: &str) -> Option<&'a LoadedProgram> {
    let short = &name[..name.len().min(NAME)];
    programs.iter().find(|program| program.name == short)
}

/// A program's hook, in a few words.
fn event(program: &ProgramSpec) -> String {
    match program.attach {
        Attach::Tracepoint(name) | Attach::SecondLook(name) => name.to_owned(),
        Attach::FirstTracepoint(names) => names.join(" or "),
        Attach::Iterator(kind) => format!("iterator: {kind}"),
        Attach::Manual => "perf event: CPU clock".to_owned(),
        Attach::UserFunction => "uprobe".to_owned(),
    }
}

fn maps(kernel: &Kernel) -> Result<Vec<Map>> {
    let held = loaded::maps(std::process::id())?;
    let mut maps: Vec<Map> = held
        .into_iter()
        .map(|map| Map {
            // The whole name, where the kernel cut it.
            name: kernel
                .maps()
                .map(|(name, _)| name)
                .find(|name| name[..name.len().min(NAME)] == map.name)
                .unwrap_or(&map.name)
                .to_owned(),
            kind: map.kind,
            entries: map.entries,
            sizes: (map.key, map.value),
            memory: map.memory,
        })
        .collect();
    maps.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(maps)
}

/// Adds what programs take when they run: a daemon with the default
/// configuration under the standard load.
///
/// # Errors
///
/// When the daemon or a part of the load can't be started.
pub fn times(costs: &mut Costs) -> Result<()> {
    costs.floor = Some(floor()?);
    let mut daemon = daemon::start(&["--interval", "1s"])?;
    let measuring = stats::enable()?;
    let before = counts(&loaded::programs(daemon.pid())?);
    load::run()?;
    std::thread::sleep(SETTLE);
    let after = loaded::programs(daemon.pid())?;
    drop(measuring);
    daemon.wait_until(|_| Ok(true))?;
    daemon.end()?;
    for program in &mut costs.programs {
        let Some(now) = named(&after, &program.name) else {
            // Of a mode that the daemon isn't in.
            continue;
        };
        let (time, runs) = before.get(&now.name).copied().unwrap_or_default();
        program.run = average(now.run_ns - time, now.runs - runs);
    }
    Ok(())
}

fn counts(programs: &[LoadedProgram]) -> HashMap<String, (u64, u64)> {
    programs
        .iter()
        .map(|program| (program.name.clone(), (program.run_ns, program.runs)))
        .collect()
}

fn average(time: u64, count: u64) -> Option<Run> {
    (count > 0).then(|| Run {
        count,
        ns: time as f64 / count as f64,
    })
}

/// What a program costs that does nothing.
fn floor() -> Result<Run> {
    let id = KernelBtf::load()?.tracepoint_id("sys_enter");
    let _attached = empty_program::attach(id.context("this kernel has no tracepoint sys_enter")?)?;
    let _measuring = stats::enable()?;
    let before = counts(&loaded::programs(std::process::id())?);
    for _ in 0..FLOOR_RUNS {
        // SAFETY: has no preconditions.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    let programs = loaded::programs(std::process::id())?;
    let now = named(&programs, "floor").context("the empty program is gone")?;
    let (time, runs) = before.get(&now.name).copied().unwrap_or_default();
    average(now.run_ns - time, now.runs - runs).context("the empty program didn't run")
}
