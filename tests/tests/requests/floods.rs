//! What one tenant makes too much of takes nothing from another.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::User;
use observer_testkit::in_time;
use observer_testkit::requests::{Daemon, Scene, Seen, kind};

use crate::turn;

/// Requests of the service beside the flood, at either end.
const REQUESTS: usize = 400;

/// A service and its client beside another user's program that floods, with the daemon's
/// defaults: all requests are there, under their names, as spans and in the metrics.
fn beside(flood: impl FnOnce(&mut Scene, &User) -> Result<()>) -> Result<Option<Seen>> {
    let Some(_turn) = turn() else { return Ok(None) };
    let nobody = User::from_name("nobody")?.context("a user without privileges")?;
    let mut attacker = Scene::new()?;
    let mut victim = Scene::new()?;
    let daemon = Daemon::start_plain("always_on", &["--interval", "2s"])?;
    // One that was there before, and is asked afterwards, too.
    let port = victim.observer_server(None)?;
    let load = ["--connections", "2", "--path", "/work/5?{}", "--requests"];
    let half = (REQUESTS / 2).to_string();
    let load = [&load[..], &[&half]].concat();
    flood(&mut attacker, &nobody)?;
    std::thread::sleep(Duration::from_secs(1));
    victim.load(port, &load)?;
    std::thread::sleep(Duration::from_secs(2));
    // One that begins in the middle of it.
    let late = victim.observer_server(None)?;
    victim.load(late, &load)?;
    let seen = daemon.finish()?;
    eprintln!("lost: {:?}", seen.losses());
    for port in [port, late] {
        for (side, service) in [
            (kind::SERVER, "observer-server"),
            (kind::CLIENT, "observer-load"),
        ] {
            let spans = seen.of(side, port);
            let named = spans.iter().filter(|span| span.service == service).count();
            eprintln!("{port} {service}: {} spans, {named} named", spans.len());
            in_time!(
                named == REQUESTS / 2 && named == spans.len(),
                "{service}: {} spans of {}, {named} of them under its name",
                spans.len(),
                REQUESTS / 2
            );
        }
    }
    for (metric, service) in [
        ("http.server.request.duration", "observer-server"),
        ("http.client.request.duration", "observer-load"),
    ] {
        let counted = seen.sum(metric, service, &[]);
        ensure!(
            counted == REQUESTS as u64,
            "{metric}: {counted} of {REQUESTS}"
        );
    }
    Ok(Some(seen))
}

/// Starts the flood of a kind, for so long as the rest takes.
fn flood(kind: &'static str) -> impl FnOnce(&mut Scene, &User) -> Result<()> {
    move |attacker, nobody| {
        let mut command: Command = attacker.own("observer-flood")?;
        attacker.start_as(command.args([kind, "12"]), Some(nobody))?;
        Ok(())
    }
}

/// Checks a service beside 12,000 connections on which nothing is said.
#[test]
fn connections() -> Result<()> {
    beside(flood("connections")).map(drop)
}

/// Checks a service beside connections on which requests begin and don't go on.
#[test]
fn half_heads() -> Result<()> {
    beside(flood("heads")).map(drop)
}

/// Checks a service beside a server of which each request is another operation, and that
/// what is left out, as the daemon can't keep up, is the server's user's.
#[test]
fn paths() -> Result<()> {
    let Some(seen) = beside(flood("paths"))? else {
        return Ok(());
    };
    let refused = |tenant| {
        let with: &[(&str, &str)] = match tenant {
            Some(tenant) => &[
                ("observer.table", "request_ring"),
                ("observer.tenant", tenant),
            ],
            None => &[("observer.table", "request_ring")],
        };
        seen.sum_of("observer.tenant.refused", None, with)
    };
    let (all, theirs) = (refused(None), refused(Some("user 65534")));
    ensure!(
        all == theirs,
        "{all} messages were left out, {theirs} of the flood"
    );
    Ok(())
}

/// Checks a service beside somebody who asks for ever other names.
#[test]
fn questions() -> Result<()> {
    beside(flood("questions")).map(drop)
}

/// Checks a service beside threads that wait in ever other callers.
#[test]
fn stacks() -> Result<()> {
    beside(flood("stacks")).map(drop)
}
