//! Four programs that make system calls all the time, on two CPUs: they take the CPU
//! from each other wherever the kernel lets them.

use anyhow::Result;
use observer_testkit::requests::Daemon;
use observer_testkit::workload;

use crate::figures::Figures;
use crate::run::{INTERVAL, SETTLE};

/// Calls of each.
const CALLS: u64 = 1_500_000;
const LOOPS: u64 = 4;

/// Compares the calls that were counted, and those that the daemon says it missed,
/// with those that were made.
pub fn four_on_two_cpus(figures: &mut Figures) -> Result<()> {
    let options = ["--interval", INTERVAL, "--probes", "syscalls"];
    let daemon = Daemon::start_plain("always_on", &options)?;
    let step = format!("getppid={CALLS}");
    let running = (0..LOOPS)
        .map(|_| workload::run("vm-loop", &[&step]))
        .collect::<Result<Vec<_>>>()?;
    for program in running {
        program.wait()?;
    }
    std::thread::sleep(SETTLE);
    let seen = daemon.finish()?;
    let with = [("syscall.name", "getppid")];
    let counted = seen.sum_of("observer.syscall.calls", Some("vm-loop"), &with) as u64;
    // A call that no program saw at its end isn't counted; one whose beginning alone
    // wasn't seen is. Calls of all the guest are told together.
    let told = seen.lost(&["syscall_missed"]);
    figures.but_for("four loops: calls counted", counted, CALLS * LOOPS, told);
    figures.log("loops", &seen.log);
    figures.lost("loops", seen.losses());
    Ok(())
}
