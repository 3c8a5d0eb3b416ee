//! Whose child a call is that an event loop makes with several requests under way: the
//! right one's or, said so, nobody's. Each request has a path of its own, which the
//! call repeats.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use observer_testkit::chain::source;
use observer_testkit::packages::program;
use observer_testkit::python;
use observer_testkit::requests::{Attributed, Daemon, Scene, Seen, free_port, kind};

use crate::{nothing_lost, turn};

/// Requests of each case.
const REQUESTS: usize = 500;

/// What became of the calls.
#[derive(Debug, Default)]
struct Joined {
    right: usize,
    wrong: usize,
    ambiguous: usize,
    unknown: usize,
    /// Of the later half of the requests, those that aren't right.
    late: usize,
}

impl Joined {
    fn calls(&self) -> usize {
        self.right + self.wrong + self.ambiguous + self.unknown
    }

    fn share(&self) -> f64 {
        self.right as f64 / self.calls().max(1) as f64
    }
}

/// The number of a request, by its path.
fn number(path: &str) -> Result<usize> {
    let number = path.rsplit('/').next().context("a path")?;
    number.parse().with_context(|| format!("a number: {path}"))
}

/// A server that answers whatever it is asked.
fn downstream(scene: &mut Scene) -> Result<u16> {
    let port = free_port()?;
    let http = format!("server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }}");
    scene.nginx("worker_processes 1;", &http, port)?;
    Ok(port)
}

/// Asks `start`'s server, which asks the one behind, so many at a time for paths below
/// `/way/`; what became of the server's calls.
fn joined(
    start: impl FnOnce(&mut Scene, u16) -> Result<u16>,
    way: &str,
    at_a_time: usize,
) -> Result<Joined> {
    joined_when(start, way, at_a_time, |_, _, _, _| Ok(()))
}

/// The same, when the daemon is `ready` for that server, and the one behind it.
fn joined_when(
    start: impl FnOnce(&mut Scene, u16) -> Result<u16>,
    way: &str,
    at_a_time: usize,
    ready: impl FnOnce(&Scene, &Daemon, u16, u16) -> Result<()>,
) -> Result<Joined> {
    let mut scene = Scene::new()?;
    let behind = downstream(&mut scene)?;
    let port = start(&mut scene, behind)?;
    let daemon = Daemon::start(&scene)?;
    ready(&scene, &daemon, port, behind)?;
    let path = format!("/{way}/{{}}");
    let (at_a_time, requests) = (at_a_time.to_string(), REQUESTS.to_string());
    let arguments = [
        "--connections",
        &at_a_time,
        "--requests",
        &requests,
        "--path",
        &path,
    ];
    // Who serves ends after each request, and another one begins in its place.
    let anew = (way == "anew").then_some("--reconnect");
    let arguments: Vec<&str> = arguments.into_iter().chain(anew).collect();
    scene.load(port, &arguments)?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let by_id = seen.by_id();
    let mut joined = Joined::default();
    let below = format!("/{way}/");
    let ours = |path: &str| path.starts_with(&below) && !path.contains("/warm/");
    for call in seen.of(kind::CLIENT, behind) {
        if !ours(call.path()) {
            continue;
        }
        let parent = by_id.get(call.parent.as_slice());
        let right = parent.is_some_and(|parent| parent.path() == call.path());
        joined.late += usize::from(!right && number(call.path())? >= REQUESTS / 2);
        match (parent, call.text("observer.parent")) {
            _ if right => joined.right += 1,
            (Some(parent), _) => {
                if joined.wrong < 3 {
                    eprintln!("wrong: {parent:?}\n{call:?}");
                }
                joined.wrong += 1;
            }
            (None, "ambiguous") => joined.ambiguous += 1,
            (None, "unknown") => joined.unknown += 1,
            (None, said) => anyhow::bail!("no parent, and said is {said:?}: {call:?}"),
        }
    }
    let served = seen.of(kind::SERVER, port);
    let served = served.iter().filter(|it| ours(it.path())).count();
    ensure!(served == REQUESTS, "{served} requests seen of {REQUESTS}");
    eprintln!("/{way}, {at_a_time} at a time: {joined:?}");
    ensure!(joined.wrong == 0, "/{way}: {joined:?}");
    let expected = if way == "twice" {
        2 * REQUESTS
    } else {
        REQUESTS
    };
    ensure!(
        joined.calls() == expected,
        "/{way}: {joined:?} of {expected}"
    );
    Ok(joined)
}

