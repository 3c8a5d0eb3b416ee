//! The HTTP client under both protocols: OTLP/gRPC is an HTTP/2 POST with a
//! five-byte frame and trailers, OTLP/HTTP a plain POST. Doing both with hyper
//! lets bodies wait encoded and compressed, and needs no second stack.

use std::error::Error as _;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;
use tonic::{Code, Status};

use super::outcome::{Outcome, from_grpc_status, from_http, from_response, grpc_status_from_http};
use super::settings::{Compression, Protocol, SignalSettings, TlsFiles};
use super::signal::Signal;
use super::tls;

/// As the specification asks: the exporter's language and version.
const AGENT: &str = concat!(
    "OTel-OTLP-Exporter-Rust/",
    env!("CARGO_PKG_VERSION"),
    " observer"
);

/// An endpoint's answer is not read beyond this.
const MAX_RESPONSE_BYTES: usize = 4 << 20;

/// Idle connections are closed after this, longer than usual intervals.
const IDLE: Duration = Duration::from_secs(90);

/// Bytes before a gRPC message: whether it's compressed, and its length.
const GRPC_FRAME: usize = 5;

/// A message as it travels: compressed if asked for, framed for gRPC. Takes no
/// more memory than it says, for it may wait for long.
///
/// # Errors
/// It doesn't fit a gRPC frame, or can't be compressed.
pub fn pack(settings: &SignalSettings, message: &impl Message) -> io::Result<Bytes> {
    match settings.compression {
        Compression::Gzip => pack_encoded(settings, &message.encode_to_vec()),
        Compression::None => {
            let frame = frame_len(settings);
            let mut body = Vec::with_capacity(frame + message.encoded_len());
            body.resize(frame, 0);
            message.encode(&mut body).map_err(io::Error::other)?;
            finish_frame(body, frame, false)
        }
    }
}

/// As [`pack`], of a message that is encoded already.
///
/// # Errors
/// See [`pack`].
pub fn pack_encoded(settings: &SignalSettings, message: &[u8]) -> io::Result<Bytes> {
    let frame = frame_len(settings);
    let compressed = settings.compression == Compression::Gzip;
    let mut body = vec![0; frame];
    if compressed {
        // The fast level: most of the gain for a third of the work.
        let mut encoder = GzEncoder::new(body, Level::fast());
        encoder.write_all(message)?;
        body = encoder.finish()?;
    } else {
        body.extend_from_slice(message);
    }
    body.shrink_to_fit();
    finish_frame(body, frame, compressed)
}

fn frame_len(settings: &SignalSettings) -> usize {
    match settings.protocol {
        Protocol::Grpc => GRPC_FRAME,
        Protocol::HttpProtobuf => 0,
    }
}

fn finish_frame(mut body: Vec<u8>, frame: usize, compressed: bool) -> io::Result<Bytes> {
    if frame == GRPC_FRAME {
        let length = u32::try_from(body.len() - frame).map_err(io::Error::other)?;
        let Some([flag, size @ ..]) = body.first_chunk_mut::<GRPC_FRAME>() else {
            return Err(io::Error::other("a message without room for its frame"));
        };
        *flag = u8::from(compressed);
        *size = length.to_be_bytes();
    }
    Ok(Bytes::from(body))
}

type Connections = HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections of one kind, shared by the signals that go the same way.
pub struct Transport {
    protocol: Protocol,
    connector: HttpsConnector<HttpConnector>,
    connections: Mutex<Connections>,
}

