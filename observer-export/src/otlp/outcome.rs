//! What an endpoint's answer means, by the OTLP specification's tables
//! ("Failures" of OTLP/gRPC, "Retryable Response Codes" of OTLP/HTTP).

use std::time::{Duration, SystemTime};

use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::signal::Signal;
use observer_signals::outside::one_line;

/// As much of an answer that is no message of OTLP's is passed on to people, in bytes.
const LONGEST_TEXT: usize = 200;

/// Longest message of an endpoint that is passed on to people, in bytes.
const LONGEST_MESSAGE: usize = 1024;

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken, but for `rejected` items; `message` says why, or warns, or is
    /// empty.
    Sent {
        /// Data points, spans or profiles not taken. Not to be tried again.
        rejected: u64,
        /// For people.
        message: String,
    },
    /// To be tried again, not before `after` if the endpoint named a time.
    Retry {
        /// The endpoint's wish.
        after: Option<Duration>,
        /// For people.
        reason: String,
    },
    /// Never to be tried again.
    Refused {
        /// For people.
        reason: String,
    },
    /// The endpoint doesn't know this signal at all.
    Unsupported {
        /// For people.
        reason: String,
    },
}

/// The beginning of an answer that is for people, in one line; empty if it isn't text.
fn text(body: &[u8]) -> String {
    let beginning = body.get(..LONGEST_TEXT).unwrap_or(body);
    let text = match str::from_utf8(beginning) {
        Ok(text) => text,
        // It may be cut within a character.
        Err(error) if beginning.len() < body.len() && error.error_len().is_none() => {
            let whole = beginning.get(..error.valid_up_to()).unwrap_or_default();
            str::from_utf8(whole).unwrap_or_default()
        }
        Err(_) => "",
    };
    one_line(text.trim(), LONGEST_TEXT)
}

/// What an endpoint says for people, as one line.
fn said(message: &str) -> String {
    one_line(message, LONGEST_MESSAGE)
}

/// A gRPC status other than OK.
pub fn from_grpc_status(status: &Status) -> Outcome {
    let reason = format!("gRPC {:?}: {}", status.code(), said(status.message()));
    let retry_delay = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    match status.code() {
        Code::Unimplemented => Outcome::Unsupported { reason },
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Outcome::Retry {
            after: retry_delay,
            reason,
        },
        // Only the server's RetryInfo says that recovery is possible.
        Code::ResourceExhausted if retry_delay.is_some() => Outcome::Retry {
            after: retry_delay,
            reason,
        },
        _ => Outcome::Refused { reason },
    }
}

/// The gRPC status of an HTTP response that has none, by gRPC's "HTTP to gRPC
/// Status Code Mapping": an answer of some proxy on the way.
pub fn grpc_status_from_http(status: StatusCode) -> Status {
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    Status::new(
        code,
        format!("HTTP status {status} instead of a gRPC answer"),
    )
}

/// An OTLP/HTTP response with its body, whatever that is.
pub fn from_http(signal: Signal, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let content = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let is_protobuf = content.is_some_and(|it| it.starts_with("application/x-protobuf"));
    if status.is_success() {
        return from_response(signal, if is_protobuf { body } else { &[] });
    }
    let mut reason = format!("HTTP {status}");
    // The body of a failure is a google.rpc.Status, if it is protobuf at all.
    let detail = match is_protobuf {
        true => tonic_types::pb::Status::decode(body)
            .map(|detail| said(&detail.message))
            .unwrap_or_default(),
        false => text(body),
    };
    if !detail.is_empty() {
        reason = format!("{reason}: {detail}");
    }
    match status.as_u16() {
        429 | 502 | 503 | 504 => Outcome::Retry {
            after: headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| retry_after(value, SystemTime::now())),
            reason,
        },
        404 => Outcome::Unsupported { reason },
        _ => Outcome::Refused { reason },
    }
}

