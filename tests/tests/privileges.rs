//! What is lost without each capability that `docs/permissions.md` names, by taking
//! it away from a process of an ordinary user. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use observer_testkit::packages::program;
use observer_testkit::{observer_bin, root};
use observer_userspace::kernel::capabilities::{Capability, UNPRIVILEGED};
use serde_json::Value;

/// A user who isn't root.
const NOBODY: &str = "65534";

/// A copy of the daemon that everybody may run.
struct Copy {
    binary: PathBuf,
    _folder: tempfile::TempDir,
}

impl Copy {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let binary = folder.path().join("observer");
        fs::copy(observer_bin(), &binary)?;
        Ok(Self {
            binary,
            _folder: folder,
        })
    }

    /// The daemon as `nobody` with exactly these capabilities.
    fn with(&self, capabilities: &[&Capability], arguments: &[&str]) -> Result<Command> {
        let names = capabilities.iter().map(|capability| {
            let name = capability.name.trim_start_matches("CAP_");
            format!(",+{}", name.to_ascii_lowercase())
        });
        let set = format!("-all{}", names.collect::<String>());
        let mut command = program("setpriv", "util-linux")?;
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
        command.arg(format!("--bounding-set={set}"));
        command.arg(format!("--inh-caps={set}"));
        command.arg(format!("--ambient-caps={set}"));
        command.arg(&self.binary).args(arguments);
        command.env_clear().current_dir("/");
        Ok(command)
    }

    /// What `check` finds to be other than well, and its exit status.
    fn check(&self, capabilities: &[&Capability]) -> Result<(BTreeSet<String>, i32)> {
        let output = self.with(capabilities, &["check", "--json"])?.output()?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let items = report["items"].as_array().context("a list")?;
        let lacking = items.iter().filter(|item| item["status"] != "ok");
        let names = lacking.filter_map(|item| item["name"].as_str().map(str::to_owned));
        Ok((names.collect(), output.status.code().context("a status")?))
    }
}

/// All that an ordinary user should be given, but one.
fn without(missing: &Capability) -> Vec<&'static Capability> {
    let all = UNPRIVILEGED.into_iter();
    all.filter(|capability| *capability != missing).collect()
}

/// Checks that with all documented capabilities nothing is lost but what
/// CAP_SYS_ADMIN is documented for, and that without one of them `check` names that
/// one, the processes of others with it, and nothing else; where it is
/// indispensable `run` refuses in one line that names it.
#[test]
fn what_is_lost_is_what_check_says() -> Result<()> {
    if !root::is_root() {
        return Ok(());
    }
    let copy = Copy::new()?;
    let (whole, status) = copy.check(&UNPRIVILEGED)?;
    assert_eq!(status, 1, "{whole:?}");
    let of_admin = [
        "CAP_SYS_ADMIN",
        "functions of user programs",
        "run-time statistics",
    ];
    for name in &whole {
        ensure!(of_admin.contains(&name.as_str()), "{whole:?}");
    }
    for missing in UNPRIVILEGED {
        let (lacking, status) = copy.check(&without(missing))?;
        ensure!(lacking.contains(missing.name), "{lacking:?}");
        if missing.required {
            assert_eq!(status, 2, "{lacking:?}");
            let run = copy.with(&without(missing), &["run", "--duration", "1s"])?;
            let output = { run }.output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            ensure!(
                said.lines().count() == 1 && said.contains(missing.name),
                "{said}"
            );
            continue;
        }
        assert_eq!(status, 1, "{lacking:?}");
        let mut expected = BTreeSet::from([missing.name.to_owned()]);
        if missing.name == "CAP_SYS_PTRACE" {
            expected.insert("/proc/PID of others".to_owned());
        }
        let more: BTreeSet<String> = lacking.difference(&whole).cloned().collect();
        assert_eq!(more, expected, "without {}", missing.name);
    }
    Ok(())
}
