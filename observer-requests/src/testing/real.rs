//! Real bytes for the parsers' tests: hyper's client and server, connected by a
//! pipe that keeps what goes through it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::talk::Talk;
use crate::protocol::Parser;

/// What was written, in order: whether by the client, and the bytes.
type Written = Arc<Mutex<Vec<(bool, Vec<u8>)>>>;

/// One end of the pipe.
struct End {
    pipe: DuplexStream,
    client: bool,
    written: Written,
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(context, buffer)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.pipe).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled
            && let Ok(mut written) = self.written.lock()
        {
            written.push((self.client, bytes[..count].to_vec()));
        }
        polled
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}

/// Which of hyper's two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// A body, with trailers or without.
type Body = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

/// Answers `/status/length` with both; the body is echoed if it is longer. Of
/// other paths it answers gRPC, with their last part as `grpc-status`.
async fn serve(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let value = |text: &str| HeaderValue::from_str(text).expect("a value");
    let numbers = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let number = |text: &str| text.parse::<usize>().ok();
    let numbers = numbers.and_then(|(status, length)| Some((number(status)?, number(length)?)));
    let received = request.into_body().collect().await?.to_bytes();
    let (status, length) = numbers.unwrap_or((200, 10));
    let body = match received.len() > length {
        true => received,
        false => vec![b'x'; length].into(),
    };
    let trailers = numbers.is_none().then(|| {
        let mut trailers = HeaderMap::new();
        let status = path.rsplit('/').next().unwrap_or_default();
        trailers.insert("grpc-status", value(status));
        Ok(trailers)
    });
    let mut response = Response::new(Full::new(body).with_trailers(ready(trailers)));
    *response.status_mut() = StatusCode::from_u16(status as u16).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert("x-path", value(&path));
    headers.insert("server", value("test"));
    if numbers.is_none() {
        headers.insert("content-type", value("application/grpc"));
    }
    Ok(response)
}

/// What goes over a connection with these requests (`/status/length` and the
/// length of their body), `at_once` or one after the other.
pub(crate) fn record(
    version: Version,
    requests: &[(String, usize)],
    at_once: bool,
) -> Vec<(bool, Vec<u8>)> {
    let written = Written::default();
    let (client, server) = tokio::io::duplex(1 << 16);
    let end = |pipe, client| {
        TokioIo::new(End {
            pipe,
            client,
            written: written.clone(),
        })
    };
    let (client, server) = (end(client, true), end(server, false));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let service = service_fn(serve);
        let request = |(path, length): &(String, usize)| {
            Request::post(format!("http://example.com{path}"))
                .header("host", "example.com")
                .header("user-agent", "hyper-test")
                .header("x-path", path)
                .body(Full::new(Bytes::from(vec![b'y'; *length])))
                .expect("a request")
        };
        match version {
            Version::One => {
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(server, service),
                );
                let made = hyper::client::conn::http1::handshake(client).await;
                let (mut sender, connection) = made.expect("connected");
                tokio::spawn(connection);
                for one in requests {
                    let answer = sender.send_request(request(one)).await.expect("an answer");
                    answer.into_body().collect().await.expect("a body");
                    sender.ready().await.expect("ready");
                }
            }
            Version::Two => {
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(server, service),
                );
                let made =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), client).await;
                let (mut sender, connection) = made.expect("connected");
                tokio::spawn(connection);
                let mut answers = Vec::new();
                for one in requests {
                    let answer = tokio::spawn(sender.send_request(request(one)));
                    let whole = async {
                        let answer = answer.await.expect("run").expect("an answer");
                        answer.into_body().collect().await.expect("a body");
                    };
                    match at_once {
                        true => answers.push(whole),
                        false => whole.await,
                    }
                }
                for answer in answers {
                    answer.await;
                }
            }
        }
    });
    written
        .lock()
        .map(|written| written.clone())
        .unwrap_or_default()
}

/// Says all of it to a parser, with no more of a chunk captured than that.
pub(crate) fn say<P: Parser>(talk: &mut Talk<P>, said: &[(bool, Vec<u8>)], captured: usize) {
    for (client, bytes) in said {
        let data = &bytes[..bytes.len().min(captured)];
        let hidden = (bytes.len() - data.len()) as u64;
        match client {
            true => talk.ask_hiding(data, hidden),
            false => talk.answer_hiding(data, hidden),
        }
    }
}
