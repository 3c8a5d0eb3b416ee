//! What another user puts into names, and where root is told to write: nothing of it is
//! obeyed, followed, or waited for. (A thousand such names through every output:
//! `observer-export/src/hostile_tests.rs`.)

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use observer_testkit::collector::Collector;
use observer_testkit::observer_bin;
use observer_testkit::terminal::ensure_shown;
use observer_testkit::tool::Tool;

/// The user that has no other business here.
const NOBODY: u32 = 65534;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A function of a C program, as long as [`HOSTILE`].
const PLACEHOLDER: &str = "observer_placeholder_of_a_hostile_names";
/// Sets a terminal's title, clears it, and begins a line.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\u{1b}[2J\n\u{9b}31m\u{202e}forged: line yz";

/// A folder that everybody may write to, as `/tmp`, and nobody else's files are removed
/// from.
fn sticky() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777))?;
    Ok(folder)
}

struct Ended {
    status: Option<i32>,
    out: String,
    err: String,
}

/// Runs `observer record`, which must end in time.
fn record(arguments: &[&str]) -> Result<Ended> {
    let mut child = Command::new(observer_bin())
        .args(["record", "--duration", "200ms", "--log-format", "text"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let begin = Instant::now();
    while child.try_wait()?.is_none() {
        if begin.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("record {arguments:?} doesn't end");
        }
        // It writes nothing of a host on which nothing happens.
        let spinning = Instant::now();
        while spinning.elapsed() < Duration::from_millis(10) {
            std::hint::spin_loop();
        }
    }
    let output = child.wait_with_output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ended {
        status: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    })
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("UTF-8")
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::symlink_metadata(path)?.permissions().mode() & 0o7777)
}

/// Checks that links of another user (to a secret, and to nothing), their pipe that nobody
/// reads, and their file are refused in a line, at once, and left as they were.
#[test]
fn others_files_are_not_written() -> Result<()> {
    let folder = sticky()?;
    let at = |name: &str| folder.path().join(name);
    let secret = at("secret");
    fs::write(&secret, "root's own")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    symlink(&secret, at("link.svg"))?;
    symlink(at("made"), at("dangling.svg"))?;
    nix::unistd::mkfifo(&at("pipe.folded"), Mode::from_bits_truncate(0o666))?;
    fs::write(at("theirs.folded"), "theirs")?;
    for name in ["link.svg", "dangling.svg", "pipe.folded", "theirs.folded"] {
        lchown(at(name), Some(NOBODY), Some(NOBODY))?;
    }
    for (name, why) in [
        ("link.svg", "symbolic link"),
        ("dangling.svg", "symbolic link"),
        ("pipe.folded", "pipe"),
        ("theirs.folded", "another user"),
    ] {
        let ended = record(&["-o", path(&at(name))?])?;
        ensure!(
            ended.status == Some(2),
            "{name}: {:?} {}",
            ended.status,
            ended.err
        );
        ensure!(
            ended.err.lines().count() == 1 && ended.err.contains(why),
            "{}",
            ended.err
        );
    }
    ensure!(fs::read_to_string(&secret)? == "root's own");
    ensure!(!at("made").exists(), "a dangling link made a file");
    ensure!(fs::read_to_string(at("theirs.folded"))? == "theirs");
    ensure!(
        fs::read_dir(folder.path())?.count() == 5,
        "something was left"
    );
    Ok(())
}

/// Checks who may read what is written: of the whole host its owner only, unless asked
/// otherwise; and that standard output may be named as the kernel does.
#[test]
fn profiles_are_their_owners() -> Result<()> {
    let folder = sticky()?;
    let file = folder.path().join("p.folded");
    let name = path(&file)?;
    let written = |arguments: &[&str]| -> Result<u32> {
        let ended = record(&[&["-o", name], arguments].concat())?;
        ensure!(ended.status == Some(0), "{}", ended.err);
        mode(&file)
    };
    ensure!(written(&[])? == 0o600);
    let first = fs::metadata(&file)?.ino();
    ensure!(written(&["--output-mode", "0640"])? == 0o640);
    ensure!(fs::metadata(&file)?.ino() != first, "it was written over");
    ensure!(written(&["--", "sleep", "0.2"])? & 0o400 == 0o400);
    ensure!(written(&[])? == 0o600);
    ensure!(
        fs::read_dir(folder.path())?.count() == 1,
        "something was left"
    );
    let ended = record(&[
        "-o",
        "/dev/stdout",
        "--frequency",
        "997",
        "--",
        "sh",
        "-c",
        "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done",
    ])?;
    ensure!(
        ended.status == Some(0) && ended.out.contains("sh;"),
        "{}{}",
        ended.out,
        ended.err
    );
    Ok(())
}

