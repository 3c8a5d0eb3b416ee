//! What is answered to a request: metrics, health, or why not.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName,
    HeaderValue, VARY, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::guard::Token;
use super::health::{Answer, Health};
use super::negotiation::{Format, takes_gzip};
use super::pages::Board;

/// What all answers are made of.
#[derive(Default)]
pub struct Shared {
    /// What is scraped.
    pub board: Board,
    /// What is known of the daemon.
    pub health: Health,
    /// Who wants metrics has to show it; health has no secrets, and those who ask for it
    /// (kubelets) have none.
    pub token: Option<Token>,
}

type Page = Response<Full<Bytes>>;

/// The answer to one request.
pub(super) fn answer<B>(shared: &Shared, request: &Request<B>) -> Page {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let page = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        return with(page, ALLOW, "GET, HEAD");
    }
    match request.uri().path() {
        "/metrics" => metrics(shared, request.headers()),
        "/healthz" => health(shared.health.live()),
        "/readyz" => health(shared.health.ready()),
        "/" => plain(StatusCode::OK, "/metrics\n/healthz\n/readyz\n"),
        _ => plain(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n",
        ),
    }
}

fn metrics(shared: &Shared, headers: &HeaderMap) -> Page {
    if let Some(token) = &shared.token
        && !token.is_shown(&text(headers, &AUTHORIZATION))
    {
        let why = "show the token: Authorization: Bearer TOKEN, or as Basic's password\n";
        let page = plain(StatusCode::UNAUTHORIZED, why);
        let page = with(page, WWW_AUTHENTICATE, "Bearer realm=\"observer\"");
        return with(page, WWW_AUTHENTICATE, "Basic realm=\"observer\"");
    }
    let format = Format::accepted(&text(headers, &ACCEPT));
    let gzip = takes_gzip(&text(headers, &ACCEPT_ENCODING));
    let page = Response::new(Full::new(shared.board.page(format, gzip)));
    let page = with(page, CONTENT_TYPE, format.content_type());
    let page = with(page, VARY, "Accept, Accept-Encoding, Authorization");
    if gzip {
        with(page, CONTENT_ENCODING, "gzip")
    } else {
        page
    }
}

fn health(answer: Answer) -> Page {
    let status = match answer.good {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    plain(status, answer.text)
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(text.into()));
    *page.status_mut() = status;
    with(page, CONTENT_TYPE, "text/plain; charset=utf-8")
}

fn with(mut page: Page, name: HeaderName, value: &'static str) -> Page {
    let headers = page.headers_mut();
    headers.append(name, HeaderValue::from_static(value));
    page
}

/// All values of a header, as one.
fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}
