//! One request and its answer: HTTP/1 for Docker and the kubelet, gRPC for the CRI. Each
//! has a connection of its own, so that none hangs on what became of another.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use observer_identity::container::Unusable;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// How long an answer is waited for, from connecting to its last byte.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes before a gRPC message: whether it's compressed, and its length.
const FRAME: usize = 5;

/// gRPC's codes that say something here.
pub(crate) mod code {
    /// Not found.
    pub(crate) const NOT_FOUND: u32 = 5;
    /// There is no such service.
    pub(crate) const UNIMPLEMENTED: u32 = 12;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody is there, or one may not ask.
    #[error("can't connect: {0}")]
    Connect(io::Error),
    /// Its certificate, or one of the files that are needed.
    #[error("{0}")]
    Tls(String),
    /// It takes too long.
    #[error("no answer within {}", humantime::format_duration(PATIENCE))]
    Late,
    /// It doesn't speak the protocol, or stops in the middle, or says more than is read.
    #[error("the answer breaks off: {0}")]
    Broken(String),
    /// HTTP's status.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// gRPC's code.
    #[error("the answer is gRPC's code {0}")]
    Grpc(u32),
    /// What it says can't be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// Ends a connection with whoever uses it.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for what is to come within [`PATIENCE`].
pub(crate) async fn within_patience<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = |_| Failure::Late;
    tokio::time::timeout(PATIENCE, work).await.map_err(late)?
}

/// Connects to a socket.
pub(crate) async fn unix(path: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(path).await.map_err(Failure::Connect)
}

/// GET over HTTP/1; at most `limit` bytes of the answer's body.
pub(crate) async fn get<S>(
    stream: S,
    host: &str,
    path: &str,
    authorization: Option<HeaderValue>,
    limit: usize,
) -> Result<Bytes, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(broken)?;
    let _connection = Connection(tokio::spawn(async move {
        // Its errors are the request's.
        let _ = connection.await;
    }));
    let mut request = Request::builder().uri(path).header(HOST, host);
    request = request.header(USER_AGENT, agent());
    if let Some(authorization) = authorization {
        request = request.header(hyper::header::AUTHORIZATION, authorization);
    }
    let request = request.body(Full::<Bytes>::default()).map_err(broken)?;
    let response = sender.send_request(request).await.map_err(broken)?;
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), limit).collect().await;
    Ok(body.map_err(broken)?.to_bytes())
}

/// A call without streams over gRPC; at most `limit` bytes of the answer.
pub(crate) async fn call<S>(
    stream: S,
    path: &str,
    message: &[u8],
    metadata: Option<(&'static str, &'static str)>,
    limit: usize,
) -> Result<Bytes, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .map_err(broken)?;
    let _connection = Connection(tokio::spawn(async move {
        // Its errors are the request's.
        let _ = connection.await;
    }));
    let mut request = Request::post(format!("http://localhost{path}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, agent());
    if let Some((name, value)) = metadata {
        request = request.header(HeaderName::from_static(name), value);
    }
    let request = request.body(Full::new(framed(message))).map_err(broken)?;
    let response = sender.send_request(request).await.map_err(broken)?;
    answered(response, limit).await
}

async fn answered<B>(response: Response<B>, limit: usize) -> Result<Bytes, Failure>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status()));
    }
    let (head, body) = response.into_parts();
    // Without a message the status stands in the head.
    refused(&head.headers)?;
    let body = Limited::new(body, limit).collect().await.map_err(broken)?;
    if let Some(trailers) = body.trailers() {
        refused(trailers)?;
    }
    let mut message = body.to_bytes();
    let frame = message.split_to(FRAME.min(message.len()));
    let [compressed, length @ ..] = frame.first_chunk::<FRAME>().ok_or(Unusable::Malformed)?;
    let is_whole = usize::try_from(u32::from_be_bytes(*length)) == Ok(message.len());
    if *compressed != 0 || !is_whole {
        return Err(Unusable::Malformed.into());
    }
    Ok(message)
}

/// What gRPC's status says, unless it is that all is well.
fn refused(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(status) = headers.get("grpc-status") else {
        return Ok(());
    };
    let status = status.to_str().ok().and_then(|text| text.parse().ok());
    match status {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::Grpc(code)),
        None => Err(Unusable::Malformed.into()),
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(FRAME + message.len());
    framed.put_u8(0);
    // Questions are short.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

fn agent() -> HeaderValue {
    HeaderValue::from_static(concat!("observer/", env!("CARGO_PKG_VERSION")))
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Broken(error.to_string())
}
