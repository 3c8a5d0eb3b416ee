//! Names of frames, against what binutils say of the same addresses.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use observer_signals::Profile;
use observer_signals::attribute::SharedResource;
use observer_testkit::packages;
use observer_testkit::root::is_root;
use observer_userspace::stacks::{RawProfile, RawSample, RawStack, Stacks, SymbolOptions};

/// Inlined functions in plenty: containers, strings, sorting, exceptions.
const SOURCE: &str = r#"
#include <algorithm>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

namespace shop {
struct Item { std::string name; double price; };

static inline double tax(double net) { return net * 1.19; }
inline double gross(const Item &item) { return tax(item.price); }

template <class Order> void sort(std::vector<Item> &items, Order order) {
    std::sort(items.begin(), items.end(), order);
}

__attribute__((noinline)) double total(std::vector<Item> &items) {
    double sum = 0;
    sort(items, [](const Item &a, const Item &b) { return gross(a) < gross(b); });
    for (const Item &item : items) sum += gross(item);
    if (sum < 0) throw std::runtime_error("negative: " + std::to_string(sum));
    return sum;
}

class Index {
    std::map<std::string, std::vector<Item>> shelves;
  public:
    __attribute__((noinline)) void add(const Item &item) { shelves[item.name].push_back(item); }
    __attribute__((noinline)) std::string list() const {
        std::ostringstream out;
        for (auto &[name, items] : shelves) out << name << ": " << items.size() << '\n';
        return out.str();
    }
};
}

int main() {
    std::vector<shop::Item> items;
    shop::Index index;
    for (int i = 0; i < 100; i++) {
        shop::Item item{"item " + std::to_string(i % 7), i * 1.5};
        items.push_back(item);
        index.add(item);
    }
    try {
        if (shop::total(items) + index.list().size() < 0) return 1;
    } catch (const std::exception &) {
        return 2;
    }
    pause();
}
"#;

/// How often it is looked, with 10 ms between, for what comes at once unless the machine
/// has much else to do.
const LOOKS: usize = 6000;

/// Kills the process when the test is over, also when it fails.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn shell(folder: &Path, script: &str) {
    run(Command::new("sh").args(["-ec", script]).current_dir(folder));
}

/// Compiles [`SOURCE`] to `folder/program`.
fn compile(folder: &Path, flags: &str) -> PathBuf {
    std::fs::write(folder.join("program.cc"), SOURCE).expect("written");
    shell(
        folder,
        &format!("c++ -std=c++17 -O2 -g -Wl,--build-id {flags} -o program program.cc"),
    );
    folder.join("program")
}

/// A mapped piece of code: address, end, offset in the file.
fn mapped(process: &Child, file: &Path) -> Option<(u64, u64, u64)> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.id())).ok()?;
    let name = file.to_str()?;
    let line = maps
        .lines()
        .find(|l| l.contains(" r-xp ") && l.ends_with(name))?;
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    Some((hex(start)?, hex(end)?, hex(fields.nth(1)?)?))
}

/// Starts `command` and waits until it has mapped the code of `file`.
fn started(command: &mut Command, file: &Path) -> (Guard, (u64, u64, u64)) {
    let process = Guard(command.stdout(Stdio::null()).spawn().expect("it starts"));
    let file = file.canonicalize().expect("a path");
    let code = (0..LOOKS).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        mapped(&process.0, &file)
    });
    let code = code.unwrap_or_else(|| panic!("{} isn't mapped", file.display()));
    (process, code)
}

/// Sections of a file by name: address, offset, length.
fn sections(file: &Path) -> BTreeMap<String, (u64, u64, u64)> {
    let text = run(Command::new("readelf").arg("-SW").arg(file));
    let parse = |line: &str| {
        let (_, line) = line.split_once(']')?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hex = |n: usize| u64::from_str_radix(fields.get(n)?, 16).ok();
        Some((fields.first()?.to_string(), (hex(2)?, hex(3)?, hex(4)?)))
    };
    text.lines().filter_map(parse).collect()
}

