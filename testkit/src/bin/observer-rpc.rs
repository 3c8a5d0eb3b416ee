//! gRPC over HTTP/2 without TLS: `observer-rpc serve` prints its port;
//! `observer-rpc call PORT N` makes N calls each of `demo.Greeter/Greet`, which
//! succeeds, and of `demo.Greeter/Miss`, which ends with NOT_FOUND, and N plain
//! requests for `/plain`, all on one connection, three at a time.

use std::convert::Infallible;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use observer_testkit::receiver::Iter;
use tokio::net::{TcpListener, TcpStream};

/// gRPC's code for it.
const NOT_FOUND: &str = "5";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve"] => serve().await,
        ["call", port, count] => call(port.parse()?, count.parse()?).await,
        _ => bail!("usage: observer-rpc serve | call PORT N"),
    }
}

async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = hyper::service::service_fn(handle);
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        tokio::spawn(async move {
            // A client that goes is no fault here.
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn handle(request: Request<Incoming>) -> Result<Response<StreamBody<Iter>>, Infallible> {
    let path = request.uri().path().to_owned();
    // A call's message comes before its answer is made.
    let _ = request.into_body().collect().await;
    let mut trailers = HeaderMap::new();
    let status = if path.ends_with("/Miss") {
        NOT_FOUND
    } else {
        "0"
    };
    trailers.insert(
        "grpc-status",
        hyper::header::HeaderValue::from_static(status),
    );
    let grpc = path.starts_with("/demo");
    let mut frames = vec![Ok(Frame::data(message()))];
    if grpc {
        frames.push(Ok(Frame::trailers(trailers)));
    }
    let mut response = Response::new(StreamBody::new(Iter::of(frames)));
    if grpc {
        let kind = hyper::header::HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", kind);
    }
    Ok(response)
}

/// A frame of gRPC with four bytes in it.
fn message() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 4, 1, 2, 3, 4])
}

async fn call(port: u16, count: usize) -> Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let sender = &mut sender;
    for _ in 0..count {
        let [greet, miss, plain] = ["/demo.Greeter/Greet", "/demo.Greeter/Miss", "/plain"]
            .map(|path| (path, send(sender, port, path)));
        tokio::try_join!(check(greet), check(miss), check(plain))?;
    }
    Ok(())
}

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// Sends a request; its answer.
fn send(
    sender: &mut Sender,
    port: u16,
    path: &str,
) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
    let grpc = path.starts_with("/demo");
    let mut request = Request::new(Full::new(if grpc { message() } else { Bytes::new() }));
    let uri = format!("http://127.0.0.1:{port}{path}");
    *request.uri_mut() = uri.parse().unwrap_or_default();
    if grpc {
        *request.method_mut() = hyper::Method::POST;
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            let value = hyper::header::HeaderValue::from_static(value);
            request.headers_mut().insert(name, value);
        }
    }
    sender.send_request(request)
}

/// Reads an answer to its end.
async fn check(
    (path, answer): (
        &str,
        impl Future<Output = hyper::Result<Response<Incoming>>>,
    ),
) -> Result<()> {
    let answer = answer.await?;
    ensure!(answer.status() == 200, "{path}: {}", answer.status());
    let body = answer.into_body().collect().await?;
    if path.starts_with("/demo") {
        let expected = if path.ends_with("Miss") {
            NOT_FOUND
        } else {
            "0"
        };
        let status = body.trailers().and_then(|t| t.get("grpc-status"));
        let status = status.context("grpc-status")?;
        ensure!(status == expected, "{path}: {status:?}");
    }
    Ok(())
}