fn node(scene: &mut Scene, behind: u16, sockets: usize) -> Result<u16> {
    let mut node = program("node", "nodejs")?;
    node.arg(source("loop.js"));
    node.args([behind.to_string(), sockets.to_string()]);
    scene.start_with_port(&mut node)
}

fn python(program: &str, scene: &mut Scene, behind: u16, sockets: usize) -> Result<u16> {
    let mut python = Command::new(python::environment()?.join("bin/python"));
    python.arg(source(program));
    python.args([behind.to_string(), sockets.to_string()]);
    scene.start_with_port(&mut python)
}

/// Checks node: calls at once, in the loop's next phase, after a while, after a file
/// was read, and over connections for which they wait.
#[test]
fn node_loops() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let now = joined(|scene, behind| node(scene, behind, 0), "now", 20)?;
    ensure!(now.share() > 0.5, "{now:?}");
    let few = joined(|scene, behind| node(scene, behind, 0), "now", 1)?;
    ensure!(few.right == REQUESTS, "{few:?}");
    joined(|scene, behind| node(scene, behind, 3), "now", 20)?;
    for way in ["soon", "later", "file", "twice"] {
        joined(|scene, behind| node(scene, behind, 0), way, 20)?;
        joined(|scene, behind| node(scene, behind, 3), way, 20)?;
    }
    Ok(())
}

/// Checks asyncio by aiohttp: calls at once, after a while, and over connections for which
/// they wait.
#[test]
fn aiohttp_loops() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    tasks("loop.py")
}

/// Checks the same by uvicorn and httpx, whose requests have a task each; and that calls in
/// other tasks have no parent.
#[test]
fn uvicorn_loops() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    tasks("asgi.py")?;
    let apart = joined(
        |scene, behind| python("asgi.py", scene, behind, 100),
        "apart",
        20,
    )?;
    ensure!(apart.ambiguous + apart.unknown > REQUESTS / 2, "{apart:?}");
    Ok(())
}

/// A program of Go's, with its names or without.
fn go(stripped: bool) -> Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir().context("a folder")?;
    let built = folder.path().join("goes");
    // Go's own libraries are compiled once.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache");
    let mut compiler = program("go", "golang-go")?;
    compiler.args(["build", "-o"]).arg(&built);
    if stripped {
        compiler.args(["-ldflags", "-s -w"]);
    }
    compiler.arg(source("loop.go"));
    compiler.env("GOCACHE", cache).env("GO111MODULE", "off");
    let output = compiler.output().context("go build")?;
    ensure!(output.status.success(), "{output:?}");
    Ok((folder, built))
}

/// Waits until goroutines are known: in the latest of some loads, each call that a timer
/// delays has its parent.
fn goroutines(scene: &Scene, daemon: &Daemon, port: u16, behind: u16) -> Result<()> {
    let loads = std::cell::Cell::new(0);
    let path = || format!("/later/warm/{}/", loads.get());
    let poke = || {
        loads.set(loads.get() + 1);
        let path = format!("{}{{}}", path());
        scene.load(
            port,
            &["--connections", "20", "--requests", "100", "--path", &path],
        )?;
        Ok(())
    };
    let known = |seen: &Seen| {
        let by_id = seen.by_id();
        let calls = seen.of(kind::CLIENT, behind).into_iter();
        let mut calls = calls
            .filter(|call| call.path().starts_with(&path()))
            .peekable();
        calls.peek().is_some() && calls.all(|call| by_id.contains_key(call.parent.as_slice()))
    };
    daemon.wait_until(known, poke)
}

