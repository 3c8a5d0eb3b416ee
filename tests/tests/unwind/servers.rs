//! Servers as Debian ships them, under load.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use observer_testkit::chain::{Recorded, must, record};
use observer_testkit::in_time;
use observer_testkit::packages::program;
use observer_testkit::root::is_root;

/// A server or a load; ended in order when the test is over, also when it fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // nginx and PostgreSQL end at once, with their children.
        if let Ok(pid) = self.0.id().try_into() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Running {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Running(quiet.spawn().unwrap_or_else(|e| panic!("{quiet:?}: {e}")))
}

fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !ready() {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{what} never came"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the program begins: the address of its `_start`.
fn entry(program: &Path) -> u64 {
    let mut header = [0; 32];
    let mut file = fs::File::open(program).expect("a program");
    file.read_exact(&mut header).expect("an ELF header");
    u64::from_le_bytes(header[24..].try_into().expect("8 bytes"))
}

/// Whether a frame is in the program's `_start`, which has no name in a
/// stripped file.
fn is_start(frame: &str, file: &str, entry: u64) -> bool {
    let address = frame
        .strip_prefix(file)
        .and_then(|rest| rest.strip_prefix("+0x"));
    let address = address.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    frame == "_start" || address.is_some_and(|a| (entry..entry + 64).contains(&a))
}

/// The share of samples that ended for want of a table, by what the recording says.
fn without_table(said: &str) -> f64 {
    let before = said.split("% no_table").next().filter(|it| *it != said);
    let percent = before.and_then(|it| it.rsplit([' ', ',']).next()?.parse::<f64>().ok());
    percent.unwrap_or(0.0) / 100.0
}

/// Fails unless 99 % of the samples begin at `_start` of `binary`.
fn check(recorded: &Recorded, binary: &Path, at_least: u64) {
    let file = binary
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    let entry = entry(binary);
    let (mut all, mut complete) = (0, 0);
    let mut wrong = Vec::new();
    for line in recorded.lines.iter().filter(|line| line.process == file) {
        all += line.count;
        // libc's start-up code lies between _start and main.
        let frames = &line.frames;
        let begins = frames.first().is_some_and(|f| is_start(f, file, entry))
            && frames.get(1).is_some_and(|f| f.contains("libc"));
        if begins {
            complete += line.count;
        } else {
            wrong.push((line.count, frames.join(";")));
        }
    }
    wrong.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    wrong.truncate(8);
    eprintln!("{file}: {complete} of {all} samples complete");
    in_time!(
        all >= at_least,
        "{all} samples of {file}; {}",
        recorded.said
    );
    // Until the tables of a large program and its libraries are built, which takes a daemon
    // that isn't optimized some tenths of a second, stacks end early by that cause.
    let early = without_table(&recorded.said).min(0.1) * all as f64;
    in_time!(
        complete as f64 + early >= all as f64 * 0.99,
        "{file}: {complete} of {all} complete, {wrong:#?}; {}",
        recorded.said
    );
}

/// Checks nginx, which compresses what it serves.
#[test]
fn nginx() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display();
    let nginx = program("nginx", "nginx-light").expect("nginx");
    let binary = PathBuf::from(nginx.get_program());
    let port = observer_testkit::port::free().expect("a port");
    let page: String = (0..3000)
        .map(|n| format!("{} bottles\n", n * 7919 % 10007))
        .collect();
    fs::write(folder.path().join("index.html"), page).expect("written");
    let settings = format!(
        "daemon off; user root; worker_processes 1; pid {path}/pid; error_log {path}/errors;
         events {{}}
         http {{
           access_log off; gzip on; gzip_comp_level 5; root {path};
           client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
           fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;
           scgi_temp_path {path}/scgi; types {{ text/html html; }}
           server {{ listen 127.0.0.1:{port}; }}
         }}"
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, settings).expect("written");
    let mut nginx = nginx;
    let _server = start(
        nginx
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.path().join("errors")),
    );
    wait_until("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut load = program("ab", "apache2-utils").expect("ab");
    load.args(["-q", "-k", "-c", "4", "-t", "20", "-n", "100000000"]);
    load.args([
        "-H",
        "Accept-Encoding: gzip",
        &format!("http://127.0.0.1:{port}/index.html"),
    ]);
    let _load = start(&mut load);
    let recorded = record(["--comm", "nginx", "--duration", "2s"]);
    check(&recorded, &binary, 300);
}

/// PostgreSQL's programs aren't in the path: there may be several versions.
fn postgres_folder() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions.map(|version| version.path().join("bin")).max();
    newest
        .expect("PostgreSQL; get it with `apt-get install postgresql` (or run `cargo xtask test`)")
}

/// Checks PostgreSQL under pgbench's reading load.
#[test]
fn postgresql() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let binaries = postgres_folder();
    // It refuses to run as root.
    let user = User::from_name("postgres")
        .expect("users")
        .expect("the user postgres");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder");
    chown(&data, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("given away");
    let command = |name: &str| {
        let mut command = Command::new(binaries.join(name));
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        command
            .current_dir("/")
            .env("PGHOST", &data)
            .env("PGDATABASE", "postgres");
        command
    };
    let mut initdb = command("initdb");
    must(
        initdb
            .args(["--no-sync", "--auth", "trust", "-D"])
            .arg(&data),
    );
    let mut server = command("postgres");
    server.arg("-D").arg(&data).arg("-k").arg(&data);
    let _server = start(server.args(["-c", "listen_addresses=", "-c", "fsync=off"]));
    wait_until("PostgreSQL", || {
        let mut ready = command("pg_isready");
        ready
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    must(command("pgbench").args(["--initialize", "--quiet", "--scale", "1"]));
    let mut load = command("pgbench");
    let _load = start(load.args(["--select-only", "--client", "2", "--time", "20"]));
    // Three times as long as nginx: its program and libraries are ten times as large, and
    // all of their tables are built in this time.
    let recorded = record(["--comm", "postgres", "--duration", "6s"]);
    check(&recorded, &binaries.join("postgres"), 300);
}
