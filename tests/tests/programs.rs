//! Checks that programs of one name in one cgroup are services of their own: in metrics,
//! spans and profiles, with their children, from a moment after their start on.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use observer_common::workload::{Given, ProgramId};
use observer_testkit::kernel::Fixture;
use observer_testkit::requests::{Daemon, Scene, Seen, Value, kind};
use observer_testkit::{in_time, workload};
use observer_userspace::kernel::clock;
use observer_userspace::kernel::programs::Teller;
use observer_userspace::probes::syscalls;

/// What all of them run: so many calls by itself, so many in a child that runs no other
/// program, then a server. It sleeps first, as whoever gets ready.
const APPLICATION: &str = r#"
import http.server, os, signal, sys, threading, time

signal.signal(signal.SIGINT, signal.SIG_DFL)

class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

def compute():
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        sum(range(1000))

time.sleep(1)
for _ in range(int(sys.argv[1])):
    os.getppid()
if os.fork() == 0:
    for _ in range(int(sys.argv[2])):
        os.getppid()
    os._exit(0)
os.wait()
server = http.server.HTTPServer(("127.0.0.1", 0), Quiet)
print(server.server_port, flush=True)
threading.Thread(target=compute).start()
server.serve_forever()
"#;

/// Requests that each server gets.
const REQUESTS: usize = 20;

/// A service, and what it did.
struct Service {
    name: String,
    port: u16,
    calls: u64,
    /// What it was started with, behind the interpreter.
    arguments: Vec<String>,
}

impl Service {
    fn is_command(&self, value: Option<&Value>) -> bool {
        matches!(value, Some(Value::Texts(texts)) if texts.get(1..) == Some(&self.arguments))
    }
}

/// Letters that no other run has: numbers at the end of a name are versions.
fn letters() -> String {
    let id = std::process::id().to_string();
    let letter = |digit: u8| char::from(b'a' + (digit - b'0'));
    id.bytes().map(letter).collect()
}

fn script(scene: &Scene, name: &str, text: &str) -> Result<PathBuf> {
    let file = scene.folder().join(format!("{name}.py"));
    std::fs::write(&file, text)?;
    Ok(file)
}

/// The interpreter itself: what is found by its name may be a script that looks for it.
fn python() -> Result<Command> {
    let asked = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .context("these tests need python3")?;
    Ok(Command::new(String::from_utf8(asked.stdout)?.trim()))
}

/// Starts the application, and asks it.
fn serve(
    scene: &mut Scene,
    file: &Path,
    declared: Option<&str>,
    calls: (u64, u64),
) -> Result<Service> {
    let arguments = [
        file.to_string_lossy().into_owned(),
        calls.0.to_string(),
        calls.1.to_string(),
    ];
    let mut command = python()?;
    command.args(&arguments);
    command.current_dir(scene.folder());
    if let Some(name) = declared {
        command.env("OTEL_SERVICE_NAME", name);
    }
    let port = scene.start_with_port(&mut command)?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = declared.map_or(stem.into_owned(), str::to_owned);
    for n in 0..REQUESTS {
        let url = format!("http://127.0.0.1:{port}/?{name}-{n}");
        scene.run(Command::new("curl").args(["--silent", "--output", "/dev/null", &url]))?;
    }
    Ok(Service {
        name,
        port,
        calls: calls.0 + calls.1,
        arguments: arguments.into(),
    })
}

/// Calls of `getppid`, by service.
fn calls(seen: &Seen) -> BTreeMap<&str, u64> {
    let mut calls = BTreeMap::new();
    for point in seen.series("observer.syscall.calls") {
        if point
            .attributes
            .get("syscall.name")
            .is_some_and(|name| format!("{name:?}").contains("getppid"))
        {
            *calls.entry(point.service.as_str()).or_default() += point.value as u64;
        }
    }
    calls
}

