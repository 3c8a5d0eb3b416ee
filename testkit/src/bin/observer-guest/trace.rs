//! `observer trace`: a line for each end of each request.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use observer_testkit::observer_bin;
use observer_testkit::requests::Scene;
use observer_testkit::tool::Tool;

use crate::figures::Figures;
use crate::requests::{COUNT, Servers};

/// How long the last spans may take to be printed.
const SETTLE: Duration = Duration::from_secs(2);

/// Compares the lines with the requests that were made.
pub fn all(figures: &mut Figures) -> Result<()> {
    let mut scene = Scene::new()?;
    let servers = Servers::start(&mut scene)?;
    let mut command = Command::new(observer_bin());
    command.arg("trace").arg("--cgroup").arg(scene.cgroup());
    let mut trace = Tool::start(&mut command)?;
    trace
        .wait_until(|tool| Ok(tool.printed()?.contains("tracing requests")))
        .context("observer trace")?;
    servers.ask(&scene, false, &format!("traced/[1-{COUNT}]"))?;
    std::thread::sleep(SETTLE);
    let printed = trace.end()?;
    for (end, arrow) in [("client", "→"), ("server", "←")] {
        let lines = printed
            .lines()
            .filter(|line| line.contains(arrow) && line.contains("/traced/"));
        let name = format!("trace: lines, {end}");
        figures.equal(&name, lines.count() as u64, COUNT);
    }
    Ok(())
}
