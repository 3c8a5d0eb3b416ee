//! Checks pods, by a runtime with the CRI and a kubelet with TLS, both of the kit, that
//! answer what real ones do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, PoisonError};

use anyhow::{Context, Result, ensure};
use observer_testkit::cgroup::Cgroup;
use observer_testkit::collector::{Collector, text};
use observer_testkit::in_time;
use observer_testkit::runtimes::{Asked, Reply, Server};
use observer_testkit::{observer_bin, workload};
use observer_userspace::identity::hierarchy::Hierarchies;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;

use super::ALONE;
use super::asking::{ID, POD, SANDBOX, container, sandbox};
use super::seen::{daemon, resource, resources, texts, unnamed};

const TOKEN: &str = "a-token-of-a-service-account";

/// A program in a pod's cgroup; ends with the test.
struct Running {
    child: Child,
    _cgroup: Cgroup,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program called `name` in the cgroup of a container in a pod, that makes calls
/// again and again.
fn run(name: &str, test: &str) -> Result<Running> {
    let hierarchies = Hierarchies::open();
    let mount = hierarchies.v2_mount().or(hierarchies.v1_mount());
    let mount = mount.context("no cgroup hierarchy is mounted")?;
    let slice = format!("observer-test-{test}-{}", std::process::id());
    let path = format!("{slice}/kubepods/burstable/pod{POD}/{ID}");
    let cgroup = Cgroup::create(mount, &path)?;
    let program = workload::program()?;
    let steps = "getppid=10 sleep=1:200 ".repeat(200);
    let script = format!(
        "echo $$ > '{}/cgroup.procs' && exec '{}' {name} {steps}",
        cgroup.directory().display(),
        program.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null());
    Ok(Running {
        child: command.spawn()?,
        _cgroup: cgroup,
    })
}

/// A certificate for `localhost` in `folder/ca.pem`, and the server of it.
fn certified(folder: &Path) -> Result<Arc<rustls::ServerConfig>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(folder.join("ca.pem"), ca.pem())?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &ca)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)?;
    Ok(Arc::new(config))
}

/// A kubelet's list with the pod, if it is shown the token.
fn pods(asked: &Asked) -> Reply {
    let shown = asked.headers.get("authorization");
    if shown.is_none_or(|shown| *shown != format!("Bearer {TOKEN}")) {
        return Reply::Status(401);
    }
    if asked.path != "/pods" {
        return Reply::Status(404);
    }
    Reply::Json(format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{}},"items":[{{
        "metadata":{{"name":"shop-7d9f8c6b5-x7k2p","namespace":"store","uid":"{POD}",
            "labels":{{"app":"shop","pod-template-hash":"7d9f8c6b5"}},
            "annotations":{{"resource.opentelemetry.io/service.version":"1.4.2"}},
            "ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet",
                "name":"shop-7d9f8c6b5","uid":"1","controller":true}}]}},
        "spec":{{"nodeName":"node-7"}},
        "status":{{"containerStatuses":[{{"name":"web","image":"quay.io/shop/web:v1",
            "containerID":"cri-o://{ID}"}}]}}}}]}}"#
    ))
}

/// A runtime with the CRI that knows the pod.
fn cri(asked: &Asked) -> Reply {
    match asked.path.rsplit('/').next() {
        Some("ListContainers") if asked.is_about(ID) => Reply::Message(container()),
        Some("ListPodSandbox") if asked.is_about(SANDBOX) => Reply::Message(sandbox()),
        Some("ListContainers" | "ListPodSandbox" | "ImageStatus" | "Version") => {
            Reply::Message(Vec::new())
        }
        _ => Reply::Code(12),
    }
}

