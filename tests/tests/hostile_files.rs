//! Files that pass for others, and files that change: each process's stacks and names
//! are those of the files that it has mapped itself.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use observer_testkit::chain::{
    BUILT, LINKS, Line, Recorded, SECONDS, Shape, check_all, compile, link, must, record_script,
};
use observer_testkit::hang::NOBODY;
use observer_testkit::in_time;
use observer_testkit::root::is_root;
use observer_testkit::tool::Tool;

/// Samples that a program must have at least.
const SAMPLES: u64 = 500;

/// The function that forgers call otherwise, by a name of the same length.
const TRUE_NAME: &[u8; 9] = b"\0compare\0";
const FALSE_NAME: &[u8; 9] = b"\0forgery\0";

/// A folder into which everybody may look.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    folder
}

fn chain(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let mut all = vec!["-Wl,--build-id=sha1"];
    all.extend(flags);
    compile(Command::new("cc"), folder, name, "chain.c", &all)
}

/// Where the section `name` lies in an ELF file (elf(5): 64 bits, little-endian).
fn section(bytes: &[u8], name: &str) -> std::ops::Range<usize> {
    let number = |at: usize, length: usize| {
        let mut word = [0; 8];
        word[..length].copy_from_slice(&bytes[at..at + length]);
        u64::from_le_bytes(word) as usize
    };
    let (table, size, count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    let header = |index: usize| table + index * size;
    let range = |at: usize| number(at + 0x18, 8)..number(at + 0x18, 8) + number(at + 0x20, 8);
    let names = range(header(number(0x3e, 2))).start;
    let name = [name.as_bytes(), b"\0"].concat();
    let is_it = |at: &usize| bytes[names + number(*at, 4)..].starts_with(&name);
    range((0..count).map(header).find(is_it).expect("a section"))
}

/// Calls a function by another name, in symbol tables.
fn rename(bytes: &mut [u8], to: &[u8; TRUE_NAME.len()]) {
    let place = bytes.windows(to.len()).position(|name| name == TRUE_NAME);
    let place = place.expect("the name");
    bytes[place..place + to.len()].copy_from_slice(to);
}

/// A copy of `program` with its build id and length, but with other rows and names.
fn forge(program: &Path, to: &Path) {
    let mut bytes = fs::read(program).expect("the program");
    let frames = section(&bytes, ".eh_frame");
    // `DW_CFA_def_cfa_offset N`: frames of another size.
    let mut changed = 0;
    for at in frames.start..frames.end - 1 {
        if bytes[at] == 0x0e && bytes[at + 1].is_multiple_of(8) && bytes[at + 1] < 0x60 {
            bytes[at + 1] += 16;
            changed += 1;
        }
    }
    assert!(changed > 20, "{changed} rows");
    rename(&mut bytes, FALSE_NAME);
    fs::write(to, bytes).expect("written");
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("made a program");
    let ids = [program, to].map(|path| must(Command::new("readelf").arg("-n").arg(path)));
    let id = |text: &str| {
        text.lines()
            .find_map(|l| Some(l.split_once("Build ID: ")?.1.to_owned()))
    };
    assert_eq!(id(&ids[0]), id(&ids[1]));
    assert!(id(&ids[0]).is_some(), "a build id");
}

/// The beginning of a command that runs as nobody.
fn nobody() -> String {
    format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups ")
}

/// Lines of a script: `command` runs until its tables are built.
fn warm(command: &str) -> String {
    format!("tables; first=$now; {command} & warming=$!; built; ")
}

/// How many samples of `process` have a function of this name.
fn named(recorded: &Recorded, process: &str, name: &str) -> u64 {
    let lines = recorded.lines.iter().filter(|l| l.process == process);
    let named = lines.filter(|line| line.frames.iter().any(|frame| frame == name));
    named.map(|line| line.count).sum()
}

/// Checks that a program's stacks and names are what they are without it beside another
/// user's copy with its build id and length that has other rows and names, and that was
/// there first; and that the copy's names are the copy's.
#[test]
fn build_ids_are_not_believed() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let victim = chain(folder.path(), "h-victim", &[]);
    let forger = folder.path().join("h-forger");
    forge(&victim, &forger);
    let (victim, forger) = (victim.display(), forger.display());
    let forger = format!("{} {forger}", nobody());
    let script = [
        BUILT,
        &warm(&format!("{forger} 600")),
        &warm(&format!("{victim} 600")),
        &format!("{forger} {SECONDS} & {victim} {SECONDS} & wait"),
    ];
    let recorded = record_script(&script.concat());
    let shape = |process| Shape {
        process,
        ..Shape::default()
    };
    check_all(&recorded, SAMPLES, &[shape("h-victim")]);
    assert!(shape("h-forger").check(&recorded, 1).is_err(), "a forgery");
    assert_eq!(named(&recorded, "h-victim", "forgery"), 0);
    assert_eq!(named(&recorded, "h-forger", "compare"), 0);
    assert!(named(&recorded, "h-forger", "forgery") > 0);
}

