//! `observer check` against what `observer run` really does. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use observer_testkit::{daemon, observer_bin};
use observer_userspace::kernel::loaded;
use serde_json::Value;

/// Bytes of a program's name that the kernel keeps (`BPF_OBJ_NAME_LEN`,
/// include/uapi/linux/bpf.h, with a NUL).
const NAME: usize = 15;

/// What `observer check` says with these arguments, and its exit status.
fn check(arguments: &[&str]) -> Result<(Vec<Value>, i32)> {
    let mut command = Command::new(observer_bin());
    command.args(["check", "--json"]).args(arguments);
    let output = command.output().context("cannot start observer")?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let items = report["items"].as_array().context("a list")?.clone();
    Ok((items, output.status.code().context("a status")?))
}

/// The programs of a group, as `check` names them: `family: program`.
fn programs(items: &[Value], group: &str) -> BTreeSet<String> {
    let of_group = items.iter().filter(|item| item["group"] == group);
    let names = of_group.filter_map(|item| item["name"].as_str()?.split_once(": "));
    names.map(|(_, program)| program.to_owned()).collect()
}

/// Checks that `check` tries exactly the programs that `run` loads with the same
/// options, by the kernel's account of the daemon.
#[test]
fn tries_what_run_attaches() -> Result<()> {
    for arguments in [
        &[][..],
        &["--probes", "requests", "--requests-by-descriptor", "true"],
        &["--probes", "cpu,tcp"],
        &["--probes", "offcpu,syscalls", "--kernel-debug=true"],
    ] {
        let mut observer = daemon::start(arguments)?;
        let loaded = loaded::programs(observer.pid())?;
        let loaded: BTreeSet<String> = loaded.into_iter().map(|program| program.name).collect();
        observer.wait_until(|_| Ok(true))?;
        observer.end()?;
        let (items, status) = check(arguments)?;
        let tried = programs(&items, "probes");
        let cut = tried
            .iter()
            .map(|name| name[..name.len().min(NAME)].to_owned());
        assert_eq!(cut.collect::<BTreeSet<_>>(), loaded, "{arguments:?}");
        ensure!(status != 2, "{arguments:?}: {items:?}");
    }
    Ok(())
}

/// Checks that by default the programs are tried, too, that only the other
/// commands attach, each apart from those of `run`.
#[test]
fn tries_what_other_commands_attach() -> Result<()> {
    let (items, _) = check(&[])?;
    let others = programs(&items, "probes of record and trace");
    let expected = [
        "identity_exit",
        "identity_fork",
        "offcpu_enter",
        "offcpu_exit",
    ];
    assert_eq!(others, expected.map(str::to_owned).into());
    let tried = programs(&items, "probes");
    ensure!(others.is_disjoint(&tried), "{others:?} {tried:?}");
    Ok(())
}

/// The kernel's types with other names for some: as long, so that nothing else
/// changes.
fn renamed(names: &[(&str, &str)], to: &Path) -> Result<()> {
    let mut types = fs::read("/sys/kernel/btf/vmlinux")?;
    for (name, other) in names {
        ensure!(name.len() == other.len(), "{name}, {other}");
        // Names end with a NUL, and begin behind that of another.
        let whole = format!("\0{name}\0");
        let at = types
            .windows(whole.len())
            .position(|bytes| bytes == whole.as_bytes());
        let at = at.with_context(|| format!("this kernel knows no {name}"))? + 1;
        types[at..at + name.len()].copy_from_slice(other.as_bytes());
    }
    Ok(fs::write(to, types)?)
}

/// Checks that programs whose field or hook is taken away are named by `check`
/// with the kind of reason and what mends it, and that `run` goes on with all
/// others.
#[test]
fn what_is_taken_away_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let types = folder.path().join("types");
    let names = [
        ("on_cpu", "no_cpu"),
        ("btf_trace_tcp_send_reset", "btf_trace_tcp_send_nobody"),
    ];
    let names = names.map(|(name, other)| (name, &other[..name.len()]));
    renamed(&names, &types)?;
    let types = types.to_str().context("a path")?;
    let (whole, _) = check(&[])?;
    let (items, status) = check(&["--btf", types])?;
    assert_eq!(status, 1);
    let is_taken = |item: &&Value| item["kind"].is_string();
    let taken: Vec<_> = items.iter().filter(is_taken).collect();
    let kinds: BTreeSet<_> = taken
        .iter()
        .map(|item| (item["name"].as_str(), item["kind"].as_str()))
        .collect();
    let expected = [
        (Some("offcpu: offcpu_threads"), Some("no_field")),
        (Some("tcp: tcp_reset_out"), Some("no_hook")),
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
    for (item, reason) in taken
        .iter()
        .zip(["task_struct.on_cpu", "tracepoint tcp_send_reset"])
    {
        assert_eq!(item["status"], "degraded");
        let said = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        ensure!(said("lost").contains(reason), "{item}");
        ensure!(
            said("remedy").contains("boot a kernel that has it"),
            "{item}"
        );
    }

    let observer = daemon::start(&["--btf", types])?;
    let printed = observer.printed()?;
    let loaded = loaded::programs(observer.pid())?;
    observer.end()?;
    let families = "sched, syscalls, cpu, offcpu, block, tcp, requests";
    ensure!(
        printed.contains(&format!("observing {families}")),
        "{printed}"
    );
    let left = programs(&whole, "probes").len() - taken.len();
    assert_eq!(loaded.len(), left, "{printed}");
    Ok(())
}