/// Checks that two scripts of one interpreter, and one script under two declared names,
/// are four services in metrics, spans and profiles, each with its child's calls; and that
/// one that is restarted under another name is called by that.
#[test]
fn programs_of_one_name_are_services() -> Result<()> {
    let mut scene = Scene::new()?;
    let daemon = Daemon::start_with(
        Some(&scene.cgroup()),
        "always_on",
        &["--probes", "syscalls,cpu,requests"],
    )?;
    let id = letters();
    let (till, stock) = (format!("till{id}"), format!("stock{id}"));
    let till = script(&scene, &till, APPLICATION)?;
    let stock = script(&scene, &stock, APPLICATION)?;
    let (alpha, beta, gamma) = (
        format!("alpha{id}"),
        format!("beta{id}"),
        format!("gamma{id}"),
    );
    let mut services = vec![
        serve(&mut scene, &till, None, (1001, 101))?,
        serve(&mut scene, &stock, None, (1002, 102))?,
        serve(&mut scene, &till, Some(&alpha), (1003, 103))?,
        serve(&mut scene, &till, Some(&beta), (1004, 104))?,
    ];
    scene.stop_last();
    services.push(serve(&mut scene, &till, Some(&gamma), (1005, 105))?);
    std::thread::sleep(Duration::from_secs(2));
    let seen = daemon.finish()?;
    let calls = calls(&seen);
    let all: u64 = calls.values().sum();
    let made: u64 = services.iter().map(|service| service.calls).sum();
    ensure!(all == made, "{all} calls of {made}: {calls:?}");
    for service in &services {
        let name = service.name.as_str();
        let found = calls.get(name).copied().unwrap_or(0);
        in_time!(
            found == service.calls,
            "{name}: {found} calls of {}: {calls:?}",
            service.calls
        );
        let spans = seen.of(kind::SERVER, service.port);
        ensure!(spans.len() == REQUESTS, "{name}: {} requests", spans.len());
        for span in spans {
            ensure!(span.service == name, "{name}: {span:?}");
            let arguments = span.resource.get("process.command_args");
            ensure!(service.is_command(arguments), "{name}: {span:?}");
        }
        let samples = seen.samples.iter().filter(|sample| sample.service == name);
        let samples: i64 = samples.map(|sample| sample.count).sum();
        in_time!(samples > 10, "{name}: {samples} samples");
        let its = seen.samples.iter().filter(|sample| sample.service == name);
        let with =
            its.filter(|sample| service.is_command(sample.attributes.get("process.command_args")));
        in_time!(
            with.count() > 0,
            "{name}: no sample says how it was started"
        );
    }
    // Another one for each process: nothing for metrics.
    let mut series = seen.points.keys();
    let with = series.find(|(resource, _, _)| resource.contains("process.command_args"));
    ensure!(with.is_none(), "{with:?}");
    Ok(())
}

/// Checks that nothing is lost or counted twice while processes get their names: of
/// programs that call from their first moment on, some that end before anybody looks,
/// beside one that is what its name says.
#[test]
fn changes_of_name_lose_nothing() -> Result<()> {
    const EACH: u64 = 200_000;
    let mut scene = Scene::new()?;
    let arguments = ["--probes", "syscalls"];
    let daemon = Daemon::start_with(Some(&scene.cgroup()), "always_off", &arguments)?;
    let id = letters();
    // Of the same name, and nothing but that.
    scene.start(python()?.args(["-c", "import time; time.sleep(60)"]))?;
    let text = format!("import os\nfor _ in range({EACH}): os.getppid()\n");
    let scripts: Vec<PathBuf> = (0..4)
        .map(|n| {
            script(
                &scene,
                &format!("job{}{id}", ["a", "b", "c", "d"][n]),
                &text,
            )
        })
        .collect::<Result<_>>()?;
    for file in &scripts {
        scene.run(python()?.arg(file))?;
    }
    // Shorter than the time that new programs are left alone for.
    let program = workload::program()?;
    for n in 0..20 {
        scene.run(
            Command::new(&program)
                .args([&format!("short{n}"), "getppid=50"])
                .env("OTEL_SERVICE_NAME", format!("short{id}")),
        )?;
    }
    let seen = daemon.finish()?;
    let calls = calls(&seen);
    let made = EACH * 4 + 20 * 50;
    let all: u64 = calls.values().sum();
    ensure!(all == made, "{all} calls of {made}: {calls:?}");
    for file in &scripts {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let found = calls.get(&*name).copied().unwrap_or(0);
        in_time!(found > 0 && found <= EACH, "{name}: {calls:?}");
    }
    Ok(())
}

/// Checks that a connection follows its process: of a script that is known only after it
/// has connected, all bytes are under its own name.
#[test]
fn connections_follow_their_process() -> Result<()> {
    const BYTES: usize = 300_000;
    let mut scene = Scene::new()?;
    let arguments = ["--probes", "tcp"];
    let daemon = Daemon::start_with(Some(&scene.cgroup()), "always_off", &arguments)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    // The shell's name is nobody's in particular.
    scene.start(Command::new("bash").args(["-c", "sleep 60; true"]))?;
    let name = format!("pump{}", letters());
    let file = scene.folder().join(format!("{name}.sh"));
    let text = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}\nsleep 3\nhead -c {BYTES} /dev/zero >&3\nsleep 2\n"
    );
    std::fs::write(&file, text)?;
    let pump = scene.join(Command::new("bash").arg(&file))?.spawn()?;
    let pump = Ended(pump);
    let (mut connection, _) = listener.accept()?;
    let mut received = vec![0; BYTES];
    connection.read_exact(&mut received)?;
    std::thread::sleep(Duration::from_secs(2));
    let seen = daemon.finish()?;
    drop(pump);
    let with = [("network.io.direction", "transmit")];
    let sent = |service: &str| seen.sum("observer.tcp.io", service, &with);
    let all: u64 = ["bash", &name].map(sent).iter().sum();
    ensure!(all == BYTES as u64, "{all} bytes of {BYTES}");
    in_time!(sent(&name) == BYTES as u64, "{} bytes", sent(&name));
    Ok(())
}

/// Answers each request with its process's id: itself, or so many children that it forks.
const FORKER: &str = r#"
import os, signal, socket, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        break
else:
    if int(sys.argv[1]):
        signal.pause()
