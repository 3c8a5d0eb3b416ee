//! Checks that the command line answers mistakes as promised: one clear line on
//! standard error and status 2, before anything is attached.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use observer_testkit::observer_bin;

const NOBODY: u32 = 65534;

fn observer(arguments: &[&str]) -> Command {
    let mut command = Command::new(observer_bin());
    command.args(arguments);
    // The developer's own settings must not decide.
    for (key, _) in std::env::vars() {
        if key.starts_with("OTEL_") || key.starts_with("OBSERVER_") {
            command.env_remove(key);
        }
    }
    command
}

/// The one line on standard error of a command that must fail with status 2.
fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stdout, "");
    assert!(stderr.ends_with('\n'), "{stderr:?}");
    assert_eq!(stderr.lines().count(), 1, "{stderr:?}");
    assert!(stderr.starts_with("observer: "), "{stderr:?}");
    stderr
}

fn refused(arguments: &[&str]) -> String {
    complaint(&observer(arguments).output().expect("observer starts"))
}

/// Checks that wrong arguments are refused, and that the line names what is
/// wrong and what was probably meant.
#[test]
fn wrong_arguments_are_one_line() {
    let table: &[(&[&str], &[&str])] = &[
        (&[], &["run, record, trace or check"]),
        (&["runn"], &["runn", "'run'"]),
        (&["run", "--intervl", "5s"], &["--intervl", "--interval"]),
        (&["run", "--interval", "5"], &["--interval", "10s"]),
        (&["run", "--interval", "0s"], &["longer than zero"]),
        (&["run", "--duration", "x"], &["--duration"]),
        (&["run", "--probes", "syscalls,tpc"], &["`tpc`", "`tcp`"]),
        (&["run", "--probes", ""], &["--probes"]),
        (&["run", "--frequency", "0"], &["--frequency", "10000"]),
        (&["run", "--pid", "0"], &["--pid"]),
        (&["run", "--pid", "1073741824"], &["no process 1073741824"]),
        (
            &["run", "--cgroup", "/no/such/cgroup"],
            &["/no/such/cgroup"],
        ),
        (&["run", "--cgroup", "/proc"], &["/proc"]),
        (&["run", "--log-format", "yaml"], &["yaml", "json"]),
        (&["run", "--log-level", "loud"], &["loud", "debug"]),
        (&["run", "--table-ring", "3000"], &["power of two"]),
        (&["run", "--config", "/no/such/file"], &["/no/such/file"]),
        (&["run", "surplus"], &["surplus"]),
        (&["record", "--frequency", "fast"], &["fast"]),
        (&["check", "--jsn"], &["--json"]),
    ];
    for (arguments, expected) in table {
        let line = refused(arguments);
        for part in *expected {
            assert!(line.contains(part), "{arguments:?}: {line}");
        }
    }
}

