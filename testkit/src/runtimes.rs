//! Container runtimes and kubelets of the kit: real HTTP and gRPC servers on a socket, or
//! over TLS, that answer what a test says.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;

/// What a question gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This, with status 200.
    Json(String),
    /// This status of HTTP, and no more.
    Status(u16),
    /// This message over gRPC.
    Message(Vec<u8>),
    /// This code of gRPC, and no more.
    Code(u32),
    /// A body of a gigabyte.
    Gigabyte,
    /// Nothing, ever.
    Hang,
}

/// A question as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The message, without gRPC's frame.
    pub message: Bytes,
}

impl Asked {
    /// Whether it is about this: an id in the path or in the message.
    pub fn is_about(&self, id: &str) -> bool {
        let mut windows = self.message.windows(id.len());
        self.path.contains(id) || windows.any(|window| window == id.as_bytes())
    }
}

type Script = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

struct State {
    script: Script,
    asked: Mutex<Vec<Asked>>,
    sent: AtomicU64,
}

/// A server on a thread of its own; ends when dropped.
pub struct Server {
    state: Arc<State>,
    address: Option<SocketAddr>,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

enum Listener {
    Unix(UnixListener),
    Tls(TcpListener, tokio_rustls::TlsAcceptor),
}

impl Server {
    /// Listens on a socket at `path`.
    pub fn on_socket(
        path: &Path,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let listen = async || Ok(Listener::Unix(UnixListener::bind(path)?));
        Self::start(listen, Box::new(script))
    }

    /// Listens on a free port of the loopback, with TLS.
    pub fn with_tls(
        config: Arc<rustls::ServerConfig>,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let listen = async || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            Ok(Listener::Tls(listener, config.into()))
        };
        Self::start(listen, Box::new(script))
    }

    fn start(listen: impl AsyncFnOnce() -> Result<Listener>, script: Script) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let listener = runtime.block_on(listen())?;
        let address = match &listener {
            Listener::Unix(_) => None,
            Listener::Tls(listener, _) => Some(listener.local_addr()?),
        };
        let state = Arc::new(State {
            script,
            asked: Mutex::default(),
            sent: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let work = accept(listener, Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            runtime.spawn(work);
            // An error is what a dropped sender means.
            let _ = runtime.block_on(stopped);
        });
        Ok(Self {
            state,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `https://localhost:PORT`, of one with TLS.
    pub fn url(&self) -> Result<String> {
        let address = self.address.context("it listens on a socket")?;
        Ok(format!("https://localhost:{}", address.port()))
    }

    /// What it was asked.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.state.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of [`Reply::Gigabyte`] that were taken.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: Listener, state: Arc<State>) {
    loop {
        let state = Arc::clone(&state);
        match &listener {
            Listener::Unix(listener) => {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, state));
                }
            }
            Listener::Tls(listener, acceptor) => {
                if let Ok((stream, _)) = listener.accept().await
                    && let Ok(stream) = acceptor.accept(stream).await
                {
                    tokio::spawn(serve(stream, state));
                }
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&state)));
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let is_grpc = head.uri.path().contains("Service/") || head.uri.path().contains("Containers/");
    let asked = Asked {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        message: if is_grpc { body.slice(5..) } else { body },
    };
    let reply = (state.script)(&asked);
    let all = state.asked.lock();
    all.unwrap_or_else(PoisonError::into_inner).push(asked);
    let full = |bytes: Bytes| Full::new(bytes).boxed();
    let response = Response::builder();
    Ok(match reply {
        Reply::Json(text) => response.body(full(text.into()))?,
        Reply::Status(status) => response.status(status).body(full(Bytes::new()))?,
        Reply::Message(message) => grpc(&message)?,
        Reply::Code(code) => response
            .header("content-type", "application/grpc")
            .header("grpc-status", code)
            .body(full(Bytes::new()))?,
        Reply::Gigabyte => response.body(gigabyte(state))?,
        Reply::Hang => std::future::pending().await,
    })
}

/// A message in its frame, and the trailers behind it.
fn grpc(message: &[u8]) -> Result<Response<Body>> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len())?);
    framed.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    let frames = [Frame::data(framed.freeze()), Frame::trailers(trailers)];
    let body = StreamBody::new(tokio_stream::iter(frames.map(Ok)));
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(BodyExt::boxed(body))?)
}

fn gigabyte(state: Arc<State>) -> Body {
    const PIECE: usize = 1 << 16;
    let piece = Bytes::from_static(&[b'['; PIECE]);
    let pieces = (0..(1 << 30) / PIECE).map(move |_| {
        state.sent.fetch_add(PIECE as u64, Ordering::Relaxed);
        Ok(Frame::data(piece.clone()))
    });
    BodyExt::boxed(StreamBody::new(tokio_stream::iter(pieces)))
}

/// A message of protocol buffers: each field a number and its bytes (a text, or a message).
pub fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, bytes) in fields {
        varint(&mut out, u64::from(*number) << 3 | 2);
        varint(&mut out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
    out
}

/// A map of texts, field `number` of a message.
pub fn map(number: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    let entries = pairs.iter().flat_map(|(key, value)| {
        let entry = message(&[(1, key.as_bytes()), (2, value.as_bytes())]);
        message(&[(number, &entry)])
    });
    entries.collect()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
