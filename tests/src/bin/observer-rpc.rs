//! gRPC over HTTP/2 without TLS: `observer-rpc serve` prints its port;
//! `observer-rpc call PORT N` makes N calls each of `demo.Greeter/Greet`, which
//! succeeds, and of `demo.Greeter/Miss`, which ends with NOT_FOUND, and N plain
//! requests for `/plain`, all on one connection and by turns.

use std::convert::Infallible;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use observer_tests::receiver::Iter;
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
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    for number in 0..count * 3 {
        let (path, grpc) = match number % 3 {
            0 => ("/demo.Greeter/Greet", true),
            1 => ("/demo.Greeter/Miss", true),
            _ => ("/plain", false),
        };
        let mut request = Request::builder()
            .method(if grpc { "POST" } else { "GET" })
            .uri(format!("http://127.0.0.1:{port}{path}"));
        if grpc {
            request = request
                .header("content-type", "application/grpc")
                .header("te", "trailers");
        }
        let body = if grpc { message() } else { Bytes::new() };
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        ensure!(response.status() == 200, "{}", response.status());
        let body = response.into_body().collect().await?;
        let status = body.trailers().and_then(|t| t.get("grpc-status"));
        if grpc {
            let expected = if path.ends_with("Miss") {
                NOT_FOUND
            } else {
                "0"
            };
            let status = status.context("grpc-status")?;
            ensure!(status == expected, "{path}: {status:?}");
        }
    }
    Ok(())
}