/// Checks that copies of a program share its table: the second is found to be the same,
/// and nothing more is built.
#[test]
fn copies_share_a_table() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let program = chain(folder.path(), "h-copy0", &["-static"]);
    for copy in 1..4 {
        let to = folder.path().join(format!("h-copy{copy}"));
        fs::copy(&program, to).expect("a copy");
    }
    let program = program.display().to_string();
    let program = program.trim_end_matches('0');
    let mut script = BUILT.to_owned() + &warm(&format!("{program}0 600"));
    for copy in 1..4 {
        script += &format!("{program}{copy} {SECONDS}; ");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut command = Command::new(observer_testkit::observer_bin());
    let filter = "observer_userspace::stacks=debug";
    let log_to = File::create(&log).expect("a file");
    let output = command
        .args([
            "record",
            "--log-level",
            filter,
            "--log-format",
            "text",
            "-o",
            "-",
        ])
        .args(["--", "sh", "-c", &script])
        .stderr(log_to)
        .output()
        .expect("observer runs");
    assert!(output.status.success());
    let log = fs::read_to_string(log).expect("the log");
    let length = fs::metadata(format!("{program}0")).expect("it").len();
    let of_them = |line: &&str| line.contains(&format!("length: {length} "));
    let said = |text: &str| {
        let lines = log.lines().filter(of_them);
        lines.filter(|line| line.contains(text)).count()
    };
    assert_eq!(said("DEBUG unwinding table of"), 1, "{log}");
    assert_eq!(said("has the unwinding table of another"), 3, "{log}");
}

/// Checks that a debug file that only one process sees, in its own mounts, names only
/// that process's functions, though all have the same file mapped.
#[test]
fn debug_files_are_its_own() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let program = chain(folder.path(), "h-linked", &[]);
    let beside = folder.path().join(".debug");
    fs::create_dir(&beside).expect("a folder");
    let debug = beside.join("h-linked.debug");
    let objcopy = || Command::new("objcopy");
    must(objcopy().arg("--only-keep-debug").args([&program, &debug]));
    let mut bytes = fs::read(&debug).expect("the debug file");
    rename(&mut bytes, FALSE_NAME);
    let forged = folder.path().join("forged.debug");
    fs::write(&forged, bytes).expect("written");
    let mut strip = objcopy();
    strip
        .arg("--strip-all")
        .arg(format!("--add-gnu-debuglink={}", debug.display()));
    must(strip.arg(&program));
    let other = folder.path().join("h-mounts");
    fs::hard_link(&program, &other).expect("linked");
    let (program, other, debug) = (program.display(), other.display(), debug.display());
    let (beside, forged) = (beside.display(), forged.display());
    let mounts = |seconds: &str| {
        format!(
            "{} unshare --user --map-root-user --mount sh -c \
             'mount -t tmpfs none {beside} && cp {forged} {debug} && exec {other} {seconds}'",
            nobody()
        )
    };
    let script = [
        BUILT,
        &warm(&mounts("600")),
        &format!("{} & {program} {SECONDS} & wait", mounts(SECONDS)),
    ];
    let recorded = record_script(&script.concat());
    let shape = Shape {
        process: "h-linked",
        ..Shape::default()
    };
    check_all(&recorded, SAMPLES, &[shape]);
    assert_eq!(named(&recorded, "h-linked", "forgery"), 0);
    assert!(
        named(&recorded, "h-mounts", "forgery") > 0,
        "{}",
        recorded.said
    );
    assert_eq!(named(&recorded, "h-mounts", "compare"), 0);
}