/// Checks Go's net/http, 50 at a time: calls at once, after a while, over connections for
/// which they wait; also of a program without symbols; and that calls of other goroutines
/// have no parent.
#[test]
fn go_servers() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let (_folder, built) = go(false)?;
    let (_other_folder, stripped) = go(true)?;
    let start = |built: &Path, sockets: usize| {
        let built = built.to_owned();
        move |scene: &mut Scene, behind: u16| {
            let mut server = Command::new(built);
            server.args([behind.to_string(), sockets.to_string()]);
            scene.start_with_port(&mut server)
        }
    };
    for (built, way, sockets) in [
        (&built, "now", 100),
        (&built, "now", 3),
        (&built, "later", 3),
        (&stripped, "later", 100),
        (&built, "anew", 0),
        (&built, "anew", 2),
    ] {
        let at_a_time = if way == "anew" { 6 } else { 50 };
        let found = joined_when(start(built, sockets), way, at_a_time, goroutines)?;
        ensure!(found.share() >= 0.99, "{found:?}");
    }
    let few = joined_when(start(&built, 100), "now", 1, goroutines)?;
    ensure!(few.right == REQUESTS, "{few:?}");
    let apart = joined_when(start(&built, 100), "apart", 50, goroutines)?;
    ensure!(apart.ambiguous + apart.unknown > REQUESTS / 2, "{apart:?}");
    Ok(())
}

fn tasks(program: &str) -> Result<()> {
    for way in ["now", "later"] {
        for sockets in [100, 3] {
            let found = joined(
                |scene, behind| python(program, scene, behind, sockets),
                way,
                20,
            )?;
            // The first ones come before it is known that there are tasks.
            ensure!(found.late <= REQUESTS / 200, "{found:?}");
        }
    }
    let few = joined(
        |scene, behind| python(program, scene, behind, 100),
        "now",
        1,
    )?;
    ensure!(few.right == REQUESTS, "{few:?}");
    Ok(())
}

/// nginx before the server behind: `/now` at once, over kept connections or a new one for each
/// request; `/later` when a timer says so.
fn proxy(scene: &mut Scene, behind: u16, kept: bool) -> Result<u16> {
    let port = free_port()?;
    let keeps = if kept {
        "proxy_http_version 1.1; proxy_set_header Connection '';"
    } else {
        ""
    };
    let keepalive = if kept { "keepalive 32;" } else { "" };
    let http = format!(
        "limit_req_zone $server_port zone=all:1m rate=500r/s;
         upstream behind {{ server 127.0.0.1:{behind}; {keepalive} }}
         server {{ listen 127.0.0.1:{port}; {keeps}
           proxy_set_header Host 127.0.0.1:{behind};
           location /now {{ proxy_pass http://behind; }}
           location /later {{ limit_req zone=all burst=1000; proxy_pass http://behind; }} }}"
    );
    let folder = scene.folder().join("front");
    std::fs::create_dir(&folder).context("a folder for the proxy")?;
    scene.nginx_in(&folder, "worker_processes 1;", &http, port)?;
    Ok(port)
}

/// Checks nginx: calls over kept connections and over new ones, at once and when a
/// timer says so.
#[test]
fn nginx_loops() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    for kept in [true, false] {
        joined(|scene, behind| proxy(scene, behind, kept), "later", 20)?;
        let now = joined(|scene, behind| proxy(scene, behind, kept), "now", 20)?;
        ensure!(now.share() > 0.5, "{now:?}");
        let few = joined(|scene, behind| proxy(scene, behind, kept), "now", 1)?;
        ensure!(few.right == REQUESTS, "{few:?}");
    }
    Ok(())
}
