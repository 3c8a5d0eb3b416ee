//! Checks that workloads are resolved to what really runs: processes in cgroups
//! named as container runtimes and systemd name them, alive and dead. Needs
//! root, as creating cgroups does.

use std::fs;
use std::io::BufRead as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use observer_common::workload::{NewWorkload, WorkloadId, WorkloadKey};
use observer_signals::Resource;
use observer_signals::attribute::SharedResource;
use observer_testkit::cgroup::Cgroup;
use observer_userspace::identity::hierarchy::Hierarchies;
use observer_userspace::identity::process::Process;
use observer_userspace::identity::{Host, Resolver, find_cgroup, v1_controller};

const ID: &str = "0b1c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c6d";
const OUTER: &str = "ffffffffb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c6d";
const POD: &str = "a3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11";

/// `sleep` in a cgroup; killed when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new("sleep");
        command
            .arg("60")
            .env_clear()
            .envs(variables.iter().copied());
        Self::spawn(&mut command, "sleep")
    }

    /// Starts a command and waits until it has its own name: `spawn` may return
    /// while exec is still on its way.
    fn spawn(command: &mut Command, comm: &str) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        let sleeper = Self(child.expect("a program starts"));
        let deadline = Instant::now() + Duration::from_secs(50);
        while sleeper.comm() != comm {
            assert!(Instant::now() < deadline, "still {}", sleeper.comm());
            std::thread::sleep(Duration::from_millis(1));
        }
        sleeper
    }

    fn comm(&self) -> String {
        fs::read_to_string(format!("/proc/{}/comm", self.0.id()))
            .map(|comm| comm.trim().to_owned())
            .expect("a live process")
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Mount points of v2 and of the v1 hierarchy in use, by `/proc/mounts`, and
/// whether they are v2.
fn mounts() -> Vec<(bool, PathBuf)> {
    let text = fs::read_to_string("/proc/mounts").expect("procfs");
    let mut found = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let is_v2 = fields[2] == "cgroup2";
        let is_v1 = fields[2] == "cgroup"
            && v1_controller()
                .is_some_and(|name| fields[3].split(',').any(|option| option == name));
        if (is_v2 || is_v1) && !found.iter().any(|(v2, _)| *v2 == is_v2) {
            found.push((is_v2, PathBuf::from(fields[1])));
        }
    }
    assert!(!found.is_empty(), "no cgroup hierarchy is mounted");
    found
}

/// A workload as the kernel half would report it, ids being inode numbers.
fn workload(id: u32, is_v2: bool, directory: &Path, comm: &str, tgid: u32) -> NewWorkload {
    let inode = fs::metadata(directory).expect("a cgroup").ino();
    let mut key = WorkloadKey::default();
    if is_v2 {
        key.cgroup_v2 = inode;
    } else {
        key.cgroup_v1 = inode;
    }
    key.comm[..comm.len()].copy_from_slice(comm.as_bytes());
    NewWorkload {
        key,
        id: WorkloadId(id),
        tgid,
        tenant: 0,
        uid: 0,
    }
}

/// The resource of a workload that is new.
fn resolved(resolver: &mut Resolver, new: &NewWorkload) -> SharedResource {
    resolver.resolve(new);
    resolver.get(new.id).expect("it was resolved")
}

fn text<'a>(resource: &'a Resource, key: &str) -> Option<&'a str> {
    resource.get_str(key)
}

/// A folder's name that no other run of this test uses.
fn unique(name: &str) -> String {
    format!("observer-test-{name}-{}", std::process::id())
}

