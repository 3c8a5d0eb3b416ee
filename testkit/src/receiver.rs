//! A real OTLP receiver in the test's own process: gRPC and HTTP/protobuf on
//! one port (hyper's server tells them apart), plain or TLS, with failures on
//! request. It keeps the messages undecoded, for decoders that aren't ours.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use observer_export::otlp::Signal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the receiver does with a request instead of taking it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Takes it.
    Ok,
    /// Takes it but for some items.
    Partial(i64, &'static str),
    /// HTTP: this status, with a `Retry-After` if given.
    Http(u16, Option<&'static str>),
    /// gRPC: this code, with a `RetryInfo` if given.
    Grpc(Code, Option<Duration>),
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which service or path.
    pub path: String,
    /// Headers of the request.
    pub headers: HeaderMap,
    /// The message, decompressed and without gRPC's frame.
    pub message: Bytes,
    /// Its bytes on the wire were gzip.
    pub compressed: bool,
    /// The answer it got.
    pub taken: bool,
    /// When it was about to get it.
    pub at: Instant,
}

impl Received {
    /// Which signal its path is of.
    pub fn signal(&self) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| {
            self.path == signal.grpc_path() || self.path.ends_with(signal.http_path())
        })
    }
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

#[derive(Default)]
struct State {
    received: Vec<Received>,
    queued_answers: VecDeque<Answer>,
    script: Option<Script>,
}

/// A running receiver; stops when dropped.
pub struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
    accept: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free port of the loopback, without TLS.
    pub async fn start() -> Result<Self> {
        // Tests stop it and start another one at the same port, which must be free then.
        let address = SocketAddr::from(([127, 0, 0, 1], crate::port::free()?));
        Self::start_at(address, None).await
    }

    /// Listens at an address, with TLS if a configuration is given.
    pub async fn start_at(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening at {address}"))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let accept = tokio::spawn(accept(listener, tls, state.clone()));
        Ok(Self {
            address,
            scheme,
            state,
            accept,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base endpoint, `http://127.0.0.1:1234`.
    pub fn endpoint(&self) -> String {
        match self.scheme {
            // Certificates name the host, not the address.
            "https" => format!("https://localhost:{}", self.address.port()),
            _ => format!("http://{}", self.address),
        }
    }

    /// The next requests get these answers, later ones are taken.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state().queued_answers.extend(answers);
    }

    /// Every request gets the answer that `script` gives.
    pub fn answer_with(&self, script: impl FnMut(&Received) -> Answer + Send + 'static) {
        self.state().script = Some(Box::new(script));
    }

    /// All requests so far, refused ones too.
    pub fn received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    /// The requests of a signal that were taken.
    pub fn taken(&self, signal: Signal) -> Vec<Received> {
        let mut list = self.received();
        list.retain(|r| r.taken && r.signal() == Some(signal));
        list
    }

    /// Waits until `enough` is content with what came.
    pub async fn wait_until(&self, enough: impl Fn(&[Received]) -> bool) -> Result<()> {
        let waiting = async {
            while !enough(&self.state().received) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .context("the receiver waited a minute in vain")
    }

    /// Stops and frees the port: connections are cut.
    pub async fn stop(mut self) {
        self.accept.abort();
        let _ = (&mut self.accept).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    state: Arc<Mutex<State>>,
) {
    // Dropped with this task, which cuts the connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, tls.clone(), state.clone()));
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    state: Arc<Mutex<State>>,
) {
    match tls {
        None => serve(stream, state).await,
        Some(config) => {
            // A client that doesn't trust us hangs up: that's its test.
            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await {
                serve(stream, state).await;
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    state: Arc<Mutex<State>>,
) {
    let service = hyper::service::service_fn(move |request| handle(request, state.clone()));
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Frames = std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>;
type Body = Either<Full<Bytes>, StreamBody<Iter>>;

/// A stream over frames that are all there.
pub struct Iter(Frames);

impl Iter {
    /// Of these frames.
    pub fn of(frames: Vec<Result<Frame<Bytes>, Infallible>>) -> Self {
        Self(frames.into_iter())
    }
}

impl tokio_stream::Stream for Iter {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

async fn handle(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Body>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let content_type = parts.headers.get("content-type");
    let grpc = content_type.is_some_and(|v| v == "application/grpc");
    let (compressed, bytes) = if grpc {
        let length = body
            .get(1..5)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        if length != Some(body.len() as u32 - 5) {
            return Ok(grpc_status(&Status::internal("bad frame")));
        }
        (body[0] == 1, body.slice(5..))
    } else {
        let encoding = parts.headers.get("content-encoding");
        (encoding.is_some_and(|v| v == "gzip"), body)
    };
    let message = if compressed {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain)?;
        Bytes::from(plain)
    } else {
        bytes
    };
    let mut received = Received {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        message,
        compressed,
        taken: false,
        at: Instant::now(),
    };
    let answer = {
        let mut state = lock(&state);
        let answer = state.queued_answers.pop_front();
        let answer = match (answer, state.script.as_mut()) {
            (Some(answer), _) => answer,
            (None, Some(script)) => script(&received),
            (None, None) if received.signal().is_none() => Answer::Http(404, None),
            (None, None) => Answer::Ok,
        };
        received.taken = matches!(answer, Answer::Ok | Answer::Partial(..));
        state.received.push(received);
        answer
    };
    match answer {
        Answer::Ok => Ok(success(grpc, Bytes::new())),
        Answer::Partial(rejected, message) => Ok(success(grpc, partial(rejected, message))),
        Answer::Http(status, retry_after) => {
            let mut response = Response::new(Either::Left(Full::default()));
            *response.status_mut() = StatusCode::from_u16(status).map_err(std::io::Error::other)?;
            if let Some(value) = retry_after {
                let value = value.parse().map_err(std::io::Error::other)?;
                response.headers_mut().insert("retry-after", value);
            }
            Ok(response)
        }
        Answer::Grpc(code, delay) => {
            let status = match delay {
                Some(_) => {
                    let details = ErrorDetails::with_retry_info(delay);
                    Status::with_error_details(code, "as the test asked", details)
                }
                None => Status::new(code, "as the test asked"),
            };
            Ok(grpc_status(&status))
        }
        Answer::Hang => std::future::pending().await,
        Answer::Close => Err(std::io::Error::other("as the test asked")),
    }
}

/// `Export…ServiceResponse { partial_success { 1: rejected, 2: message } }`:
/// the same wire format for all signals.
fn partial(rejected: i64, message: &str) -> Bytes {
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    let response = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: rejected,
            error_message: message.to_owned(),
        }),
    };
    prost::Message::encode_to_vec(&response).into()
}

fn success(grpc: bool, message: Bytes) -> Response<Body> {
    if !grpc {
        let mut response = Response::new(Either::Left(Full::new(message)));
        let protobuf = hyper::header::HeaderValue::from_static("application/x-protobuf");
        response.headers_mut().insert("content-type", protobuf);
        return response;
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
    let frames = vec![
        Ok(Frame::data(frame.freeze())),
        Ok(Frame::trailers(trailers)),
    ];
    let mut response = Response::new(Either::Right(StreamBody::new(Iter(frames.into_iter()))));
    let grpc = hyper::header::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

/// An error without a message: its status is in the headers.
fn grpc_status(status: &Status) -> Response<Body> {
    status
        .clone()
        .into_http()
        .map(|_: Full<Bytes>| Either::Left(Full::default()))
}
