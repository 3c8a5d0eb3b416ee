//! `observer check` against what `observer run` really does. Needs root.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use observer_testkit::btf::Types;
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

/// Checks that programs of which something is taken away (a hook, a field, an
/// enumerator) or of another size are named by `check` and by `run` with the kind
/// of reason and what mends it, and that `run` goes on with all others.
#[test]
fn what_is_taken_away_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("types");
    let mut types = Types::of_this_kernel()?;
    types.hide("on_cpu")?;
    types.hide("btf_trace_tcp_send_reset")?;
    types.hide("btf_trace_kfree_skb")?;
    types.hide("__RQF_IO_STAT")?;
    types.resize("tcp_sock", "total_retrans", 2)?;
    types.write(&path)?;
    let types = path.to_str().context("a path")?;
    let (whole, _) = check(&[])?;
    let (items, status) = check(&["--btf", types])?;
    assert_eq!(status, 1);
    let is_taken = |item: &&Value| item["kind"].is_string();
    let taken: Vec<_> = items.iter().filter(is_taken).collect();
    let kinds: BTreeSet<_> = taken
        .iter()
        .map(|item| (item["name"].as_str(), item["kind"].as_str()))
        .collect();
    let flag = "enum rqf_flags.__RQF_IO_STAT";
    let size = "tcp_sock.total_retrans of 2 bytes, where 4 are read";
    let expected = [
        ("offcpu: offcpu_threads", "no_field", "task_struct.on_cpu"),
        (
            "identity: identity_program",
            "no_field",
            "task_struct.on_cpu",
        ),
        ("tcp: tcp_reset_out", "no_hook", "tracepoint tcp_send_reset"),
        ("net: net_drop", "no_hook", "tracepoint kfree_skb"),
        ("block: block_complete", "no_field", flag),
        ("block: block_done", "no_field", flag),
        ("block: block_issue", "no_field", flag),
        ("tcp: tcp_state", "field_size", size),
        ("tcp: tcp_destroy", "field_size", size),
        ("tcp: tcp_retransmit", "field_size", size),
        ("tcp: tcp_holders", "field_size", size),
        ("tcp: tcp_orphans", "field_size", size),
    ];
    let named = expected.map(|(name, kind, _)| (Some(name), Some(kind)));
    assert_eq!(kinds, BTreeSet::from(named));
    for item in taken {
        assert_eq!(item["status"], "degraded");
        let said = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let (_, kind, reason) = expected
            .iter()
            .find(|(name, ..)| item["name"] == *name)
            .context("an expected one")?;
        ensure!(said("lost").contains(reason), "{item}");
        let remedy = match *kind {
            "field_size" => "boot another kernel",
            _ => "boot a kernel that has it",
        };
        ensure!(said("remedy").contains(remedy), "{item}");
    }

    let observer = daemon::start(&["--btf", types])?;
    let printed = observer.printed()?;
    let loaded = loaded::programs(observer.pid())?;
    observer.end()?;
    let families = "sched, syscalls, cpu, offcpu, tcp, requests";
    ensure!(
        printed.contains(&format!("observing {families}")),
        "{printed}"
    );
    for (program, _, reason) in expected {
        let program = program.split_once(": ").map_or(program, |(_, name)| name);
        let said = |line: &str| {
            line.contains(&format!("{program} is not attached")) && line.contains(reason)
        };
        ensure!(printed.lines().any(said), "{program}: {printed}");
    }
    let left = programs(&whole, "probes").len() - expected.len();
    assert_eq!(loaded.len(), left, "{printed}");
    Ok(())
}