/// Checks containers, pods and units in real cgroups of every hierarchy in use,
/// for live processes and for those that ended before anybody looked.
#[test]
fn workloads_in_real_cgroups_are_resolved() {
    let pod_slice = format!("kubepods-burstable-pod{}.slice", POD.replace('-', "_"));
    // path, container, pod, unit, service
    let table = [
        (format!("docker/{ID}"), Some(ID), None, None, "sleep"),
        (format!("docker-{ID}.scope"), Some(ID), None, None, "sleep"),
        (
            format!("docker/{OUTER}/kubepods/pod{POD}/{ID}"),
            Some(ID),
            Some(POD),
            None,
            "sleep",
        ),
        (
            format!("{pod_slice}/cri-containerd-{ID}.scope"),
            Some(ID),
            Some(POD),
            None,
            "sleep",
        ),
        (
            format!("{pod_slice}/crio-{ID}.scope/container"),
            Some(ID),
            Some(POD),
            None,
            "sleep",
        ),
        (format!("libpod-{ID}.scope"), Some(ID), None, None, "sleep"),
        (
            "web.service".to_owned(),
            None,
            None,
            Some("web.service"),
            "web",
        ),
        (
            "session-7.scope".to_owned(),
            None,
            None,
            Some("session-7.scope"),
            "sleep",
        ),
        ("anything".to_owned(), None, None, None, "sleep"),
    ];
    for (is_v2, mount) in mounts() {
        let outer = unique("forms");
        let _top = Cgroup::create(&mount, &outer).expect("cgroups can be made");
        for (path, container, pod, unit, service) in &table {
            let cgroup = Cgroup::create(&mount, format!("{outer}/{path}")).expect("a cgroup");
            let sleeper = Sleeper::start(&[]);
            let pid = sleeper.0.id();
            cgroup.add(pid).expect("our child can be moved");
            let new = workload(7, is_v2, cgroup.directory(), "sleep", pid);
            let alive = resolved(&mut Resolver::new(&Host::detect()), &new);
            drop(sleeper);
            let dead = resolved(&mut Resolver::new(&Host::detect()), &new);
            for resource in [&alive, &dead] {
                assert_eq!(text(resource, "container.id"), *container, "{path}");
                assert_eq!(text(resource, "k8s.pod.uid"), *pod, "{path}");
                assert_eq!(text(resource, "systemd.unit.name"), *unit, "{path}");
                assert_eq!(text(resource, "service.name"), Some(*service), "{path}");
                assert_eq!(
                    text(resource, "process.executable.name"),
                    Some("sleep"),
                    "{path}"
                );
            }
        }
    }
}

/// Checks that what a process declares names its service, and that a pid that
/// belongs to another program by now isn't asked.
#[test]
fn declared_names_win_but_only_of_the_right_process() {
    let (is_v2, mount) = mounts().remove(0);
    let cgroup =
        Cgroup::create(&mount, format!("{}/db.service", unique("declared"))).expect("a cgroup");
    let elsewhere = Cgroup::create(&mount, unique("elsewhere")).expect("a cgroup");
    let variables = [
        ("OTEL_SERVICE_NAME", "shop"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=x,service.namespace=eu",
        ),
    ];
    let sleeper = Sleeper::start(&variables);
    let pid = sleeper.0.id();
    cgroup.add(pid).expect("our child can be moved");
    let mut resolver = Resolver::new(&Host::detect());

    let right = resolved(
        &mut resolver,
        &workload(1, is_v2, cgroup.directory(), "sleep", pid),
    );
    assert_eq!(text(&right, "service.name"), Some("shop"));
    assert_eq!(text(&right, "service.namespace"), Some("eu"));
    assert_eq!(text(&right, "systemd.unit.name"), Some("db.service"));

    let renamed = resolved(
        &mut resolver,
        &workload(2, is_v2, cgroup.directory(), "other", pid),
    );
    assert_eq!(text(&renamed, "service.name"), Some("db"));
    assert_eq!(text(&renamed, "process.executable.name"), Some("other"));

    let moved = resolved(
        &mut resolver,
        &workload(3, is_v2, elsewhere.directory(), "sleep", pid),
    );
    assert_eq!(text(&moved, "service.name"), Some("sleep"));
}

/// Checks that ids become paths for cgroups at any depth, and that a removed
/// one isn't found, against the inode numbers that `stat` shows.
#[test]
fn cgroup_ids_become_paths() {
    for (is_v2, mount) in mounts() {
        let path = format!("{}/a/b", unique("ids"));
        let cgroup = Cgroup::create(&mount, &path).expect("a cgroup");
        let inode = fs::metadata(cgroup.directory()).expect("a cgroup").ino();
        let root = fs::metadata(&mount).expect("a mount").ino();
        let mut hierarchies = Hierarchies::open();
        let mut path_of = |id| {
            if is_v2 {
                hierarchies.v2_path(id)
            } else {
                hierarchies.v1_path(id)
            }
        };
        assert_eq!(path_of(inode), Some(format!("/{path}")));
        assert_eq!(path_of(root).as_deref(), Some("/"));
        // A filter may name it in either way.
        for name in [cgroup.directory(), Path::new(&path)] {
            let found = find_cgroup(name).expect("it exists");
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].is_v2, found[0].id), (is_v2, inode));
        }
        drop(cgroup);
        assert_eq!(path_of(inode), None);
        assert!(find_cgroup(Path::new(&path)).is_err());
    }
}