/// `count` addresses within functions, at random but always the same ones.
fn addresses_in_functions(symbols_of: &Path, count: usize) -> Vec<u64> {
    let text = run(Command::new("nm")
        .args(["-S", "--defined-only"])
        .arg(symbols_of));
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let hex = |digits: Option<&str>| u64::from_str_radix(digits?, 16).ok();
        let (start, size) = (hex(fields.next())?, hex(fields.next())?);
        matches!(fields.next()?, "t" | "T" | "W" | "i").then_some((start, size))
    };
    let mut functions: Vec<(u64, u64)> = text.lines().filter_map(parse).collect();
    functions.sort_unstable();
    functions.dedup();
    let all: u64 = functions.iter().map(|(_, size)| size).sum();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pick = |_| {
        let mut at = next() % all;
        let function = functions.iter().find(|(_, size)| {
            let is_here = at < *size;
            at -= if is_here { 0 } else { *size };
            is_here
        });
        function.expect("within all").0 + at
    };
    (0..count).map(pick).collect()
}

/// One function at an address: name, line.
type Call = (String, u32);

/// What addr2line says of `addresses`, innermost function first.
fn addr2line(file: &Path, flags: &str, addresses: &[u64]) -> Vec<Vec<Call>> {
    let mut process = Command::new("addr2line")
        .args([flags, "-e"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("addr2line");
    let mut input = process.stdin.take().expect("piped");
    let text: String = addresses.iter().map(|a| format!("{a:#x}\n")).collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = process.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("written");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut all: Vec<Vec<Call>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            all.push(Vec::new());
            continue;
        }
        let place = lines.next().expect("a place");
        let place = place.split(" (").next().expect("a place");
        let (_, number) = place.rsplit_once(':').expect("a line");
        let call = (line.to_owned(), number.parse().unwrap_or(0));
        all.last_mut().expect("an address").push(call);
    }
    assert_eq!(all.len(), addresses.len(), "addr2line answers all");
    all
}

/// What observer says of addresses of a process: with the linker's names, with
/// people's names.
fn observed(stacks: &Stacks, pid: u32, addresses: &[u64]) -> Vec<(Vec<Call>, Vec<Call>)> {
    let samples = addresses.iter().enumerate().map(|(n, address)| RawSample {
        stack: Arc::new(RawStack {
            kernel: Box::default(),
            user: Box::new([*address]),
            python: Box::default(),
        }),
        pid,
        // Keeps equal stacks apart.
        tid: n as u32,
        thread: String::new(),
        process: String::new(),
        resource: SharedResource::default(),
        outcome: Default::default(),
        wait: None,
        value: 1,
        request: 0,
        request_link: None,
    });
    let raw = RawProfile {
        period: 1,
        samples: samples.collect(),
        ..RawProfile::default()
    };
    let symbolized = stacks.symbolize(raw).blocking_recv().expect("it lives");
    let profile = symbolized.profile;
    let of = |sample| calls(&profile, sample);
    profile.samples.iter().map(|s| of(s.stack)).collect()
}

fn calls(profile: &Profile, stack: u32) -> (Vec<Call>, Vec<Call>) {
    let frame = profile.stack_table[stack as usize][0];
    let lines = &profile.frame_table[frame as usize].lines;
    let call = |line: &observer_signals::profile::Line| {
        let function = &profile.function_table[line.function as usize];
        let name = profile.text(function.name).to_owned();
        let linkage = match function.system_name {
            0 => name.clone(),
            id => profile.text(id).to_owned(),
        };
        ((linkage, line.line), (name, line.line))
    };
    lines.iter().map(call).unzip()
}

/// Names of one place: functions by address.
fn aliases(symbols_of: &Path) -> BTreeMap<String, u64> {
    let text = run(Command::new("nm").arg("--defined-only").arg(symbols_of));
    let parse = |line: &str| {
        let (address, rest) = line.split_once(' ')?;
        let (_, name) = rest.split_once(' ')?;
        let name = name.split('@').next()?;
        Some((name.to_owned(), u64::from_str_radix(address, 16).ok()?))
    };
    text.lines().filter_map(parse).collect()
}