/// A success: all of it, or part of it. A body that can't be read is still a
/// success, for the status said so.
pub fn from_response(signal: Signal, body: &[u8]) -> Outcome {
    let partial = match signal {
        Signal::Metrics => ExportMetricsServiceResponse::decode(body)
            .ok()
            .and_then(|r| r.partial_success)
            .map(|p| (p.rejected_data_points, p.error_message)),
        Signal::Traces => ExportTraceServiceResponse::decode(body)
            .ok()
            .and_then(|r| r.partial_success)
            .map(|p| (p.rejected_spans, p.error_message)),
        Signal::Profiles => ExportProfilesServiceResponse::decode(body)
            .ok()
            .and_then(|r| r.partial_success)
            .map(|p| (p.rejected_profiles, p.error_message)),
    };
    let (rejected, message) = partial.unwrap_or_default();
    Outcome::Sent {
        rejected: u64::try_from(rejected).unwrap_or(0),
        message: said(&message),
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn retried(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Retry { .. })
    }

    /// Checks every gRPC code against the specification's table.
    #[test]
    fn grpc_codes() {
        let retryable = [1, 4, 10, 11, 14, 15];
        for code in 1..=16 {
            let outcome = from_grpc_status(&Status::new(Code::from_i32(code), "why"));
            assert_eq!(retried(&outcome), retryable.contains(&code), "{code}");
            let unsupported = matches!(outcome, Outcome::Unsupported { .. });
            assert_eq!(unsupported, code == 12, "{code}");
        }
    }

    /// Checks that RetryInfo makes RESOURCE_EXHAUSTED retryable, tells the
    /// time for UNAVAILABLE, and makes nothing else retryable.
    #[test]
    fn retry_info() {
        let delay = Duration::from_millis(2500);
        let with_info = |code| {
            let details = ErrorDetails::with_retry_info(Some(delay));
            from_grpc_status(&Status::with_error_details(code, "busy", details))
        };
        for code in [Code::ResourceExhausted, Code::Unavailable] {
            match with_info(code) {
                Outcome::Retry { after, .. } => assert_eq!(after, Some(delay)),
                other => panic!("{other:?}"),
            }
        }
        assert!(!retried(&with_info(Code::InvalidArgument)));
    }

    /// Checks every HTTP status against the specification's table.
    #[test]
    fn http_codes() {
        for code in 300..600 {
            let status = StatusCode::from_u16(code).expect("a valid status");
            let outcome = from_http(Signal::Traces, status, &HeaderMap::new(), b"");
            assert_eq!(
                retried(&outcome),
                [429, 502, 503, 504].contains(&code),
                "{code}"
            );
            let unsupported = matches!(outcome, Outcome::Unsupported { .. });
            assert_eq!(unsupported, code == 404, "{code}");
        }
    }

    /// Checks that the beginning of an answer in text is told, in one line, and nothing of
    /// one that isn't text; and that a page is no partial success.
    #[test]
    fn answers_in_text() {
        let said = |status: u16, body: &[u8]| {
            let status = StatusCode::from_u16(status).expect("a status");
            from_http(Signal::Traces, status, &HeaderMap::new(), body)
        };
        let reason = |body: &[u8]| match said(400, body) {
            Outcome::Refused { reason } => reason,
            other => panic!("{other:?}"),
        };
        let told = reason(b"tenant\nis missing\x1b[31m\n");
        assert!(told.starts_with("HTTP 400 Bad Request: tenant"), "{told}");
        assert!(
            told.contains("is missing") && !told.contains(['\n', '\x1b']),
            "{told}"
        );
        let long = reason("é".repeat(5000).as_bytes());
        assert!(long.len() < 300 && long.contains("éé"), "{long}");
        assert_eq!(reason(&[0xff, 0xfe, 0]), "HTTP 400 Bad Request");
        let page = said(200, b"<html>welcome</html>");
        assert!(matches!(page, Outcome::Sent { rejected: 0, .. }));
    }

    /// Checks both forms of Retry-After against RFC 9110's examples.
    #[test]
    fn retry_after_forms() {
        let date = "Fri, 31 Dec 1999 23:59:59 GMT";
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_799);
        let before = then - Duration::from_secs(90);
        assert_eq!(retry_after("120", before), Some(Duration::from_secs(120)));
        assert_eq!(retry_after(date, before), Some(Duration::from_secs(90)));
        let after = then + Duration::from_secs(1);
        assert_eq!(retry_after(date, after), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", before), None);
    }
}