/// Checks that a process that ended is described by another one of the same name
/// and cgroup: its executable's full name, which the kernel's comm cuts.
#[test]
fn the_dead_are_described_by_their_siblings() {
    let (is_v2, mount) = mounts().remove(0);
    let cgroup = Cgroup::create(&mount, unique("siblings")).expect("a cgroup");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("sleeper-with-a-long-name");
    fs::copy("/bin/sleep", &program).expect("a copy of sleep");
    let start = || {
        let sleeper = Sleeper::spawn(Command::new(&program).arg("60"), "sleeper-with-a-");
        cgroup.add(sleeper.0.id()).expect("our child can be moved");
        sleeper
    };
    let (gone, sibling) = (start(), start());
    let comm = gone.comm();
    let new = workload(1, is_v2, cgroup.directory(), &comm, gone.0.id());
    drop(gone);

    let described = resolved(&mut Resolver::new(&Host::detect()), &new);
    let executable = text(&described, "process.executable.name");
    assert_eq!(executable, Some("sleeper-with-a-long-name"));

    drop(sibling);
    let alone = resolved(&mut Resolver::new(&Host::detect()), &new);
    assert_eq!(
        text(&alone, "process.executable.name"),
        Some("sleeper-with-a-")
    );
}

/// Checks that a process that is looked at in the middle of exec is never
/// described by halves: its name, executable and environment belong together.
#[test]
fn exec_is_not_seen_by_halves() {
    let mut seen = 0;
    for _ in 0..300 {
        let child = Command::new("sleep")
            .arg("60")
            .env("OTEL_SERVICE_NAME", "shop")
            .stdin(Stdio::null())
            .spawn();
        let sleeper = Sleeper(child.expect("sleep starts"));
        // `None` is an answer: it changed while we looked.
        let Some(process) = Process::read(sleeper.0.id()) else {
            continue;
        };
        let executable = process.program.executable.as_deref();
        assert_eq!(
            (process.comm.as_str(), executable),
            ("sleep", Some("sleep"))
        );
        assert_eq!(
            process.program.declared.service_name.as_deref(),
            Some("shop")
        );
        seen += 1;
    }
    assert!(seen > 0, "no process was described at all");
}

/// Where an interpreter is; `None`, and said, where it isn't installed.
fn interpreter(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} isn't installed");
        eprintln!("{name} isn't installed: not checked");
    }
    found
}

