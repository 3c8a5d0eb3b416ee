//! What runtimes are asked.

use bytes::Bytes;
use observer_identity::container::{Container, containerd, cri, docker};

use crate::client::{self, Failure, code};
use crate::settings::{Kind, Socket};

/// The most that is read of an answer about one container, in bytes: labels and
/// annotations are hundreds, all that Docker says of a container is some 10 KiB.
const LIMIT: usize = 1 << 20;

/// What `socket`'s runtime knows of a container; `None` if it doesn't know it.
///
/// # Errors
/// There is no answer that can be used.
pub(crate) async fn ask(socket: &Socket, id: &str) -> Result<Option<Container>, Failure> {
    match socket.kind {
        Kind::Docker | Kind::Podman => client::within_patience(of_docker(socket, id)).await,
        Kind::CriO => client::within_patience(of_cri(socket, id)).await,
        Kind::Containerd => client::within_patience(of_containerd(socket, id)).await,
    }
}

/// Which runtime it is, for people.
///
/// # Errors
/// There is no answer.
pub(crate) async fn version(socket: &Socket) -> Result<String, Failure> {
    let asked = async {
        match socket.kind {
            Kind::Docker | Kind::Podman => {
                get(socket, "/_ping").await?;
                Ok(String::new())
            }
            Kind::Containerd | Kind::CriO => match call(socket, cri::paths::VERSION, &[]).await {
                Ok(answer) => Ok(cri::version(&answer)?),
                Err(Failure::Grpc(code::UNIMPLEMENTED)) if socket.kind == Kind::Containerd => {
                    Ok("without the CRI".to_owned())
                }
                Err(error) => Err(error),
            },
        }
    };
    client::within_patience(asked).await
}

async fn get(socket: &Socket, path: &str) -> Result<Bytes, Failure> {
    let stream = client::unix(&socket.path).await?;
    client::get(stream, "localhost", path, None, LIMIT).await
}

async fn call(socket: &Socket, path: &str, question: &[u8]) -> Result<Bytes, Failure> {
    let stream = client::unix(&socket.path).await?;
    client::call(stream, path, question, None, LIMIT).await
}

async fn of_docker(socket: &Socket, id: &str) -> Result<Option<Container>, Failure> {
    match get(socket, &format!("/containers/{id}/json")).await {
        Ok(answer) => Ok(Some(docker::container(id, socket.kind.name(), &answer)?)),
        Err(Failure::Status(hyper::StatusCode::NOT_FOUND)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// By the CRI: a container with its image and its pod, or a pod's own sandbox.
async fn of_cri(socket: &Socket, id: &str) -> Result<Option<Container>, Failure> {
    let runtime = socket.kind.name();
    let question = cri::question(id);
    let answer = call(socket, cri::paths::CONTAINERS, &question).await?;
    let Some(mut listed) = cri::container(id, runtime, &answer)? else {
        let answer = call(socket, cri::paths::SANDBOXES, &question).await?;
        let pod = cri::pod(id, &answer)?;
        return Ok(pod.map(|pod| Container {
            runtime: Some(runtime),
            pod: Some(pod),
            ..Container::default()
        }));
    };
    // What is known already is worth something without the rest.
    let sandbox = cri::question(&listed.sandbox);
    if listed.container.pod.is_some()
        && let Ok(answer) = call(socket, cri::paths::SANDBOXES, &sandbox).await
        && let Ok(Some(pod)) = cri::pod(&listed.sandbox, &answer)
    {
        // The kubelet's labels on the container say what the pod calls it.
        listed.container = listed.container.or(Container {
            pod: Some(pod),
            ..Container::default()
        });
    }
    if let Some(image) = &listed.image_id
        && let Ok(answer) = call(socket, cri::paths::IMAGE, &cri::image_question(image)).await
        && let Ok(image) = cri::image(&answer)
    {
        listed.container.image = image;
    }
    Ok(Some(listed.container))
}

/// By the CRI, and what that doesn't know by containerd's own interface.
async fn of_containerd(socket: &Socket, id: &str) -> Result<Option<Container>, Failure> {
    match of_cri(socket, id).await {
        Ok(None) | Err(Failure::Grpc(code::UNIMPLEMENTED)) => {}
        known => return known,
    }
    for namespace in containerd::NAMESPACES {
        let stream = client::unix(&socket.path).await?;
        let question = containerd::question(id);
        let metadata = Some((containerd::NAMESPACE, namespace));
        match client::call(stream, containerd::PATH, &question, metadata, LIMIT).await {
            Ok(answer) => return Ok(Some(containerd::container(id, &answer)?)),
            Err(Failure::Grpc(code::NOT_FOUND)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
