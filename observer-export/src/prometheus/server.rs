//! The server: a thread of its own with hyper on it, so that no scrape holds up what
//! observes.
//!
//! Whoever connects can hold up only its like: connections are few, and live for a limited
//! time, whatever they do or don't. When there are too many the oldest makes room, which is
//! counted and said; a scraper that asks and reads is gone before its turn.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, rt};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::answers::{Shared, answer};

/// Connections at the same time. What they may hold are as many expositions.
const CONNECTIONS: usize = 16;

/// How long one lives; a scraper connects anew then.
const LIFE: Duration = Duration::from_secs(30);

/// How long a request's head may take, and TLS's handshake before it.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;

/// Headers in it.
const HEADERS: usize = 64;

/// Pause after a connection could not be taken: descriptors may be free then.
const PAUSE: Duration = Duration::from_millis(200);

/// At most one line about connections that made room in this time.
const QUIET: Duration = Duration::from_secs(60);

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// Dropped to end it.
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Listens at an address, with TLS if a configuration is given, and answers from what
    /// is shared.
    ///
    /// # Errors
    /// The address is in use or can't be had, or there is no thread.
    pub fn start(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let listening = || format!("can't listen at {address} for Prometheus");
        let listener = TcpListener::bind(address).with_context(listening)?;
        listener.set_nonblocking(true).with_context(listening)?;
        let address = listener.local_addr().with_context(listening)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .with_context(listening)?;
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("observer-scrape".into())
            .spawn(move || {
                let serving = async {
                    match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => serve(&listener, tls, shared).await,
                        Err(error) => tracing::error!("nobody can scrape: {error}"),
                    }
                };
                runtime.block_on(async {
                    tokio::select! {
                        () = serving => {}
                        _ = stopped => {}
                    }
                });
                // Also what tasks of the runtime still do.
                runtime.shutdown_background();
            })
            .with_context(listening)?;
        Ok(Self {
            address,
            _stop: stop,
        })
    }

    /// Where it listens, with the port that it got if it asked for any.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(
    listener: &tokio::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    let mut displaced = Displaced::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("a scraper's connection can't be taken: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            displaced.one();
        }
        let task = tokio::spawn(timeout(
            LIFE,
            connection(stream, tls.clone(), Arc::clone(&shared)),
        ));
        open.push_back(task.abort_handle());
    }
}

/// Connections that made room for others.
#[derive(Default)]
struct Displaced {
    count: u64,
    told: Option<Instant>,
}

impl Displaced {
    fn one(&mut self) {
        self.count += 1;
        if self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            self.told = Some(Instant::now());
            tracing::warn!(
                connections = self.count,
                "more than {CONNECTIONS} connections to the port for Prometheus: the oldest are closed ({} so far)",
                self.count
            );
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let Some(tls) = tls else {
        return requests(TokioIo::new(stream), shared).await;
    };
    match timeout(HEAD_LIMIT, tls.accept(stream)).await {
        Ok(Ok(stream)) => requests(TokioIo::new(stream), shared).await,
        Ok(Err(error)) => tracing::debug!("a scraper's handshake failed: {error}"),
        Err(_) => tracing::debug!("a scraper's handshake took too long"),
    }
}

async fn requests<I: rt::Read + rt::Write + Unpin>(io: I, shared: Arc<Shared>) {
    let service = service_fn(|request: Request<Incoming>| {
        let page = answer(&shared, &request);
        async move { Ok::<_, Infallible>(page) }
    });
    let ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(io, service)
        .await;
    if let Err(error) = ended {
        tracing::debug!("a scraper's connection ended: {error}");
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