/// Checks that what real interpreters run names their service: the very processes, looked
/// at through `/proc`, by scripts in a folder of this test.
#[test]
fn interpreters_are_called_after_what_they_run() {
    let (is_v2, mount) = mounts().remove(0);
    let cgroup = Cgroup::create(&mount, unique("interpreters")).expect("a cgroup");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("shop");
    fs::create_dir(&project).expect("a folder");
    let scripts = [
        ("orders.py", "import time; time.sleep(60)"),
        ("server.js", "setTimeout(() => {}, 60000)"),
        ("bills.pl", "sleep 60"),
        ("backup.sh", "sleep 60; true"),
        (
            "Till.java",
            "class Till { public static void main(String[] a) throws Exception { Thread.sleep(60000); } }",
        ),
    ];
    for (name, text) in scripts {
        fs::write(project.join(name), text).expect("a script");
    }
    let table: [(&str, &[&str], &str, &str); 5] = [
        ("python3", &["-u", "orders.py"], "orders", "script"),
        (
            "node",
            &["--no-warnings", "server.js"],
            "shop/server",
            "script",
        ),
        ("perl", &["-w", "bills.pl"], "bills", "script"),
        ("bash", &["backup.sh"], "backup", "script"),
        ("java", &["-Xshare:auto", "Till.java"], "Till", "main_class"),
    ];
    for (program, arguments, name, source) in table {
        let Some(program) = interpreter(program) else {
            continue;
        };
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&project)
            .env_remove("OTEL_SERVICE_NAME")
            .stdin(Stdio::null())
            .spawn();
        let sleeper = Sleeper(child.expect("an interpreter starts"));
        let pid = sleeper.0.id();
        cgroup.add(pid).expect("our child can be moved");
        // What starts it may be a script itself, which becomes the interpreter.
        let deadline = Instant::now() + Duration::from_secs(50);
        loop {
            let new = workload(1, is_v2, cgroup.directory(), &sleeper.comm(), pid);
            let found = resolved(&mut Resolver::new(&Host::detect()), &new);
            let seen = (
                text(&found, "service.name"),
                text(&found, "observer.service.name.source"),
            );
            if seen == (Some(name), Some(source)) {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{arguments:?} is called {seen:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Checks that two programs of one name and cgroup aren't called after one of them.
#[test]
fn one_program_names_no_other() {
    let (is_v2, mount) = mounts().remove(0);
    let cgroup =
        Cgroup::create(&mount, format!("{}/till.service", unique("two"))).expect("a cgroup");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let start = |name: &str| {
        let script = folder.path().join(name);
        fs::write(&script, "read -t 60 < <(sleep 60)").expect("a script");
        let sleeper = Sleeper::spawn(Command::new("bash").arg(&script), "bash");
        cgroup.add(sleeper.0.id()).expect("our child can be moved");
        sleeper
    };
    let name = |pid| {
        let new = workload(1, is_v2, cgroup.directory(), "bash", pid);
        let found = resolved(&mut Resolver::new(&Host::detect()), &new);
        text(&found, "service.name").map(str::to_owned)
    };
    let orders = start("orders.sh");
    // The shell's own children begin as copies of it.
    let alone = name(orders.0.id());
    assert_eq!(alone.as_deref(), Some("orders"));
    let bills = start("bills.sh");
    assert_eq!(name(orders.0.id()).as_deref(), Some("till"));
    drop(bills);
    assert_eq!(name(orders.0.id()).as_deref(), Some("orders"));
}

/// Publishes a process context in its own memory as OTEP 4719 says, and sleeps.
const PUBLISHER: &str = r#"
import ctypes, mmap, os, struct, sys, time

def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data

def attribute(key, value):
    return field(1, field(1, key.encode()) + field(2, field(1, value.encode())))

payload = field(1, attribute("service.name", "published") + attribute("service.version", "4.5"))
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
fd = os.memfd_create("OTEL_CTX", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
os.ftruncate(fd, 4096)
at = libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, fd, 0)
os.close(fd)
header = struct.pack("=8sIIQQ", b"OTEL_CTX", 2, len(payload), 0, at + 64)
ctypes.memmove(at, header + bytes(32) + payload, 64 + len(payload))
ctypes.memmove(at + 16, struct.pack("=Q", time.clock_gettime_ns(time.CLOCK_BOOTTIME)), 8)
print("published", flush=True)
time.sleep(60)
"#;

/// Checks that what an SDK publishes in a process's memory is read: by a publisher of our
/// own that follows the document, in another language.
#[test]
fn published_contexts_are_read() {
    let Some(python) = interpreter("python3") else {
        return;
    };
    let (is_v2, mount) = mounts().remove(0);
    let cgroup =
        Cgroup::create(&mount, format!("{}/db.service", unique("context"))).expect("a cgroup");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("publisher.py");
    fs::write(&script, PUBLISHER).expect("a script");
    let mut child = Command::new(python)
        .arg(&script)
        .env_remove("OTEL_SERVICE_NAME")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let out = child.stdout.take().expect("a pipe");
    let sleeper = Sleeper(child);
    let mut line = String::new();
    std::io::BufReader::new(out)
        .read_line(&mut line)
        .expect("a line");
    assert_eq!(line, "published\n");
    let pid = sleeper.0.id();
    cgroup.add(pid).expect("our child can be moved");
    let new = workload(1, is_v2, cgroup.directory(), &sleeper.comm(), pid);
    let found = resolved(&mut Resolver::new(&Host::detect()), &new);
    assert_eq!(text(&found, "service.name"), Some("published"));
    assert_eq!(
        text(&found, "observer.service.name.source"),
        Some("process_context")
    );
    assert_eq!(text(&found, "service.version"), Some("4.5"));
    assert_eq!(text(&found, "systemd.unit.name"), Some("db.service"));
}
