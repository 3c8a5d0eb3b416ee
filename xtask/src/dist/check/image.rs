//! The container image: read by skopeo, unpacked by umoci, and run by runc as
//! Kubernetes would run it (`deploy/kubernetes/daemonset.yaml`).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::unit::{Load, Unit, ensure_seen};
use super::{Made, output};
use crate::dist::VERSION;

/// Checks that others read it as it is meant, and that a process of the host is seen
/// from within.
pub fn sees_the_host(made: &Made) -> Result<()> {
    let image = format!("oci-archive:{}", made.image.display());
    let told: Value =
        serde_json::from_str(&output(Command::new("skopeo").args(["inspect", &image]))?)?;
    ensure!(
        told["Os"] == "linux" && told["Architecture"] == "amd64",
        "{told}"
    );
    ensure!(
        told["Labels"]["org.opencontainers.image.version"] == VERSION,
        "{told}"
    );
    let folder = TempDir::new_in(crate::target_dir()).context("cannot make a folder")?;
    let layout = folder.path().join("layout");
    let bundle = folder.path().join("bundle");
    let tagged = format!("{}:{VERSION}", layout.display());
    let mut skopeo = Command::new("skopeo");
    output(skopeo.args([
        "--insecure-policy",
        "copy",
        &image,
        &format!("oci:{tagged}"),
    ]))?;
    output(
        Command::new("umoci")
            .args(["unpack", "--image", &tagged])
            .arg(&bundle),
    )?;
    ensure!(
        !bundle.join("rootfs/bin/sh").exists() && bundle.join("rootfs/usr/bin/observer").exists(),
        "the image isn't from scratch"
    );
    let libraries: &[&str] = if made.is_rehearsal {
        println!("  with this machine's libraries: the program isn't the static one");
        &["/lib", "/lib64"]
    } else {
        &[]
    };
    as_in_a_pod(&bundle.join("config.json"), libraries)?;

    let mut load = Load::start()?;
    let name = format!("observer-check-{}", std::process::id());
    let mut runc = Command::new("runc");
    runc.arg("run").arg("--bundle").arg(&bundle).arg(&name);
    let out = runc.output().context("cannot start runc");
    load.stop();
    let out = out?;
    if !out.status.success() {
        let _ = Command::new("runc")
            .args(["delete", "--force", &name])
            .output();
    }
    ensure_seen(&out)
}

/// Changes what runc is told from umoci's defaults to what the DaemonSet says; beside
/// that the container has these folders of the host.
fn as_in_a_pod(path: &Path, folders: &[&str]) -> Result<()> {
    let text = std::fs::read_to_string(path).context("umoci made no config.json")?;
    let mut config: Value = serde_json::from_str(&text)?;
    let unit = std::fs::read_to_string(crate::checkout().join("deploy/systemd/observer.service"))?;
    let unit = Unit::parse(&unit);
    let capabilities: Vec<&str> = unit
        .one("CapabilityBoundingSet")?
        .split_whitespace()
        .collect();
    let process = &mut config["process"];
    process["terminal"] = json!(false);
    process["noNewPrivileges"] = json!(true);
    process["capabilities"] = json!({
        "bounding": capabilities,
        "effective": capabilities,
        "permitted": capabilities,
    });
    let arguments = process["args"].as_array_mut().context("no command")?;
    arguments.extend(["--interval", "2s", "--duration", "6s"].map(Value::from));
    config["root"]["readonly"] = json!(true);
    let namespaces = config["linux"]["namespaces"].as_array_mut();
    namespaces
        .context("no namespaces")?
        .retain(|namespace| namespace["type"] != "pid" && namespace["type"] != "user");
    let mounts = config["mounts"].as_array_mut().context("no mounts")?;
    mounts.retain(|mount| {
        let at = mount["destination"].as_str().unwrap_or_default();
        !at.starts_with("/sys")
    });
    mounts.push(json!({
        "destination": "/sys",
        "type": "none",
        "source": "/sys",
        "options": ["rbind", "ro", "nosuid", "nodev", "noexec"],
    }));
    mounts.extend(folders.iter().map(|folder| {
        json!({
            "destination": folder,
            "type": "none",
            "source": folder,
            "options": ["bind", "ro"],
        })
    }));
    std::fs::write(path, serde_json::to_vec(&config)?).context("cannot write config.json")
}
