//! The systemd unit, without systemd: its command is run with its user, its
//! capabilities and its watchdog, and what its filter must let through is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::manager::Manager;
use super::tree::Tree;
use crate::dist::contents::UNIT;

/// How long the unit's command runs in a check.
const SECONDS: &str = "6s";

/// The settings of a unit, in order.
pub struct Unit(Vec<(String, String)>);

impl Unit {
    /// Reads the one that is installed in a system.
    pub fn of(tree: &Tree) -> Result<Self> {
        Ok(Self::parse(&tree.read(UNIT)?))
    }

    /// Reads the lines that set something.
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with(['#', ';', '[']));
        let settings = lines.filter_map(|line| line.split_once('='));
        Self(
            settings
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// All values of a key.
    pub fn all(&self, key: &str) -> Vec<&str> {
        let settings = self.0.iter().filter(|(name, _)| name == key);
        settings.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a key.
    pub fn one(&self, key: &str) -> Result<&str> {
        match self.all(key).as_slice() {
            [value] => Ok(*value),
            values => bail!("the unit has {key}= {} times instead of once", values.len()),
        }
    }

    /// Its command as its user, with its capabilities and no others.
    pub fn command(&self, tree: &Tree, more: &[&str]) -> Result<Command> {
        let mut arguments = Vec::new();
        let user = self.one("User")?;
        ensure!(self.one("Group")? == user, "user and group differ");
        arguments.extend([format!("--reuid={user}"), format!("--regid={user}")]);
        arguments.push("--clear-groups".to_owned());
        let bounding = capabilities(self.one("CapabilityBoundingSet")?);
        let ambient = capabilities(self.one("AmbientCapabilities")?);
        arguments.push(format!("--bounding-set=-all{bounding}"));
        arguments.push(format!("--inh-caps=-all{ambient}"));
        arguments.push(format!("--ambient-caps=-all{ambient}"));
        ensure!(
            self.one("NoNewPrivileges")? == "yes",
            "it could get privileges"
        );
        arguments.push("--no-new-privs".to_owned());
        let mut command = tree.command("setpriv");
        command.args(arguments).arg("--");
        command
            .args(self.one("ExecStart")?.split_whitespace())
            .args(more);
        Ok(command)
    }
}

/// `CAP_BPF CAP_SYSLOG` as setpriv wants it.
fn capabilities(names: &str) -> String {
    let names = names.split_whitespace();
    let lower = names.map(|name| name.trim_start_matches("CAP_").to_lowercase());
    lower.map(|name| format!(",+{name}")).collect()
}

/// Starts the unit's command, and checks that figures come of a known program, that the
/// service manager is told what it waits for, and that the memory is enough.
pub fn observes(tree: &Tree) -> Result<()> {
    let unit = Unit::of(tree)?;
    let manager = Manager::start(&tree.root.join("run/notify"))?;
    let mut load = Load::start()?;
    let mut daemon = unit.command(tree, &["--interval", "2s", "--duration", SECONDS])?;
    daemon
        .env("NOTIFY_SOCKET", "/run/notify")
        .env("WATCHDOG_USEC", "1000000");
    let mut daemon = daemon
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the unit's command")?;
    let first = manager.next();
    let memory = first.as_ref().ok().map(|_| memory(daemon.id()));
    if first.is_err() {
        let _ = daemon.kill();
    }
    let out = daemon.wait_with_output().context("cannot wait")?;
    load.stop();
    let first = first.with_context(|| String::from_utf8_lossy(&out.stderr).into_owned())?;
    ensure!(first == "READY=1", "told first: {first:?}");
    ensure_seen(&out)?;
    let rest = manager.rest();
    for message in ["WATCHDOG=1", "STOPPING=1"] {
        ensure!(rest.contains(message), "{message} never came, but {rest:?}");
    }
    let used = memory.context("no memory was measured")??;
    let limit = unit.one("MemoryMax")?;
    ensure!(limit == "1G", "this check knows only a MemoryMax= of 1G");
    ensure!(
        used < (1 << 30) / 2,
        "{used} bytes are used on this machine, of {limit} that it may have on a large one"
    );
    println!("  at its start {} MiB of MemoryMax={limit}", used >> 20);
    Ok(())
}

/// Fails unless a daemon that ended saw [`Load`].
pub fn ensure_seen(out: &Output) -> Result<()> {
    let summary = String::from_utf8_lossy(&out.stdout);
    let log = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{}: {summary}\n{log}", out.status);
    ensure_in_summary(&summary, "dd", &log)
}

/// Fails unless one of the summaries in a text has a program, its calls and its time on
/// CPU.
pub fn ensure_in_summary(text: &str, program: &str, log: &str) -> Result<()> {
    for section in ["CPU", "SYSCALLS"] {
        let mut here = false;
        let found = text.lines().any(|line| {
            // A journal keeps no empty lines.
            if line.is_empty() || is_heading(line) {
                here = line.starts_with(section);
            }
            here && line.split_whitespace().next() == Some(program)
        });
        ensure!(
            found,
            "nothing of {program} under {section}:\n{text}\n{log}"
        );
    }
    Ok(())
}

/// Does a section of a summary begin here? Programs' names are seldom all capitals.
fn is_heading(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// What a daemon holds, in bytes: its own at most, and the kernel's for its maps and
/// programs.
fn memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let own = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let own = own.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let own = own.context("the kernel tells no VmHWM")? * 1024;
    let mut maps = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        let field = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key))?;
            value.trim().parse::<u64>().ok()
        };
        let id = field("map_id:").or(field("prog_id:"));
        if let (Some(id), Some(bytes)) = (id, field("memlock:")) {
            maps.insert((id, field("map_id:").is_some()), bytes);
        }
    }
    ensure!(
        maps.len() > 20,
        "only {} maps and programs are held",
        maps.len()
    );
    Ok(own + maps.values().sum::<u64>())
}