/// Checks that a program in a pod, there before the daemon or started later, has the pod's
/// and its controller's names in its one resource, by the CRI and the kubelet; and that
/// `check` says who answers.
#[test]
fn pods_have_names() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("token"), format!("{TOKEN}\n"))?;
    let kubelet = Server::with_tls(certified(folder.path())?, pods)?;
    let _crio = Server::on_socket(&folder.path().join("crio.sock"), cri)?;
    let (socket, url) = (format!("cri-o:{}", at("crio.sock")), kubelet.url()?);
    let (token, ca) = (at("token"), at("ca.pem"));
    let arguments = [
        ["--container-socket", &socket],
        ["--kubelet", &url],
        ["--kubelet-token", &token],
        ["--kubelet-certificate", &ca],
    ]
    .concat();
    let id = std::process::id();
    let (before, after) = (format!("pod-a-{id}"), format!("pod-b-{id}"));
    let _before = run(&before, "pods-a")?;
    let collector = Collector::start()?;
    let daemon = daemon(&collector, &arguments)?;
    let _after = run(&after, "pods-b")?;
    for program in [&before, &after] {
        let found = resource(&collector, program, &daemon)?;
        // A program whose names come too late is told of without them.
        in_time!(
            text(&found, "observer.service.name.source") == Some("container"),
            "{program}: {found:#?}\n{}",
            daemon.printed()?
        );
        for (key, value) in [
            ("service.name", "shop"),
            ("service.version", "1.4.2"),
            ("container.id", ID),
            ("container.runtime.name", "cri-o"),
            ("container.image.name", "quay.io/shop/web"),
            ("k8s.pod.name", "shop-7d9f8c6b5-x7k2p"),
            ("k8s.pod.uid", POD),
            ("k8s.namespace.name", "store"),
            ("k8s.container.name", "web"),
            ("k8s.node.name", "node-7"),
            ("k8s.replicaset.name", "shop-7d9f8c6b5"),
            ("k8s.deployment.name", "shop"),
        ] {
            assert_eq!(text(&found, key), Some(value), "{program}: {key}");
        }
        assert_eq!(texts(&found, "container.image.tags"), ["v1"], "{program}");
    }
    assert_eq!(unnamed(&collector)?, 0.0, "{}", daemon.printed()?);
    daemon.end()?;

    let mut check = Command::new(observer_bin());
    let said = check.args(["check", "--json"]).args(&arguments).output()?;
    let said: Value = serde_json::from_slice(&said.stdout)?;
    let items = said["items"].as_array().context("a list")?;
    for (name, detail) in [("kubelet", "1 pods"), ("cri-o", "crio.sock")] {
        let found = items.iter().find(|item| item["name"] == name);
        let found = found.with_context(|| format!("{name} isn't in {said}"))?;
        ensure!(found["status"] == "ok", "{found}");
        let says = found["detail"].as_str().unwrap_or_default();
        ensure!(says.contains(detail), "{found}");
    }
    Ok(())
}

/// Checks that where the runtime never answers and the kubelet refuses, a program in a pod is
/// counted on with its ids, in one resource; that it is counted as unnamed, that the log
/// says why; and that `check` does, with what to do.
#[test]
fn who_doesnt_answer_costs_the_name() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("token"), "another-token")?;
    let kubelet = Server::with_tls(certified(folder.path())?, pods)?;
    let _hangs = Server::on_socket(&folder.path().join("hang.sock"), |_: &Asked| Reply::Hang)?;
    let (socket, url) = (format!("docker:{}", at("hang.sock")), kubelet.url()?);
    let (token, ca) = (at("token"), at("ca.pem"));
    let arguments = [
        ["--container-socket", &socket],
        ["--kubelet", &url],
        ["--kubelet-token", &token],
        ["--kubelet-certificate", &ca],
    ]
    .concat();
    let name = format!("pod-c-{}", std::process::id());
    let collector = Collector::start()?;
    let daemon = daemon(&collector, &arguments)?;
    let _running = run(&name, "unnamed")?;
    let found = resource(&collector, &name, &daemon)?;
    assert_eq!(text(&found, "container.id"), Some(ID));
    assert_eq!(text(&found, "k8s.pod.uid"), Some(POD));
    assert_eq!(text(&found, "k8s.deployment.name"), None);
    assert_eq!(resources(&collector, &name)?.len(), 1);
    ensure!(unnamed(&collector)? >= 1.0, "{}", daemon.printed()?);
    let printed = daemon.end()?;
    ensure!(printed.contains("no answer within 1s"), "{printed}");
    ensure!(printed.contains("401"), "{printed}");

    let mut check = Command::new(observer_bin());
    let said = check.args(["check", "--json"]).args(&arguments).output()?;
    let said: Value = serde_json::from_slice(&said.stdout)?;
    let items = said["items"].as_array().context("a list")?;
    for (name, remedy) in [("kubelet", "nodes/pods"), ("docker", "--container-socket")] {
        let found = items.iter().find(|item| item["name"] == name);
        let found = found.with_context(|| format!("{name} isn't in {said}"))?;
        ensure!(found["status"] == "degraded", "{found}");
        let says = found["remedy"].as_str().unwrap_or_default();
        ensure!(says.contains(remedy), "{found}");
    }
    Ok(())
}