/// Whether ours is what addr2line says, but for three peculiarities of it: of
/// several names of a function it may take another one; where the debug
/// information has no linker's name, it takes the symbol's for some addresses
/// of a function and the source's for others (we take the symbol's); and an
/// innermost function that was inlined and has no linker's name gets the name
/// of the function around it.
fn agree(aliases: &BTreeMap<String, u64>, ours: &[Call], theirs: &[Call]) -> bool {
    let unversioned = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    let is_same = |a: &str, b: &str| {
        let b = unversioned(b);
        // foo.part.0 is foo, _ZN3std4sortI…E is sort<…>.
        let source = b.split('<').next().unwrap_or_default();
        let is_source = a.split('.').next() == Some(&b)
            || a.starts_with("_Z") && a.contains(&format!("{}{source}", source.len()));
        a == b || is_source || aliases.get(a).is_some_and(|at| aliases.get(&b) == Some(at))
    };
    let Some((outermost, inlined)) = ours.split_last() else {
        return theirs.iter().all(|(name, _)| name == "??");
    };
    let Some((their_outermost, their_inlined)) = theirs.split_last() else {
        return false;
    };
    ours.iter().map(|c| c.1).eq(theirs.iter().map(|c| c.1))
        && is_same(&outermost.0, &their_outermost.0)
        && inlined
            .iter()
            .zip(their_inlined)
            .enumerate()
            .all(|(depth, (a, b))| a.0 == b.0 || (depth == 0 && is_same(&outermost.0, &b.0)))
}

/// Fails unless ours and theirs agree on all but `allowed` addresses.
fn compare(
    symbols_of: &Path,
    addresses: &[u64],
    ours: &[Vec<Call>],
    theirs: &[Vec<Call>],
    allowed: usize,
) {
    let aliases = aliases(symbols_of);
    let both = addresses.iter().zip(ours.iter().zip(theirs));
    let different: Vec<_> = both
        .filter(|(_, (ours, theirs))| !agree(&aliases, ours, theirs))
        .map(|(address, (ours, theirs))| format!("{address:#x}:\n  {ours:?}\n  {theirs:?}"))
        .collect();
    let inlined = theirs.iter().filter(|calls| calls.len() > 1).count();
    println!(
        "{}: {} of {} differ, {inlined} with inlined functions",
        symbols_of.display(),
        different.len(),
        addresses.len()
    );
    assert!(
        different.len() <= allowed,
        "{} of {} differ:\n{}",
        different.len(),
        addresses.len(),
        different[..different.len().min(5)].join("\n")
    );
}

/// Where file addresses of `file` are in a process that maps its code so.
fn runtime(file: &Path, code: (u64, u64, u64), addresses: &[u64]) -> Vec<u64> {
    let text = sections(file)[".text"];
    // Other sections may lie before it.
    let offset = text.1.wrapping_sub(text.0).wrapping_sub(code.2);
    let place = |address: &u64| address.wrapping_add(offset).wrapping_add(code.0);
    addresses.iter().map(place).collect()
}

fn stacks() -> Stacks {
    Stacks::start(SymbolOptions {
        debug_info: true,
        interpreter_frames: false,
    })
    .expect("started")
}

/// Checks that functions, inlined functions and lines at 1,000 addresses of a
/// C++ program are those that addr2line tells.
#[test]
fn inlined_functions_and_lines() {
    let folder = tempfile::tempdir().expect("folder");
    let program = compile(folder.path(), "");
    let (process, code) = started(&mut Command::new(&program), &program);
    let addresses = addresses_in_functions(&program, 1000);
    let at = runtime(&program, code, &addresses);
    let ours = observed(&stacks(), process.0.id(), &at);
    let (linkage, shown): (Vec<_>, Vec<_>) = ours.into_iter().unzip();
    let theirs = addr2line(&program, "-aif", &addresses);
    compare(&program, &addresses, &linkage, &theirs, 0);
    // Every function once, against another demangler, which puts the type of
    // what is returned before functions made of templates. Ours doesn't know
    // all forms of conditions on templates.
    let pairs = linkage.iter().flatten().zip(shown.iter().flatten());
    let pairs: BTreeMap<&str, &str> = pairs.map(|(l, s)| (&*l.0, &*s.0)).collect();
    let mangled = pairs.iter().filter(|(name, _)| name.starts_with("_Z"));
    let (mut same, mut all) = (0, 0);
    for (name, shown) in mangled {
        let clean = |text: &str| text.replace(' ', "").trim().to_owned();
        let theirs = run(Command::new("c++filt").arg(name));
        all += 1;
        same += usize::from(clean(&theirs).ends_with(&clean(shown)));
    }
    println!("{same} of {all} names as c++filt writes them");
    assert!(all > 50 && same * 10 >= all * 8, "{same} of {all}");
}