while True:
    connection, _ = listener.accept()
    connection.recv(4096)
    body = str(os.getpid()).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    connection.close()
"#;

/// Checks that the first request that a service answers, 100 ms after its exec, is under
/// its name, though many of its name come; and so is what each child of a fork server
/// answers.
#[test]
fn the_first_request_has_the_name() -> Result<()> {
    const SERVICES: usize = 12;
    let mut scene = Scene::new()?;
    let daemon = Daemon::start_with(
        Some(&scene.cgroup()),
        "always_on",
        &["--probes", "requests"],
    )?;
    let id = letters();
    let mut expected = BTreeMap::new();
    for n in 0..SERVICES {
        let letter = char::from(b'a' + u8::try_from(n)?);
        let name = format!("first{letter}{id}");
        let children = n % 2 * 3;
        let file = script(&scene, &name, FORKER)?;
        let port = scene.start_with_port(python()?.arg(&file).arg(children.to_string()))?;
        std::thread::sleep(Duration::from_millis(100));
        // Whoever is free answers: enough that each does, likely.
        for request in 0..1 + children * 3 {
            let url = format!("http://127.0.0.1:{port}/{name}-{request}");
            scene.run(Command::new("curl").args(["--silent", "--output", "/dev/null", &url]))?;
        }
        expected.insert(port, (name, 1 + children * 3));
        scene.stop_last();
    }
    let seen = daemon.finish()?;
    for (port, (name, requests)) in expected {
        let spans = seen.of(kind::SERVER, port);
        ensure!(spans.len() == requests, "{name}: {} requests", spans.len());
        for span in spans {
            ensure!(span.path().starts_with(&format!("/{name}-")), "{span:?}");
            in_time!(span.service == name, "{name}: {span:?}");
        }
    }
    Ok(())
}

/// Checks that a program that names itself long after its start gets that name, and that
/// it is counted that it had another one.
#[test]
fn a_late_name_is_found() -> Result<()> {
    const LATE: &str = r#"
import ctypes, os, sys, time
time.sleep(4)
begin, end = (int(x) for x in open("/proc/self/stat").read().rpartition(") ")[2].split()[45:47])
title = sys.argv[1].encode()
assert len(title) < end - begin
ctypes.memset(begin, 0, end - begin)
ctypes.memmove(begin, title, len(title))
while True:
    os.getppid()
    time.sleep(0.01)
"#;
    let mut scene = Scene::new()?;
    let arguments = ["--probes", "syscalls"];
    let daemon = Daemon::start_with(Some(&scene.cgroup()), "always_off", &arguments)?;
    let name = format!("late{}", letters());
    let file = script(&scene, "early", LATE)?;
    let title = format!("gunicorn: master [{name}]");
    scene.start(python()?.arg(&file).arg(&title))?;
    let is_found = |seen: &Seen| calls(seen).contains_key(&*name);
    daemon.wait_until(is_found, || {
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    })?;
    let seen = daemon.finish()?;
    let calls = calls(&seen);
    ensure!(calls.get(&*name).copied().unwrap_or(0) > 0, "{calls:?}");
    let corrected = seen.sum_of("observer.process.corrected", None, &[]);
    ensure!(corrected == 1.0, "{corrected} processes");
    Ok(())
}

/// Checks that what was read of a process is not believed of the program of the same name
/// that it runs since, as shims do, and that what was read of that one is.
#[test]
fn what_a_process_was_names_nobody() -> Result<()> {
    const COMM: &str = "obs-shim";
    const SHIM: &str = "read line; exec ./obs-shim -c 'echo next; read line; cd /; read line'";
    let folder = tempfile::tempdir()?;
    std::fs::copy("/bin/sh", folder.path().join(COMM))?;
    let mut fixture = Fixture::attach(&[&syscalls::SPEC])?;
    let mut teller = Teller::start(&mut fixture.kernel)?;
    let shim = Command::new(format!("./{COMM}"))
        .args(["-c", SHIM])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut shim = Ended(shim);
    let mut input = shim.0.stdin.take().context("a pipe")?;
    let mut output = shim.0.stdout.take().context("a pipe")?;
    let (process, earlier) = (shim.0.id(), clock::monotonic());
    input.write_all(b"\n")?;
    // It says so when it is the next program.
    output.read_exact(&mut [0; 5])?;
    let mut comm = [0; 16];
    comm[..COMM.len()].copy_from_slice(COMM.as_bytes());
    let mut tell = |program, time| {
        let given = Given {
            comm,
            program: ProgramId(program),
            padding: 0,
            time,
        };
        teller.tell(&[(process, given)])
    };
    tell(7, earlier)?;
    input.write_all(b"\n")?;
    tell(8, clock::monotonic())?;
    input.write_all(b"\n")?;
    shim.0.wait()?;
    let programs: Vec<u32> = fixture
        .kernel
        .workloads()?
        .iter()
        .map(|one| one.key.program().0)
        .filter(|program| *program != 0)
        .collect();
    ensure!(programs == [8], "{programs:?}");
    Ok(())
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