impl Transport {
    /// Reads the TLS files. `secure` says that some endpoint is https.
    ///
    /// # Errors
    /// A file can't be read or isn't what it should be; names it.
    pub fn new(protocol: Protocol, files: &TlsFiles, secure: bool) -> Result<Self> {
        let config = if secure {
            tls::client_config(files)?
        } else {
            tls::unused_config()?
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(60)));
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http();
        let connector = match protocol {
            Protocol::Grpc => builder.enable_http2().wrap_connector(http),
            Protocol::HttpProtobuf => builder.enable_http1().wrap_connector(http),
        };
        Ok(Self {
            protocol,
            connections: Mutex::new(connections(&connector, protocol)),
            connector,
        })
    }

    fn connections(&self) -> Connections {
        self.lock().clone()
    }

    /// Forgets the connections: after a timeout an HTTP/2 connection may be
    /// dead without anybody having been told.
    fn reset(&self) {
        *self.lock() = connections(&self.connector, self.protocol);
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn connections(connector: &HttpsConnector<HttpConnector>, protocol: Protocol) -> Connections {
    HyperClient::builder(TokioExecutor::new())
        .http2_only(protocol == Protocol::Grpc)
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(1)
        .build(connector.clone())
}

/// Sends the requests of one signal.
pub struct Client {
    signal: Signal,
    settings: SignalSettings,
    transport: Arc<Transport>,
    headers: HeaderMap,
}

impl Client {
    /// A client of `transport`, which must be of the settings' protocol.
    pub fn new(signal: Signal, settings: SignalSettings, transport: Arc<Transport>) -> Self {
        let headers = request_headers(&settings);
        Self {
            signal,
            settings,
            transport,
            headers,
        }
    }

    /// Whose requests it sends.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Where to, for messages.
    pub fn endpoint(&self) -> String {
        let uri = &self.settings.endpoint;
        match self.settings.protocol {
            Protocol::HttpProtobuf => uri.to_string(),
            Protocol::Grpc => format!(
                "{}://{}",
                uri.scheme_str().unwrap_or_default(),
                uri.authority().map_or("", |a| a.as_str())
            ),
        }
    }

    /// One attempt; ends within the timeout.
    pub async fn send(&self, body: Bytes) -> Outcome {
        let timeout = self.settings.timeout;
        match tokio::time::timeout(timeout, self.attempt(body)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.transport.reset();
                Outcome::Retry {
                    after: None,
                    reason: format!("no answer within {}", humantime::format_duration(timeout)),
                }
            }
        }
    }

    async fn attempt(&self, body: Bytes) -> Outcome {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.settings.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        if self.settings.protocol == Protocol::Grpc {
            *request.version_mut() = hyper::Version::HTTP_2;
        }
        let response = match self.transport.connections().request(request).await {
            Ok(response) => response,
            Err(error) => return disconnected(self.settings.protocol, &error),
        };
        match self.settings.protocol {
            Protocol::Grpc => self.grpc_answer(response).await,
            Protocol::HttpProtobuf => self.http_answer(response).await,
        }
    }

    async fn http_answer(&self, response: Response<Incoming>) -> Outcome {
        let (parts, body) = response.into_parts();
        // An unreadable body doesn't undo what the status said.
        let body = match Limited::new(body, MAX_RESPONSE_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => Bytes::new(),
        };
        from_http(self.signal, parts.status, &parts.headers, &body)
    }

    async fn grpc_answer(&self, response: Response<Incoming>) -> Outcome {
        let (parts, body) = response.into_parts();
        // An error without a message has its status among the headers.
        if let Some(status) = Status::from_header_map(&parts.headers) {
            if status.code() != Code::Ok {
                return from_grpc_status(&status);
            }
        } else if !parts.status.is_success() {
            return from_grpc_status(&grpc_status_from_http(parts.status));
        }
        let body = match Limited::new(body, MAX_RESPONSE_BYTES).collect().await {
            Ok(body) => body,
            Err(error) => {
                return Outcome::Retry {
                    after: None,
                    reason: format!("the answer broke off: {error}"),
                };
            }
        };
        let status = body.trailers().and_then(Status::from_header_map);
        match status.or_else(|| Status::from_header_map(&parts.headers)) {
            Some(status) if status.code() == Code::Ok => {
                let message = body.to_bytes();
                from_response(self.signal, message.get(GRPC_FRAME..).unwrap_or_default())
            }
            Some(status) => from_grpc_status(&status),
            None => Outcome::Refused {
                reason: "the answer has no gRPC status: is this an OTLP/gRPC endpoint?".to_owned(),
            },
        }
    }
}

/// No answer at all: always worth another try.
fn disconnected(protocol: Protocol, error: &hyper_util::client::legacy::Error) -> Outcome {
    let mut reason = error.to_string();
    let mut hint = "";
    let mut source = error.source();
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        // An HTTP/1 client that gets no HTTP/1 back has met a gRPC server.
        if cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            hint = " (is it an OTLP/gRPC endpoint? then it wants --otlp-protocol grpc)";
        }
        source = cause.source();
    }
    // The other way round: "HTTP/1" taken for the head of an HTTP/2 frame is one of 4 MB
    // (FRAME_SIZE_ERROR of RFC 9113, section 7, as the crate h2 calls it).
    if protocol == Protocol::Grpc && reason.ends_with("frame with invalid size") {
        hint = " (is it an OTLP/HTTP endpoint? then it wants --otlp-protocol http/protobuf)";
    }
    reason.push_str(hint);
    Outcome::Retry {
        after: None,
        reason,
    }
}

fn request_headers(settings: &SignalSettings) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let gzip = HeaderValue::from_static("gzip");
    let compressed = settings.compression == Compression::Gzip;
    match settings.protocol {
        Protocol::Grpc => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
            if compressed {
                headers.insert(HeaderName::from_static("grpc-encoding"), gzip);
            }
            if let Some(value) = grpc_timeout(settings.timeout) {
                headers.insert(HeaderName::from_static("grpc-timeout"), value);
            }
        }
        Protocol::HttpProtobuf => {
            let protobuf = HeaderValue::from_static("application/x-protobuf");
            headers.insert(CONTENT_TYPE, protobuf);
            if compressed {
                headers.insert(CONTENT_ENCODING, gzip);
            }
        }
    }
    // The user's last: whoever sets User-Agent means it.
    for (name, value) in &settings.headers {
        headers.insert(name.clone(), value.clone());
    }
    headers
}

/// At most eight digits and a unit, says gRPC; without one, no limit.
fn grpc_timeout(timeout: Duration) -> Option<HeaderValue> {
    let milliseconds = timeout.as_millis();
    if milliseconds > 99_999_999 {
        return None;
    }
    HeaderValue::from_str(&format!("{milliseconds}m")).ok()
}
