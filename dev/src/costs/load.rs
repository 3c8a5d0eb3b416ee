//! The standard load: a few seconds in which each program has something to do.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use observer_testkit::loopdev::LoopDevice;
use observer_testkit::netns::Pair;
use observer_testkit::packages::program;
use observer_testkit::peer::Peer;
use observer_testkit::requests::{Scene, free_port};
use observer_testkit::workload;

/// What it consists of, as half a sentence.
pub const LOAD: &str = "300,000 getppid calls and 1,000 openat calls that fail, 500 processes, \
     500 sleeps, 1 s of computing, 1,000 TCP connections over the loopback and 100 that are reset, \
     4,000 HTTP requests on four connections and 20 over TLS, 4 MB over a cable that loses packets, \
     2,048 reads and writes of a file system on a loop device (fio, 64 between two fsync); samples \
     at 49 Hz, an interval a second";

/// Runs it.
///
/// # Errors
///
/// Without root, or without the packages that tests need.
pub fn run() -> Result<()> {
    let steps = [
        "getppid=300000",
        "enoent=1000",
        "spawn=500:20:1",
        "sleep=500:1",
        "spin=1000",
        "connect=1000",
    ];
    workload::run("costs", &steps)?.wait()?;
    resets(100)?;
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    let paths = ["--path", "/", "--path", "/status/404", "--path", "/chunked"];
    scene.load(port, &[&["--requests", "4000"][..], &paths[..]].concat())?;
    tls(&mut scene, 20)?;
    losses()?;
    disk()
}

/// Connections that end with a reset.
fn resets(count: usize) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    for _ in 0..count {
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let (other, _) = listener.accept()?;
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: the kernel reads the structure.
        let failed = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        } != 0;
        ensure!(!failed, "{}", std::io::Error::last_os_error());
        drop(stream);
        drop(other);
    }
    Ok(())
}

/// Requests of curl, a process each, to openssl's server.
fn tls(scene: &mut Scene, count: usize) -> Result<()> {
    let (key, certificate) = (scene.folder().join("key"), scene.folder().join("cert"));
    let mut openssl = program("openssl", "openssl")?;
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"]);
    openssl.args(["-days", "2", "-subj", "/CN=localhost", "-keyout"]);
    openssl.arg(&key).arg("-out").arg(&certificate);
    scene.run(&mut openssl)?;
    let port = free_port()?;
    let mut server = program("openssl", "openssl")?;
    server.args(["s_server", "-quiet", "-www", "-accept"]);
    server.arg(port.to_string()).arg("-key").arg(&key);
    scene.start(server.arg("-cert").arg(&certificate))?;
    scene.wait_until("openssl's server", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })?;
    for _ in 0..count {
        let mut curl = program("curl", "curl")?;
        curl.args(["--silent", "--show-error", "--insecure", "--http1.1"]);
        scene.run(curl.arg(format!("https://127.0.0.1:{port}/")))?;
    }
    scene.stop_last();
    Ok(())
}

/// A transfer in which segments are sent again.
fn losses() -> Result<()> {
    let pair = Pair::new()?;
    pair.lossy()?;
    let mut server = Peer::start("costs-right", Some(&pair.right))?;
    let mut client = Peer::start("costs-left", Some(&pair.left))?;
    let address = server.ask("serve 10.77.0.2:0")?;
    client.ask(&format!("exchange {address} 4000000"))?;
    Ok(())
}

/// Reads and writes of a file system of its own.
fn disk() -> Result<()> {
    let device = LoopDevice::new(64 << 20, true)?;
    let mounted = device.mount()?;
    let mut fio: Command = program("fio", "fio")?;
    fio.args(["--name=costs", "--rw=randrw", "--bs=4k", "--size=8m"]);
    fio.args(["--ioengine=psync", "--direct=1", "--fsync=64"]);
    fio.arg(format!("--directory={}", mounted.path().display()));
    let output = fio.output().context("cannot start fio")?;
    ensure!(
        output.status.success(),
        "fio: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