/// Checks that a program that is written over (the same file, by its number and path)
/// has its own stacks before and after, its own names after, and that what ran before,
/// whose names are gone, has none of those that came after.
#[test]
fn files_written_over_are_others() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let place = chain(folder.path(), "h-place", &[]);
    let next = chain(folder.path(), "h-next", &["-O0", "-fno-stack-protector"]);
    let mut bytes = fs::read(&next).expect("the program");
    rename(&mut bytes, b"\0compXre\0");
    fs::write(&next, bytes).expect("written");
    let inode = fs::metadata(&place).expect("it").ino();
    let (place, next) = (place.display(), next.display());
    let script = [
        BUILT,
        &warm(&format!("{place} 600")),
        &format!("{place} {SECONDS}; cat {next} > {place}; "),
        &warm(&format!("{place} 600")),
        &format!("{place} {SECONDS}; stat -c %i {place} >&2"),
    ];
    let recorded = record_script(&script.concat());
    assert!(recorded.said.contains(&inode.to_string()), "the same file");
    let (mut before, mut after) = (recorded.clone(), recorded);
    let is_after = |line: &Line| line.frames.iter().any(|frame| link(frame).is_some());
    before.lines.retain(|line| !is_after(line));
    after.lines.retain(is_after);
    let shape = Shape {
        process: "h-place",
        before: &["main", "qsort", "compXre"],
        ..Shape::default()
    };
    check_all(&after, SAMPLES, &[shape]);
    let lines = before.lines.iter().filter(|l| l.process == "h-place");
    let (mut all, mut whole) = (0, 0);
    for line in lines {
        let has = |name: &str| line.frames.iter().any(|frame| frame.contains(name));
        all += line.count;
        // The start, main, qsort's caller, compare, the chain, leaf; and libc's.
        let unnamed = line
            .frames
            .iter()
            .filter(|frame| frame.starts_with("h-place+"));
        if has("__libc_start") && has("qsort") && unnamed.count() >= LINKS + 4 {
            whole += line.count;
        }
    }
    assert!(all >= SAMPLES, "{all} samples of what ran before");
    let share = whole as f64 / all as f64;
    in_time!(share >= 0.7, "{share} of {all} are whole\n{}", before.said);
}

/// A file system of its own, gone with this.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        fs::create_dir(&path).expect("a folder");
        let options = Some("mode=0755");
        mount(
            Some("none"),
            &path,
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )
        .expect("mounted");
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Checks that files with the same number, length, times and build id on two file systems
/// are two.
#[test]
fn equal_numbers_are_not_believed() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let one = Tmpfs::mount(folder.path(), "one");
    let two = Tmpfs::mount(folder.path(), "two");
    let program = chain(folder.path(), "h-numbers", &[]);
    let victim = one.0.join("h-first");
    let forger = two.0.join("h-second");
    fs::copy(&program, &victim).expect("copied");
    forge(&program, &forger);
    must(Command::new("touch").arg("-r").args([&victim, &forger]));
    let said = |path: &Path| {
        let meta = fs::metadata(path).expect("it");
        (meta.ino(), meta.len(), meta.mtime_nsec())
    };
    assert_eq!(said(&victim), said(&forger));
    let (victim, forger) = (victim.display(), forger.display());
    let script = [
        BUILT,
        &warm(&format!("{forger} 600")),
        &warm(&format!("{victim} 600")),
        &format!("{forger} {SECONDS} & {victim} {SECONDS} & wait"),
    ];
    let recorded = record_script(&script.concat());
    let shape = Shape {
        process: "h-first",
        ..Shape::default()
    };
    check_all(&recorded, SAMPLES, &[shape]);
    assert_eq!(named(&recorded, "h-first", "forgery"), 0);
    assert!(named(&recorded, "h-second", "forgery") > 0);
}