/// A program whose name is known.
pub struct Load(std::process::Child);

impl Load {
    /// Starts dd, which calls read and write again and again.
    pub fn start() -> Result<Self> {
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "of=/dev/null", "bs=1"])
            .stderr(Stdio::null());
        Ok(Self(dd.spawn().context("cannot start dd")?))
    }

    /// Ends it.
    pub fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Traces the unit's command, and checks that its filter lets through all that it calls.
pub fn filter_is_enough(tree: &Tree) -> Result<()> {
    let unit = Unit::of(tree)?;
    let allowed = allowed(&unit)?;
    let ours = unit.command(tree, &["--interval", "1s", "--duration", SECONDS])?;
    let trace = tempfile::NamedTempFile::new()?;
    let mut strace = Command::new("strace");
    strace
        .args(["--follow-forks", "--quiet=all", "--output"])
        .arg(trace.path());
    strace
        .arg("--")
        .arg(ours.get_program())
        .args(ours.get_args());
    strace.env_clear();
    strace.envs(
        ours.get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    super::output(&mut strace)?;
    let program = unit.one("ExecStart")?.split_whitespace().next();
    let begins = format!("execve(\"{}\"", program.context("no command")?);
    let traced = std::fs::read_to_string(trace.path())?;
    let lines = traced.lines().skip_while(|line| !line.contains(&begins));
    let called: BTreeSet<&str> = lines.skip(1).filter_map(call).collect();
    ensure!(called.len() > 30, "only {called:?} were called");
    ensure!(called.contains("bpf"), "bpf was never called");
    let refused: Vec<_> = called
        .iter()
        .filter(|name| !allowed.contains(**name))
        .collect();
    ensure!(
        refused.is_empty(),
        "the unit's SystemCallFilter= refuses {refused:?}"
    );
    println!("  {} system calls, all let through", called.len());
    Ok(())
}

/// The system call's name in a line like `1234  openat(AT_FDCWD, …`.
fn call(line: &str) -> Option<&str> {
    let rest = line
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start();
    let (name, _) = rest.split_once('(')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some(name)
}

/// What the filter lets through.
fn allowed(unit: &Unit) -> Result<BTreeSet<String>> {
    let listed =
        super::output(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager"]))?;
    let groups = groups(&listed);
    // systemd lets these through whatever else is said.
    let mut allowed = BTreeSet::new();
    resolve("@default", &groups, &mut allowed)?;
    for line in unit.all("SystemCallFilter") {
        let (without, names) = match line.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, line),
        };
        let mut named = BTreeSet::new();
        for name in names.split_whitespace() {
            resolve(name, &groups, &mut named)?;
        }
        if without {
            allowed.retain(|name| !named.contains(name));
        } else {
            allowed.extend(named);
        }
    }
    Ok(allowed)
}

/// The groups of system calls as `systemd-analyze syscall-filter` lists them.
fn groups(listed: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut group = None;
    for line in listed.lines() {
        let name = line.trim_start();
        if line.starts_with('@') {
            group = Some(name);
        } else if line.is_empty() {
            group = None;
        } else if let (Some(group), false) = (group, name.starts_with('#')) {
            groups.entry(group).or_default().push(name);
        }
    }
    groups
}

