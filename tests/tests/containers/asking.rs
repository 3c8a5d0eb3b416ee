//! Checks the asking itself, against servers of the kit.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_containers::{Answer, Containers, Kind, Question, Settings, Socket};
use observer_testkit::runtimes::{Asked, Reply, Server, map, message};

pub const ID: &str = "3f4a0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
pub const POD: &str = "a3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11";
pub const SANDBOX: &str = "ffff0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
const OTHER: &str = "00000c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";

/// A request's patience and what a loaded machine adds.
const LONG: Duration = Duration::from_secs(20);

fn start(sockets: &[(Kind, &Path)]) -> Result<Containers> {
    let sockets = sockets.iter().map(|(kind, path)| Socket {
        kind: *kind,
        path: path.to_path_buf(),
    });
    let settings = Settings {
        ask: true,
        sockets: Some(sockets.collect()),
        kubelet: None,
    };
    Containers::start(settings)?.context("somebody is to be asked")
}

/// Asks about one container, and waits for the answer.
fn ask(containers: &Containers, id: &str) -> Result<Answer> {
    let container = id.to_owned();
    let question = Question {
        container,
        pod: None,
    };
    ensure!(containers.ask(question), "no place for a question");
    let begin = Instant::now();
    while begin.elapsed() < LONG {
        if let Some((of, answer)) = containers.answers().next() {
            ensure!(of == id, "an answer about {of}");
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    anyhow::bail!("no answer within {LONG:?}")
}

/// What Docker says of a container.
fn inspected(id: &str, name: &str) -> Reply {
    Reply::Json(format!(
        r#"{{"Id":"{id}","Name":"/{name}","Config":{{"Image":"shop:v1","Labels":{{}}}}}}"#
    ))
}

fn name(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Known(container) => container.get("container.name"),
        _ => None,
    }
}

/// Checks that Docker is asked with GET about the very container, and once for all.
#[test]
fn docker_is_asked_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("docker.sock");
    let docker = Server::on_socket(&path, |asked: &Asked| match asked.is_about(ID) {
        true => inspected(ID, "shop"),
        false => Reply::Status(404),
    })?;
    let containers = start(&[(Kind::Docker, &path)])?;
    for _ in 0..3 {
        assert_eq!(name(&ask(&containers, ID)?), Some("shop"));
        assert_eq!(ask(&containers, OTHER)?, Answer::Unknown);
    }
    let paths: Vec<_> = docker.asked().into_iter().map(|asked| asked.path).collect();
    let of = |id| format!("/containers/{id}/json");
    assert_eq!(paths, [of(ID), of(OTHER)]);
    Ok(())
}

/// Checks that the CRI is asked for container, pod and, where that is an id, image.
#[test]
fn the_cri_is_asked_for_pods() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("crio.sock");
    let _crio = Server::on_socket(&path, |asked: &Asked| {
        let what = asked.path.rsplit('/').next().unwrap_or_default();
        let empty = Reply::Message(Vec::new());
        match what {
            "ListContainers" if asked.is_about(ID) => Reply::Message(container()),
            "ListPodSandbox" if asked.is_about(SANDBOX) => Reply::Message(sandbox()),
            "ImageStatus" if asked.is_about("sha256:a875") => {
                let image = message(&[(1, b"sha256:a875"), (2, b"quay.io/shop/web:v1")]);
                Reply::Message(message(&[(1, &image)]))
            }
            "ListContainers" | "ListPodSandbox" | "ImageStatus" => empty,
            _ => Reply::Code(12),
        }
    })?;
    let containers = start(&[(Kind::CriO, &path)])?;
    let Answer::Known(found) = ask(&containers, ID)? else {
        anyhow::bail!("it isn't known");
    };
    for (key, value) in [
        ("container.runtime.name", "cri-o"),
        ("container.image.name", "quay.io/shop/web"),
        ("k8s.container.name", "web"),
        ("k8s.pod.name", "shop-7d9f8c6b5-x7k2p"),
        ("k8s.namespace.name", "store"),
        ("k8s.deployment.name", "shop"),
    ] {
        assert_eq!(found.get(key), Some(value), "{key}");
    }
    // A pod's sandbox is a container, too.
    let Answer::Known(found) = ask(&containers, SANDBOX)? else {
        anyhow::bail!("the sandbox isn't known");
    };
    assert_eq!(found.get("k8s.pod.name"), Some("shop-7d9f8c6b5-x7k2p"));
    assert_eq!(found.get("k8s.container.name"), None);
    assert_eq!(ask(&containers, OTHER)?, Answer::Unknown);
    Ok(())
}