/// Waits until `count` lines of what the daemon said have all of these texts.
fn wait_for_lines(tool: &mut Tool, count: usize, texts: &[&str]) {
    let has = |line: &&str| texts.iter().all(|text| line.contains(text));
    let waited = tool.wait_until(|tool| {
        let printed = tool.printed()?;
        Ok(printed.lines().filter(has).count() >= count)
    });
    let printed = tool.printed().expect("its output");
    waited.unwrap_or_else(|error| panic!("{error:#}: {texts:?}: {printed}"));
    let found = printed.lines().filter(has).count();
    assert_eq!(found, count, "{texts:?}: {printed}");
}

/// Checks that a user who maps many copies of a TLS library has some of them observed and
/// is told of the others by name and number, and that another's copy is observed all the
/// same, where the daemon may have few files open.
#[test]
fn descriptors_are_shared() {
    const LIMIT: usize = 700;
    const COPIES: usize = 30;
    // Of what is left beside the rest (384), each file takes twelve; of these, a user
    // may have a quarter.
    const SHARE: usize = (LIMIT - 384) / 12 / 4;
    if !is_root() {
        return;
    }
    let folder = folder();
    let source = folder.path().join("tls.c");
    let code = "int SSL_read(void) { return 0; } int SSL_write(void) { return 1; }";
    fs::write(&source, code).expect("written");
    let library = folder.path().join("libtls.so");
    let mut cc = Command::new("cc");
    must(
        cc.args(["-shared", "-fPIC", "-o"])
            .args([&library, &source]),
    );
    let copy = |name: &str| {
        let to = folder.path().join(name);
        fs::copy(&library, &to).expect("a copy");
        to.display().to_string()
    };
    let many: Vec<String> = (0..COPIES).map(|n| copy(&format!("many-{n}.so"))).collect();
    let other = copy("other.so");
    let map = "import mmap, os, sys, time\n\
               maps = [mmap.mmap(os.open(path, os.O_RDONLY), 0, flags=mmap.MAP_PRIVATE,\n\
               \x20   prot=mmap.PROT_READ | mmap.PROT_EXEC) for path in sys.argv[1:]]\n\
               time.sleep(600)";
    let start = |user: u32, paths: &[String]| {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", map]).args(paths).uid(user).gid(user);
        Tool::start(&mut python).expect("python")
    };
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={LIMIT}:{LIMIT}"));
    command.arg(observer_testkit::observer_bin());
    command.args([
        "run",
        "--summary",
        "--probes",
        "requests",
        "--log-format",
        "text",
    ]);
    let mut daemon = Tool::start(command.args(["--log-level", "debug"])).expect("observer");
    daemon
        .wait_until(|daemon| Ok(daemon.printed()?.contains("observing ")))
        .expect("observes");
    let _many = start(NOBODY, &many);
    wait_for_lines(&mut daemon, SHARE, &["/many-", "TLS is observed"]);
    let refused = ["/many-", "TLS is not observed", "of its user", "ulimit -n"];
    wait_for_lines(&mut daemon, COPIES - SHARE, &refused);
    let _other = start(0, &[other]);
    wait_for_lines(&mut daemon, 1, &["/other.so", "TLS is observed"]);
    let printed = daemon.end().expect("it ends");
    let counted = format!("{} requests/tls_file_no_room", COPIES - SHARE);
    assert!(printed.contains("tls_file_no_room"), "{counted}: {printed}");
}