/// A small disk, unmounted when it isn't used any more.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mounted() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let size = Some("size=8k");
        mount(
            Some("tmpfs"),
            folder.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            size,
        )?;
        Ok(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// Checks that a full disk is said, and that no half file is left on it.
#[test]
fn full_disk_is_said() -> Result<()> {
    let disk = Disk::mounted()?;
    let file = disk.0.path().join("p.svg");
    let ended = record(&["-o", path(&file)?])?;
    ensure!(ended.status == Some(1), "{:?} {}", ended.status, ended.err);
    ensure!(
        ended.err.contains("No space left on device"),
        "{}",
        ended.err
    );
    ensure!(
        fs::read_dir(disk.0.path())?.count() == 0,
        "something was left"
    );
    Ok(())
}

fn ensure_harmless(text: &str) -> Result<()> {
    ensure_shown(text)?;
    let forged = text.lines().find(|line| line.starts_with("forged"));
    ensure!(forged.is_none(), "{text:?}");
    Ok(())
}

/// A program in `folder` that computes in a function called [`HOSTILE`].
fn hostile_program(folder: &Path) -> Result<PathBuf> {
    ensure!(PLACEHOLDER.len() == HOSTILE.len(), "{}", HOSTILE.len());
    let source = format!(
        "#include <unistd.h>\n\
         volatile unsigned long n;\n\
         __attribute__((noinline)) void {PLACEHOLDER}(void) {{ for (;;) n++; }}\n\
         int main(void) {{ alarm(120); {PLACEHOLDER}(); return 0; }}\n"
    );
    let (text, program) = (folder.join("hostile.c"), folder.join("hostile-plain"));
    fs::write(&text, source)?;
    let compiled = Command::new("cc")
        .arg("-O0")
        .arg("-o")
        .args([&program, &text])
        .status();
    ensure!(compiled.context("cc")?.success(), "cc failed");
    let mut bytes = fs::read(&program)?;
    let mut found = 0;
    for at in 0..bytes.len() - PLACEHOLDER.len() {
        if bytes[at..].starts_with(PLACEHOLDER.as_bytes()) {
            bytes[at..at + HOSTILE.len()].copy_from_slice(HOSTILE.as_bytes());
            found += 1;
        }
    }
    ensure!(found > 0, "the compiler left the function out");
    let hostile = folder.join("hostile-text");
    fs::write(&hostile, bytes)?;
    fs::set_permissions(&hostile, fs::Permissions::from_mode(0o755))?;
    Ok(hostile)
}

/// Kills the process when the test is over, also when it fails.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Checks a program of another user, with a function and a service whose names are escape
/// sequences, and the latter 127 kB long: nothing of it reaches a terminal by `record` or
/// by the summary, what is exported of it is short, and that is counted.
#[test]
fn names_are_not_obeyed() -> Result<()> {
    let folder = sticky()?;
    let program = hostile_program(folder.path())?;
    let service = format!("{HOSTILE}{}", "x".repeat(127_000));
    let hostile = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .env("OTEL_SERVICE_NAME", &service)
        .stdin(Stdio::null())
        .spawn()?;
    let hostile = Guard(hostile);
    let pid = hostile.0.id().to_string();

    let collector = Collector::start()?;
    let mut command = Command::new(observer_bin());
    command.args([
        "run",
        "--summary",
        "--interval",
        "1s",
        "--log-format",
        "text",
    ]);
    command.args(["--otlp-endpoint", &collector.endpoint()]);
    command.args(["--otlp-protocol", "http/protobuf"]);
    let mut tool = Tool::start(&mut command)?;
    tool.wait_until(|tool| {
        Ok(tool.printed()?.contains("owned") && tool.printed()?.contains("forged"))
    })?;
    let begin = Instant::now();
    while collector
        .losses()?
        .get("identity/text_cut")
        .is_none_or(|n| *n == 0)
    {
        ensure!(
            begin.elapsed() < PATIENCE,
            "not counted: {:?}",
            collector.losses()?
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure_harmless(&tool.end()?)?;
    let mut seen = 0;
    let is_ours = |attributes: &[_]| {
        let name = observer_testkit::collector::text(attributes, "service.name");
        name.is_some_and(|name| name.starts_with("x]0;owned") && name.len() <= 256)
    };
    if collector.total("observer.cpu.time", is_ours, |_| true)? > 0.0 {
        seen += 1;
    }
    ensure!(seen == 1, "no such service was exported");

    let file = folder.path().join("p.folded");
    let ended = record(&["-o", path(&file)?, "--pid", &pid, "--frequency", "499"])?;
    ensure!(
        ended.status == Some(0) && ended.err.contains("forged"),
        "{}",
        ended.err
    );
    ensure_harmless(&ended.err)?;
    let mut stacks = String::new();
    fs::File::open(&file)?.read_to_string(&mut stacks)?;
    ensure!(stacks.contains("forged: line yz"), "{stacks:?}");
    ensure_harmless(&stacks)?;
    chown(&file, Some(NOBODY), None)?;
    let ended = record(&["-o", path(&file)?, "--pid", &pid])?;
    ensure!(ended.status == Some(2), "given away: {}", ended.err);
    Ok(())
}