fn resolve(
    name: &str,
    groups: &BTreeMap<&str, Vec<&str>>,
    into: &mut BTreeSet<String>,
) -> Result<()> {
    if !name.starts_with('@') {
        into.insert(name.to_owned());
        return Ok(());
    }
    let members = groups
        .get(name)
        .with_context(|| format!("systemd knows no {name}"))?;
    for member in members {
        resolve(member, groups, into)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(name: &str) -> String {
        std::fs::read_to_string(crate::checkout().join(name)).expect(name)
    }

    /// The capabilities that docs/permissions.md gives to whoever isn't root.
    fn documented() -> Vec<String> {
        let page = committed("docs/permissions.md");
        let line = page.lines().find(|line| line.starts_with("setcap "));
        let names = line
            .and_then(|line| line.split_whitespace().nth(1))
            .expect("a list");
        let names = names.trim_end_matches("+ep").split(',');
        names.map(str::to_uppercase).collect()
    }

    /// Checks that the unit has exactly the documented capabilities, and that the
    /// manifests for Kubernetes have them, too.
    #[test]
    fn capabilities_are_the_documented_ones() {
        let documented = documented();
        assert!(documented.len() > 3, "{documented:?}");
        let unit = Unit::parse(&committed("deploy/systemd/observer.service"));
        for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
            let given: Vec<&str> = unit.one(key).expect(key).split_whitespace().collect();
            assert_eq!(given, documented, "{key}");
        }
        let short: Vec<&str> = documented
            .iter()
            .map(|name| &name["CAP_".len()..])
            .collect();
        let line = format!("add: [{}]", short.join(", "));
        for manifest in [
            "deploy/kubernetes/daemonset.yaml",
            "deploy/helm/observer/templates/daemonset.yaml",
        ] {
            assert!(committed(manifest).contains(&line), "{manifest}: no {line}");
        }
    }

    /// Checks that nothing in the unit hides what Observer reads, though it looks like
    /// hardening: `systemd.exec(5)` says what each takes away.
    #[test]
    fn hardening_does_not_blind() {
        let unit = Unit::parse(&committed("deploy/systemd/observer.service"));
        let blinding = [
            "DynamicUser",
            "PrivateNetwork",
            "PrivatePIDs",
            "PrivateUsers",
            "ProcSubset",
            "ProtectKernelLogs",
            "ProtectKernelTunables",
            "ProtectProc",
        ];
        for key in blinding {
            assert!(unit.all(key).is_empty(), "{key}");
        }
        assert_eq!(unit.one("Type").expect("a type"), "notify");
        assert!(unit.one("WatchdogSec").is_ok() && unit.one("MemoryMax").is_ok());
    }

    /// Checks that a program is found in its section only, also of a later summary, and
    /// in a journal.
    #[test]
    fn sections() {
        let summary = |cpu, calls| format!("CPU  of a core\n{cpu}\n\nSYSCALLS\n{calls}\n\n");
        let seen = |text: &str| ensure_in_summary(text, "dd", "");
        let text = summary("sh 1", "sh 2") + &summary("dd 1", "sh 3");
        let error = seen(&text).expect_err("no calls of dd");
        assert!(error.to_string().contains("under SYSCALLS"), "{error}");
        let text = text + &summary("sh 1", "dd 3");
        seen(&text).expect("all of dd");
        seen(&text.replace("\n\n", "\n")).expect("all of dd");
        let journal = "CPU\nsh 1\nSYSCALLS\ndd 1\n";
        let error = seen(journal).expect_err("no time of dd");
        assert!(error.to_string().contains("under CPU"), "{error}");
        seen("CPU\n\ndd 1\n").expect_err("not in a section");
    }

    /// Checks that a filter's groups are resolved, and what it takes away is taken.
    #[test]
    fn filters_are_resolved() {
        let listed =
            "@default\n    # Always\n    read\n\n@a\n    # A\n    @b\n    x\n\n@b\n    y\n    z\n";
        let groups = groups(listed);
        let mut all = BTreeSet::new();
        resolve("@a", &groups, &mut all).expect("groups");
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(all, ["x", "y", "z"]);
        assert!(resolve("@c", &groups, &mut BTreeSet::new()).is_err());
        assert_eq!(call("12  openat(AT_FDCWD, \"x\")"), Some("openat"));
        assert_eq!(call("12  <... futex resumed>) = 0"), None);
        assert_eq!(call("12  +++ exited with 0 +++"), None);
        assert_eq!(capabilities("CAP_BPF CAP_SYSLOG"), ",+bpf,+syslog");
    }
}
