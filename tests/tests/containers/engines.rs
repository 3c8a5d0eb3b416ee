//! Checks names of containers that real engines run: Podman, by its service, and containerd.
//! Both run a static busybox on a tree of its own: no image, and no registry.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_testkit::collector::{Collector, text};
use observer_testkit::packages;
use tempfile::TempDir;

use super::ALONE;
use super::seen::{daemon, resource, unnamed};

/// Debian's static busybox.
const BUSYBOX: &str = "/bin/busybox";

/// An engine's service: killed when dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What undoes a step when it is dropped.
struct Undo(Vec<Command>);

impl Drop for Undo {
    fn drop(&mut self) {
        for command in &mut self.0 {
            let _ = command.output();
        }
    }
}

/// A root directory with a busybox called `name`, which is a busybox by its first letters.
fn tree(folder: &Path, name: &str) -> Result<PathBuf> {
    let root = folder.join("rootfs");
    for folder in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    std::fs::copy(BUSYBOX, root.join("bin").join(name))
        .context("needs `apt-get install busybox-static` (or run `cargo xtask test`)")?;
    Ok(root)
}

fn ran(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Waits for a socket of a service.
fn wait_for(socket: &Path, service: &mut Service) -> Result<()> {
    let begin = Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        let ended = service.0.try_wait()?;
        ensure!(ended.is_none(), "the service ended: {ended:?}");
        ensure!(
            begin.elapsed() < Duration::from_secs(30),
            "no {}",
            socket.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What runs in a container: something to count, again and again.
const LOOP: &str = "while :; do usleep 100000; done";

/// `podman` with its storage in `folder`.
fn podman(folder: &Path) -> Result<Command> {
    let mut command = packages::program("podman", "podman")?;
    let at = |name: &str| folder.join(name);
    command.arg("--root").arg(at("storage"));
    command.arg("--runroot").arg(at("run"));
    command.arg("--tmpdir").arg(at("tmp"));
    command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
    command.args(["--events-backend", "file", "--runtime", "runc"]);
    Ok(command)
}

/// Checks that a program in a container of Podman, in its own PID namespace and in the
/// cgroups of whatever hierarchies there are, is called after the container, whose id is
/// Podman's.
#[test]
fn podman_names_containers() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = TempDir::new()?;
    let id = std::process::id();
    let (program, name) = (format!("busybox-p{id}"), format!("observer-shop-{id}"));
    let root = tree(folder.path(), &program)?;
    let socket = folder.path().join("podman.sock");
    let mut service = podman(folder.path())?;
    service.args(["system", "service", "--time", "0"]);
    service.arg(format!("unix://{}", socket.display()));
    let mut service = Service(service.stdin(Stdio::null()).spawn()?);
    wait_for(&socket, &mut service)?;

    let collector = Collector::start()?;
    let given = format!("podman:{}", socket.display());
    let daemon = daemon(&collector, &["--container-socket", &given])?;
    let mut remove = podman(folder.path())?;
    remove.args(["rm", "--force", "--time", "0", &name]);
    let _undo = Undo(vec![remove]);
    // Its default limits are more than a process without CAP_SYS_RESOURCE may have.
    let limits = [
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
    ];
    let mut run = podman(folder.path())?;
    run.args(["run", "--detach", "--network", "host"])
        .args(limits);
    run.args(["--name", &name, "--rootfs"]).arg(&root);
    run.args([&format!("/bin/{program}"), "sh", "-c", LOOP]);
    let container = ran(&mut run)?;

    let found = resource(&collector, &program, &daemon)?;
    for (key, value) in [
        ("service.name", name.as_str()),
        ("observer.service.name.source", "container"),
        ("container.name", &name),
        ("container.id", &container),
        ("container.runtime.name", "podman"),
    ] {
        assert_eq!(text(&found, key), Some(value), "{key}: {found:#?}");
    }
    assert_eq!(unnamed(&collector)?, 0.0, "{}", daemon.printed()?);
    daemon.end()?;
    Ok(())
}

/// Checks that a container that was made with containerd's own interface, without the CRI,
/// is called as its label says, whether it was there before the daemon or not.
#[test]
fn containerd_names_containers() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = TempDir::new()?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let id = std::process::id();
    let (program, name) = (format!("busybox-c{id}"), format!("observer-till-{id}"));
    let root = tree(folder.path(), &program)?;
    let (root, socket) = (root.display().to_string(), at("containerd.sock"));
    let config = format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{socket}\"\n",
        at("root"),
        at("state")
    );
    std::fs::write(at("config.toml"), config)?;
    let mut service = packages::program("containerd", "containerd")?;
    service.args(["--config", &at("config.toml"), "--log-level", "error"]);
    let mut service = Service(service.stdin(Stdio::null()).spawn()?);
    wait_for(Path::new(&socket), &mut service)?;

    // As long as runtimes' ids are, and no other run's.
    let container = format!("{id:064x}");
    let ctr = |arguments: &[&str]| -> Result<Command> {
        let mut command = packages::program("ctr", "containerd")?;
        command.args(["--address", &socket]).args(arguments);
        Ok(command)
    };
    let _undo = Undo(vec![
        ctr(&["tasks", "delete", "--force", &container])?,
        ctr(&["containers", "delete", &container])?,
    ]);
    let label = format!("nerdctl/name={name}");
    let mut run = ctr(&["run", "--detach", "--label", &label, "--rootfs", &root])?;
    ran(run.args([&container, &format!("/bin/{program}"), "sh", "-c", LOOP]))?;
    let collector = Collector::start()?;
    let given = format!("containerd:{socket}");
    let daemon = daemon(&collector, &["--container-socket", &given])?;
    let found = resource(&collector, &program, &daemon)?;
    for (key, value) in [
        ("service.name", name.as_str()),
        ("container.name", &name),
        ("container.id", &container),
        ("container.runtime.name", "containerd"),
    ] {
        assert_eq!(text(&found, key), Some(value), "{key}: {found:#?}");
    }
    assert_eq!(unnamed(&collector)?, 0.0, "{}", daemon.printed()?);
    daemon.end()?;
    Ok(())
}