/// A stripped copy of a program, whose debug information lies elsewhere.
struct Stripped {
    folder: tempfile::TempDir,
    /// What addr2line says about addresses of the whole program.
    addresses: Vec<u64>,
    theirs: Vec<Vec<Call>>,
    whole: PathBuf,
}

impl Stripped {
    /// `whole` has everything, `app` is stripped, `app.debug` has the rest.
    fn new(flags: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let program = compile(folder.path(), flags);
        let whole = folder.path().join("whole");
        std::fs::rename(program, &whole).expect("renamed");
        shell(
            folder.path(),
            "objcopy --only-keep-debug --compress-debug-sections whole app.debug
             objcopy --strip-all whole app",
        );
        let addresses = addresses_in_functions(&whole, 200);
        let theirs = addr2line(&whole, "-aif", &addresses);
        Self {
            folder,
            addresses,
            theirs,
            whole,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the stripped program by `command` and names its addresses.
    fn observed(&self, command: &mut Command) -> Vec<Vec<Call>> {
        let app = self.path().join("app");
        let (process, code) = started(command, &app);
        let at = runtime(&app, code, &self.addresses);
        let names = observed(&stacks(), process.0.id(), &at);
        names.into_iter().map(|(linkage, _)| linkage).collect()
    }

    /// Checks that the stripped program's names are the whole one's.
    fn check(&self, command: &mut Command) {
        let ours = self.observed(command);
        compare(&self.whole, &self.addresses, &ours, &self.theirs, 0);
    }
}

/// Checks that a debug file is found by the name in .gnu_debuglink next to the
/// program and in .debug, and that another program's is not taken for it.
#[test]
fn debug_link() {
    let stripped = Stripped::new("-Wl,--build-id=none");
    let folder = stripped.path();
    let app = folder.join("app");
    shell(folder, "objcopy --add-gnu-debuglink=app.debug app");
    stripped.check(&mut Command::new(&app));
    shell(folder, "mkdir .debug; mv app.debug .debug/app.debug");
    stripped.check(&mut Command::new(&app));
    // One byte more is another checksum.
    shell(folder, "printf x >> .debug/app.debug");
    let ours = stripped.observed(&mut Command::new(&app));
    let lines = ours.iter().flatten().filter(|(_, line)| *line > 0);
    assert_eq!(lines.count(), 0, "another file's lines");
}

/// Checks that a container's debug files are found by build id under its own
/// root directory.
#[test]
fn debug_file_in_another_root() {
    if !is_root() {
        return;
    }
    let stripped = Stripped::new("");
    let folder = stripped.path();
    let notes = run(Command::new("readelf").arg("-n").arg(folder.join("app")));
    let id = notes.lines().find_map(|l| l.split_once("Build ID: "));
    let (first, rest) = id.expect("a build id").1.split_at(2);
    let script = format!(
        "mkdir -p /usr/lib/debug
         mount -t tmpfs none /usr/lib/debug
         mkdir -p /usr/lib/debug/.build-id/{first}
         mv app.debug /usr/lib/debug/.build-id/{first}/{rest}.debug
         exec ./app"
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-ec", &script])
        .current_dir(folder);
    stripped.check(&mut command);
}

/// Checks that inlined functions have their names and lines when dwz moved what
/// they have in common with another program to a file of its own.
#[test]
fn supplementary_debug_file() {
    let Ok(mut dwz) = packages::program("dwz", "dwz") else {
        packages::missing("dwz");
        return;
    };
    let stripped = Stripped::new("");
    let folder = stripped.path();
    shell(
        folder,
        "objcopy --decompress-debug-sections app.debug
         cp app.debug other.debug
         objcopy --add-gnu-debuglink=app.debug app",
    );
    run(dwz
        .args(["-m", "common.debug", "-M", "common.debug"])
        .args(["app.debug", "other.debug"])
        .current_dir(folder));
    let has_link = sections(&folder.join("app.debug")).contains_key(".gnu_debugaltlink");
    assert!(has_link, "dwz found something in common");
    shell(folder, "objcopy --compress-debug-sections app.debug");
    stripped.check(&mut Command::new(folder.join("app")));
}

/// Code mapped from a file into this process.
struct Mapped(*mut libc::c_void, usize);

impl Mapped {
    fn new(file: &Path) -> Self {
        let file = std::fs::File::open(file).expect("opened");
        let length = file.metadata().expect("there").len() as usize;
        let access = libc::PROT_READ | libc::PROT_EXEC;
        let null = std::ptr::null_mut();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at =
            unsafe { libc::mmap(null, length, access, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Self(at, length)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`; nobody keeps pointers into it.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

/// Checks that files which are cut short while they are mapped have the names
/// that are left in them or none, and that the daemon goes on.
#[test]
fn truncated_while_mapped() {
    let folder = tempfile::tempdir().expect("folder");
    let program = compile(folder.path(), "");
    let text = sections(&program)[".text"];
    let length = std::fs::metadata(&program).expect("there").len();
    let addresses = addresses_in_functions(&program, 60);
    let stacks = stacks();
    let pid = std::process::id();
    for length in [length - 1, length * 3 / 4, length / 2, 5000, 63, 1, 0] {
        let copy = folder.path().join(format!("cut-to-{length}"));
        std::fs::copy(&program, &copy).expect("copied");
        let code = Mapped::new(&copy);
        let place = |a: &u64| a - text.0 + text.1 + code.0 as u64;
        let at: Vec<u64> = addresses.iter().map(place).collect();
        // The kernel's news of the mapping take a moment to settle.
        std::thread::sleep(Duration::from_millis(5));
        let whole = observed(&stacks, pid, &at[..20]);
        let mut calls = whole.iter().map(|(calls, _)| calls);
        assert!(calls.all(|calls| !calls.is_empty()), "{length}: {whole:?}");
        let file = std::fs::OpenOptions::new().write(true).open(&copy);
        file.expect("opened").set_len(length).expect("cut");
        // By those who saw it whole, and by those who see it now.
        for stacks in [&stacks, &self::stacks()] {
            assert_eq!(observed(stacks, pid, &at[20..]).len(), 40, "{length}");
        }
    }
}

/// Maps a page to execute, writes a perf map of it, says where it is and waits.
/// Usage: `jit PID`.
const JIT: &str = r#"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **arguments) {
    void *code = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(path, "w");
    fprintf(map, "%lx 80 JS:*answer app.js:42\n", (unsigned long) code);
    fclose(map);
    if (count > 1) chown(path, 4242, 4242);
    printf("%lx\n", (unsigned long) code);
    fflush(stdout);
    pause();
}
"#;

/// Checks that code made at run time in its own mount and PID namespace is named
/// by its perf map, also when its process ended, and that a map which belongs to
/// another user is not believed.
#[test]
fn perf_map_in_namespaces() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("jit.c"), JIT).expect("written");
    shell(folder.path(), "cc -o jit jit.c");
    for (argument, is_named) in [("", true), ("foreign", false)] {
        let stacks = stacks();
        let script = format!("mount -t tmpfs none /tmp && exec ./jit {argument}");
        let mut outer = Guard(
            Command::new("unshare")
                .args(["-m", "-p", "-f", "--kill-child", "sh", "-c", &script])
                .current_dir(folder.path())
                .stdout(Stdio::piped())
                .spawn()
                .expect("unshare"),
        );
        let mut line = String::new();
        let out = outer.0.stdout.take().expect("piped");
        std::io::BufReader::new(out)
            .read_line(&mut line)
            .expect("it says");
        let address = u64::from_str_radix(line.trim(), 16).expect("an address");
        let children = format!("/proc/{0}/task/{0}/children", outer.0.id());
        let inner = std::fs::read_to_string(children).expect("children");
        let inner: u32 = inner.trim().parse().expect("one child");
        // The kernel's news of the mapping take a moment to settle.
        std::thread::sleep(Duration::from_millis(5));
        // Something else is named while it lives.
        assert_eq!(observed(&stacks, inner, &[16]), [(vec![], vec![])]);
        drop(outer);
        let gone = || !Path::new(&format!("/proc/{inner}")).exists();
        assert!((0..LOOKS).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            gone()
        }));
        let names = observed(&stacks, inner, &[address + 0x10]);
        let expected = vec![("JS:*answer app.js:42".to_owned(), 0)];
        let expected = if is_named { expected } else { Vec::new() };
        assert_eq!(names[0].1, expected);
    }
}

/// Checks that the stubs of all kinds of procedure linkage tables have the names
/// that objdump gives them.
#[test]
fn stubs_of_linkage_tables() {
    let kinds = ["-Wl,-z,lazy", "-Wl,-z,now", "-fcf-protection -Wl,-z,ibtplt"];
    for flags in kinds {
        let folder = tempfile::tempdir().expect("folder");
        let program = compile(folder.path(), flags);
        let mut objdump = Command::new("objdump");
        for section in [".plt", ".plt.sec", ".plt.got"] {
            if sections(&program).contains_key(section) {
                objdump.args(["-j", section]);
            }
        }
        let text = run(objdump.arg("-d").arg(&program));
        // 0000000000003040 <strlen@plt>:
        let parse = |line: &str| {
            let (address, name) = line.split_once(" <")?;
            let name = name.strip_suffix(">:")?.to_owned();
            let is_stub = name.ends_with("@plt");
            is_stub.then_some((u64::from_str_radix(address, 16).ok()?, name))
        };
        let stubs: Vec<(u64, String)> = text.lines().filter_map(parse).collect();
        assert!(stubs.len() > 10, "{flags}: {text}");
        let (process, code) = started(&mut Command::new(&program), &program);
        // In the middle of a stub.
        let addresses: Vec<u64> = stubs.iter().map(|(at, _)| at + 4).collect();
        let at = runtime(&program, code, &addresses);
        let ours = observed(&stacks(), process.0.id(), &at);
        for ((_, theirs), (ours, _)) in stubs.iter().zip(ours) {
            let ours = ours.first().map(|(name, _)| name.clone());
            // A name without its version.
            let theirs = theirs.split('@').next().expect("a name");
            assert_eq!(ours, Some(format!("{theirs}@plt")), "{flags}");
        }
    }
}

/// Checks that every address that perf can name in python3 and in node, with the
/// code that node makes, has a name.
#[test]
fn what_perf_names_is_named() {
    if !is_root() {
        return;
    }
    let python = "import json, time
while True:
    text = json.dumps({str(time.time()): [n, str(n)] for n in range(200)})
    json.loads(text); sorted(text)";
    let node = "function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
        function spin(n) { let a = [n]; for (let i = 1; i < 1e5; i++) a[i & 63] = (a[i >> 3 & 63] | 0) * 31 + i; return a; }
        for (;;) { fib(22); spin(fib(20)); const o = {}; for (let i = 0; i < 2000; i++) o['k' + i] = [i, '' + i];
        JSON.parse(JSON.stringify(o)); Object.keys(o).sort().join(',').replace(/1/g, 'x'); }";
    let mut programs = vec![("python3.11", vec!["-c", python])];
    if let Ok(version) = Command::new("node").arg("--version").output() {
        assert!(version.status.success());
        programs.push(("node", vec!["--perf-basic-prof", "-e", node]));
        // By jitdump, which perf itself wouldn't read without a step more.
        programs.push(("node", vec!["--perf-prof", "-e", node]));
    } else {
        packages::missing("nodejs");
    }
    for (program, arguments) in programs {
        let stacks = stacks();
        let folder = tempfile::tempdir().expect("folder");
        let process = Guard(
            Command::new(Path::new("/usr/bin").join(program))
                .args(&arguments)
                .current_dir(folder.path())
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}")),
        );
        let pid = process.0.id();
        let _map = Remove(format!("/tmp/perf-{pid}.map").into());
        // It begins with what it does once only.
        std::thread::sleep(Duration::from_millis(300));
        let data = folder.path().join("data");
        let mut perf = packages::program("perf", "linux-perf").expect("perf");
        run(perf
            .args([
                "record",
                "-q",
                "-F",
                "999",
                "-e",
                "cpu-clock:u",
                "-p",
                &pid.to_string(),
            ])
            .arg("-o")
            .arg(&data)
            .args(["--", "sleep", "1"]));
        let mut perf = packages::program("perf", "linux-perf").expect("perf");
        let text = run(perf.args(["script", "-F", "ip,sym", "-i"]).arg(&data));
        let parse = |line: &str| {
            let (ip, name) = line.trim().split_once(' ')?;
            let ip = u64::from_str_radix(ip, 16).ok()?;
            Some((ip, name.trim().to_owned()))
        };
        let theirs: BTreeMap<u64, String> = text.lines().filter_map(parse).collect();
        let addresses: Vec<u64> = theirs.keys().copied().collect();
        let ours = observed(&stacks, pid, &addresses);
        let (mut both, mut neither, mut only_ours) = (0, 0, 0);
        for ((ip, theirs), (ours, _)) in theirs.iter().zip(&ours) {
            match (theirs.as_str(), ours.is_empty()) {
                ("[unknown]", true) => neither += 1,
                ("[unknown]", false) => only_ours += 1,
                (_, true) => panic!("{program}: {ip:#x} is {theirs}"),
                _ => both += 1,
            }
        }
        println!("{program}: both name {both} addresses, neither {neither}, only we {only_ours}");
        assert!(both > 20, "{program}: {text}");
        // node writes its file 2 MiB at a time, so the newest code isn't in it.
        let has_dump = arguments.contains(&"--perf-prof");
        assert!(!has_dump || only_ours > 0, "nothing by jitdump");
    }
}

/// Removes a file when the test is over.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        // It may not have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Checks that files with wrong bytes, in their headers and tables and in their
/// debug information, do no more than lack names.
#[test]
fn broken_files() {
    let folder = tempfile::tempdir().expect("folder");
    let program = compile(folder.path(), "");
    let parts = sections(&program);
    let text = parts[".text"];
    let bytes = std::fs::read(&program).expect("read");
    let addresses = addresses_in_functions(&program, 40);
    let stacks = stacks();
    let mut named = 0;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    // The tables of segments and sections, of symbols, what the compiler says.
    let end = bytes.len() as u64;
    let whole = |name: &str| (parts[name].1, parts[name].2);
    let mut places = vec![(0, 1024), (end - 2600, 2600)];
    places.extend([".symtab", ".strtab", ".rela.plt", ".debug_info"].map(whole));
    places.extend([".debug_abbrev", ".debug_line", ".debug_aranges"].map(whole));
    places.extend(parts.get(".debug_rnglists").map(|s| (s.1, s.2)));
    for turn in 0..places.len() * 4 {
        let (at, length) = places[turn % places.len()];
        let mut broken = bytes.clone();
        for _ in 0..1 + next(30) {
            let value = [0, 0xff, 0x7f, 0x80, next(256) as u8][next(5) as usize];
            broken[(at + next(length)) as usize] = value;
        }
        let copy = folder.path().join(format!("broken-{turn}"));
        std::fs::write(&copy, broken).expect("written");
        let code = Mapped::new(&copy);
        std::thread::sleep(Duration::from_millis(5));
        let place = |a: &u64| a - text.0 + text.1 + code.0 as u64;
        let places: Vec<u64> = addresses.iter().map(place).collect();
        let names = observed(&stacks, std::process::id(), &places);
        assert_eq!(names.len(), addresses.len());
        named += names.iter().filter(|(calls, _)| !calls.is_empty()).count();
    }
    assert!(named > 0, "some names are left");
}

/// Checks the C library's names and lines at 1,000 addresses against addr2line,
/// with the debug files that Debian compresses and finds by build id.
#[test]
fn debug_file_of_the_c_library() {
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    let notes = run(Command::new("readelf").arg("-n").arg(libc));
    let id = notes.lines().find_map(|l| l.split_once("Build ID: "));
    let id = id.expect("a build id").1;
    let debug = format!("/usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]);
    let debug = Path::new(&debug);
    if !debug.exists() {
        packages::missing("libc6-dbg");
        return;
    }
    let (process, code) = started(Command::new("sleep").arg("60"), libc);
    let addresses = addresses_in_functions(debug, 1000);
    let at = runtime(libc, code, &addresses);
    let ours = observed(&stacks(), process.0.id(), &at);
    let linkage: Vec<_> = ours.into_iter().map(|(linkage, _)| linkage).collect();
    let theirs = addr2line(debug, "-aif", &addresses);
    compare(debug, &addresses, &linkage, &theirs, 0);
}
