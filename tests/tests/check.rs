//! `observer check` against what `observer run` really does. Needs root.

use std::collections::BTreeSet;
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
        &["--probes", "offcpu,syscalls", "--kernel-debug", "true"],
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