/// A `ListContainersResponse` as CRI-O gives it.
pub fn container() -> Vec<u8> {
    let metadata = message(&[(1, b"web")]);
    let image = message(&[(1, b"sha256:a875")]);
    let mut one = message(&[
        (1, ID.as_bytes()),
        (2, SANDBOX.as_bytes()),
        (3, &metadata),
        (4, &image),
        (5, b"sha256:a875"),
    ]);
    one.extend(map(
        8,
        &[
            ("io.kubernetes.container.name", "web"),
            ("io.kubernetes.pod.name", "shop-7d9f8c6b5-x7k2p"),
            ("io.kubernetes.pod.namespace", "store"),
            ("io.kubernetes.pod.uid", POD),
        ],
    ));
    message(&[(1, &one)])
}

/// A `ListPodSandboxResponse`.
pub fn sandbox() -> Vec<u8> {
    let metadata = message(&[
        (1, b"shop-7d9f8c6b5-x7k2p"),
        (2, POD.as_bytes()),
        (3, b"store"),
    ]);
    let mut one = message(&[(1, SANDBOX.as_bytes()), (2, &metadata)]);
    one.extend(map(
        5,
        &[("app", "shop"), ("pod-template-hash", "7d9f8c6b5")],
    ));
    message(&[(1, &one)])
}

/// Checks that who never answers, answers with a gigabyte, with another container, or with
/// something that isn't an answer costs nobody else an answer, is left alone after that,
/// and that what is read is bounded.
#[test]
fn hostile_runtimes_cost_nobody_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let hanging = Server::on_socket(&at("hang"), |_: &Asked| Reply::Hang)?;
    let huge = Server::on_socket(&at("huge"), |_: &Asked| Reply::Gigabyte)?;
    let wrong = Server::on_socket(&at("wrong"), |_: &Asked| inspected(OTHER, "liar"))?;
    let junk = Server::on_socket(&at("junk"), |_: &Asked| Reply::Json("{\"Id\":[".to_owned()))?;
    let cri = Server::on_socket(&at("cri"), |_: &Asked| Reply::Message(vec![0xff; 64]))?;
    let raw = UnixListener::bind(at("raw"))?;
    // Ends with its listener's process.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = raw.accept() {
            let _ = stream.write_all(&[0x16; 4096]);
        }
    });
    let _good = Server::on_socket(&at("good"), |_: &Asked| inspected(ID, "shop"))?;
    let bad = [
        (Kind::Docker, at("hang")),
        (Kind::Docker, at("huge")),
        (Kind::Docker, at("wrong")),
        (Kind::Podman, at("junk")),
        (Kind::CriO, at("cri")),
        (Kind::Containerd, at("raw")),
        (Kind::Containerd, at("nobody")),
    ];
    let mut all: Vec<_> = bad
        .iter()
        .map(|(kind, path)| (*kind, path.as_path()))
        .collect();
    let containers = start(&all)?;
    assert_eq!(ask(&containers, ID)?, Answer::Unanswered);
    assert_eq!(ask(&containers, ID)?, Answer::Unanswered);
    ensure!(huge.sent() < 64 << 20, "{} bytes were taken", huge.sent());
    // A second question comes within the first pause of those who answered at once.
    for server in [&hanging, &huge, &wrong, &junk, &cri] {
        let asked = server.asked().len();
        ensure!((1..=2).contains(&asked), "asked {asked} times");
    }
    let good = at("good");
    all.push((Kind::Docker, &good));
    let containers = start(&all)?;
    assert_eq!(name(&ask(&containers, ID)?), Some("shop"));
    Ok(())
}
