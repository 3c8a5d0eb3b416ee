//! Samples of a profile that lead to the requests in which they were taken.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use observer_testkit::in_time;
use observer_testkit::requests::{Attributed, Daemon, Scene, kind};

use crate::turn;

/// Checks that nearly all samples of the function that burns CPU for a route
/// carry a link to one of its spans and the route, and that no other sample
/// does.
#[test]
fn samples_lead_to_spans() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    let arguments = ["--probes", "requests,cpu,sched", "--frequency", "499"];
    let daemon = Daemon::start_with(Some(&scene.cgroup()), "always_on", &arguments)?;
    let load = [
        "--connections",
        "2",
        "--requests",
        "120",
        "--path",
        "/cpu",
        "--path",
        "/x",
        "--path",
        "/work/10",
    ];
    scene.load(port, &load)?;
    let seen = daemon.finish()?;
    let spans = seen.of(kind::SERVER, port);
    for (function, path, route) in [
        ("burn_cpu", "/cpu", "/cpu"),
        ("other_work", "/work/10", "/work/{id}"),
    ] {
        let ids: HashSet<_> = spans
            .iter()
            .filter(|s| s.path() == path)
            .map(|s| (s.trace.clone(), s.id.clone()))
            .collect();
        assert_eq!(ids.len(), 40);
        let (mut all, mut linked, mut wrong, mut labelled) = (0, 0, 0, 0);
        for sample in &seen.samples {
            if !sample.functions.iter().any(|name| name.contains(function)) {
                continue;
            }
            all += sample.count;
            match &sample.link {
                Some(link) if ids.contains(link) => linked += sample.count,
                Some(_) => wrong += sample.count,
                None => {}
            }
            if sample.text("http.route") == route {
                labelled += sample.count;
            }
        }
        eprintln!(
            "{path}: {all} samples, {linked} linked, {wrong} wrongly, {labelled} with the route"
        );
        in_time!(all > 100, "{all} samples of {function}");
        ensure!(wrong == 0, "{wrong} of {all} samples lead elsewhere");
        ensure!(
            linked * 100 >= all * 95,
            "{linked} of {all} samples lead to a span"
        );
        ensure!(
            labelled * 100 >= all * 95,
            "{labelled} of {all} samples have the route"
        );
    }
    Ok(())
}