/// Checks that endpoints that can't be one are refused, wherever they come from.
#[test]
fn wrong_endpoints_are_one_line() {
    for url in [
        "localhost:4318",
        "ftp://localhost:4317",
        "http://",
        "http://a b",
        "http://x:99999",
    ] {
        let line = refused(&["run", "--otlp-endpoint", url]);
        assert!(line.contains("--otlp-endpoint"), "{line}");
        let output = observer(&["run"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            .output()
            .expect("observer starts");
        let line = complaint(&output);
        assert!(line.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{line}");
    }
    let line = refused(&[
        "run",
        "--otlp-endpoint",
        "http://x:4318",
        "--otlp-protocol",
        "grcp",
    ]);
    assert!(line.contains("grcp"), "{line}");
}

/// Checks that a daemon from which nothing would leave is refused.
#[test]
fn no_way_out_is_one_line() {
    let line = refused(&["run", "--summary=false"]);
    assert!(line.contains("--otlp-endpoint"), "{line}");
}

/// Checks that output files of an unknown kind, or in no folder, are refused.
#[test]
fn wrong_outputs_are_one_line() {
    let table = [
        ("profile.png", "profile.png"),
        ("profile", "profile"),
        ("profile.pb", "profile.pb"),
        ("/no/such/folder/a.svg", "/no/such/folder"),
    ];
    for (file, expected) in table {
        let line = refused(&["record", "-o", file]);
        assert!(line.contains(expected), "{line}");
    }
}

/// Checks that mistakes in the configuration file are found on their line.
#[test]
fn wrong_files_name_the_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("observer.toml");
    let table = [
        ("interval = '5s'\nintreval = '1s'\n", ":2: ", "`interval`"),
        ("[otlp]\nendpint = 'x'\n", ":2: ", "`endpoint`"),
        ("[otlp\n", ":1: ", "unclosed table"),
        ("\n\n[tables]\nring = 'much'\n", ":4: ", "not a size"),
        ("interval = 5\n", ":1: ", "not a duration"),
        ("[otlp]\nendpoint = 'nonsense'\n", "", "otlp.endpoint"),
    ];
    for (text, place, expected) in table {
        fs::write(&path, text).expect("a file");
        let line = refused(&["run", "--config", &path.to_string_lossy()]);
        assert!(line.contains(place) && line.contains(expected), "{line}");
    }
}

/// Checks that the file can be named by the environment, and that a correct
/// file and correct flags get as far as the question of privileges.
#[test]
fn without_privileges_capabilities_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
    // `nobody` may not be able to walk to the target folder.
    let binary = folder.path().join("observer");
    fs::copy(observer_bin(), &binary).expect("a copy of the binary");
    let config = folder.path().join("observer.toml");
    fs::write(&config, "interval = '5s'\n[spans]\nrate = 3\n").expect("a file");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("our file");

    let unprivileged = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(arguments).env_clear().current_dir("/");
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    for arguments in [
        &["run"][..],
        &["record", "-o", "-"],
        &["run", "--duration", "1s"],
    ] {
        let mut command = unprivileged(arguments);
        let output = command.env("OBSERVER_CONFIG", &config).output();
        let line = complaint(&output.expect("observer starts"));
        for name in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"] {
            assert!(line.contains(name), "{line}");
        }
    }

    // `check` works without privileges: that is when it is needed most.
    let output = unprivileged(&["check"]).output().expect("observer starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("missing") && text.contains("CAP_BPF"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "no colours without a terminal");

    let output = unprivileged(&["check", "--json"])
        .output()
        .expect("observer starts");
    assert_eq!(output.status.code(), Some(2));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["status"], "missing");
    let bpf = json["items"]
        .as_array()
        .and_then(|items| items.iter().find(|item| item["name"] == "CAP_BPF"))
        .expect("an item for CAP_BPF");
    assert_eq!(bpf["status"], "missing");
    assert!(
        bpf["remedy"]
            .as_str()
            .is_some_and(|r| r.contains("cap_bpf"))
    );
}

/// Checks that `check`'s status agrees with what it lists, and that the list
/// has the kernel's own figures.
#[test]
fn check_agrees_with_itself() {
    let output = observer(&["check", "--json"])
        .output()
        .expect("observer starts");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let items = json["items"].as_array().expect("a list");
    let has = |status| items.iter().any(|item| item["status"] == status);
    let expected = if has("missing") {
        2
    } else if has("degraded") || has("unknown") {
        1
    } else {
        0
    };
    assert_eq!(output.status.code(), Some(expected));
    assert_eq!(json["exit_code"], expected);
    for item in items.iter().filter(|item| item["status"] != "ok") {
        assert!(
            item["lost"].is_string() && item["remedy"].is_string(),
            "{item}"
        );
    }
    let found = |name: &str| {
        items
            .iter()
            .find(|item| item["name"] == name)
            .map(|item| item["detail"].clone())
    };
    let read = |path| {
        fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .expect("procfs")
    };
    assert_eq!(
        found("version"),
        Some(read("/proc/sys/kernel/osrelease").into())
    );
    assert_eq!(
        found("kernel.perf_event_paranoid"),
        Some(read("/proc/sys/kernel/perf_event_paranoid").into())
    );
}

/// Checks that variables are checked like flags, and that an empty one is unset.
#[test]
fn variables_are_checked() {
    let with = |key: &str, value: &str| {
        let mut command = observer(&["run", "--pid", "1073741824"]);
        complaint(&command.env(key, value).output().expect("observer starts"))
    };
    for key in [
        "OBSERVER_LOG",
        "OBSERVER_CONFIG",
        "OTEL_METRIC_EXPORT_INTERVAL",
    ] {
        let line = with(key, "nonsense");
        assert!(line.contains("nonsense"), "{line}");
        let line = with(key, "");
        assert!(line.contains("no process 1073741824"), "{line}");
    }
}

/// Checks that help and version go to standard output with status 0.
#[test]
fn help_and_version_succeed() {
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["record", "-h"],
        &["check", "--help"],
        &["--version"],
    ] {
        let output = observer(arguments).output().expect("observer starts");
        assert!(output.status.success(), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}");
        assert!(!output.stdout.is_empty(), "{arguments:?}");
    }
}
