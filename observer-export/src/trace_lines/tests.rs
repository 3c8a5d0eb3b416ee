//! Checks lines and waterfalls of a small trace, character by character.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::terminal::shown::visible;
use super::*;
use observer_signals::{Attribute, Resource};

const MS: u64 = 1_000_000;

fn look(width: usize, colours: bool) -> Look {
    Look {
        width,
        colours,
        clock: |at| format!("12:00:{:02}", at / 1_000_000_000 % 60),
    }
}

fn span(
    service: &'static str,
    kind: SpanKind,
    name: &str,
    (id, parent): (u8, u8),
    ms: (u64, u64),
) -> Span {
    Span {
        resource: Arc::new(Resource {
            attributes: vec![Attribute::new("service.name", service)],
        }),
        trace_id: [0x4b; 16],
        span_id: [id; 8],
        parent_span_id: [parent; 8],
        name: name.to_owned(),
        kind,
        start: 5_000_000_000 + ms.0 * MS,
        end: 5_000_000_000 + ms.1 * MS,
        attributes: Vec::new(),
        events: Vec::new(),
        dropped_events: 0,
        status: SpanStatus::Unset,
    }
}

/// nginx asks a shop, which asks PostgreSQL and then fails at paying.
fn trace() -> Vec<Span> {
    use SpanKind::{Client, Server};
    let mut root = span("nginx", Server, "GET /users/{id}", (1, 0), (0, 100));
    root.attributes = vec![
        Attribute::new("http.response.status_code", 502_i64),
        Attribute::new("observer.time.network", 0.09),
        Attribute::new("observer.time.cpu", 0.008),
        Attribute::new("observer.time.run_queue", 0.002),
        Attribute::new("observer.time.disk", 0.0),
    ];
    root.status = SpanStatus::Error(String::new());
    let ask = span("nginx", Client, "GET", (2, 1), (5, 95));
    let mut shop = span("shop", Server, "GET /users/{id}", (3, 2), (6, 94));
    shop.attributes = vec![
        Attribute::new("http.response.status_code", 200_i64),
        Attribute::new("observer.time.lock", 0.088),
    ];
    let pay = span("shop", Client, "POST \u{1b}[2Jpay", (5, 3), (60, 90));
    let query = span("shop", Client, "SELECT users", (4, 3), (10, 50));
    // In the order in which they end.
    vec![query, pay, shop, ask, root]
}

/// Checks lines on a narrow and on a wide terminal.
#[test]
fn lines() {
    let of = |width| -> Vec<String> {
        trace()
            .iter()
            .map(|s| line(s, &look(width, false)).to_string())
            .collect()
    };
    assert_eq!(
        of(80),
        [
            "12:00:05.050 shop         → SELECT users         40 ms ok               4b4b4b4b",
            "12:00:05.090 shop         → POST �[2Jpay         30 ms ok               4b4b4b4b",
            "12:00:05.094 shop         ← GET /users/{id}      88 ms 200    lock 100% 4b4b4b4b",
            "12:00:05.095 nginx        → GET                  90 ms ok               4b4b4b4b",
            "12:00:05.100 nginx        ← GET /users/{id}     100 ms 502    net 90%   4b4b4b4b",
        ]
    );
    assert_eq!(
        of(120),
        [
            "12:00:05.050 shop               → SELECT users                           40 ms ok                               4b4b4b4b",
            "12:00:05.090 shop               → POST �[2Jpay                           30 ms ok                               4b4b4b4b",
            "12:00:05.094 shop               ← GET /users/{id}                        88 ms 200    lock 100%                 4b4b4b4b",
            "12:00:05.095 nginx              → GET                                    90 ms ok                               4b4b4b4b",
            "12:00:05.100 nginx              ← GET /users/{id}                       100 ms 502    net 90% cpu 8% runq 2%    4b4b4b4b",
        ]
    );
}

/// Checks a waterfall with and without room for the parts.
#[test]
fn waterfalls() {
    let narrow = "\
12:00:05.000 trace 4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b, 100 ms, 5 spans
← nginx GET /users/{id}           100 ms 502    ███████████████████████████████
  net 90% cpu 8% runq 2%
  → nginx GET                      90 ms ok      ████████████████████████████
    ← shop GET /users/{id}         88 ms 200     ████████████████████████████
      lock 100%
      → shop SELECT users          40 ms ok        ████████████
      → shop POST �[2Jpay          30 ms ok                       █████████

";
    assert_eq!(waterfall(&trace(), &look(80, false)).as_str(), narrow);
    let wide = "\
12:00:05.000 trace 4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b, 100 ms, 5 spans
← nginx GET /users/{id}                           100 ms 502    ███████████████████████████████ net 90% cpu 8% runq 2%
  → nginx GET                                      90 ms ok      ████████████████████████████
    ← shop GET /users/{id}                         88 ms 200     ████████████████████████████   lock 100%
      → shop SELECT users                          40 ms ok        ████████████
      → shop POST �[2Jpay                          30 ms ok                       █████████

";
    assert_eq!(waterfall(&trace(), &look(120, false)).as_str(), wide);
    assert_eq!(waterfall(&[], &look(80, false)).as_str(), "");
}

/// Checks that no line is wider than the terminal, whatever its width, with
/// and without colours.
#[test]
fn lines_fit() {
    let mut trace = trace();
    trace[0].name = "é".repeat(500);
    for width in (60..200).step_by(7) {
        for colours in [false, true] {
            let look = look(width, colours);
            let mut text = waterfall(&trace, &look).to_string();
            for span in &trace {
                text += line(span, &look).as_str();
                text.push('\n');
            }
            for line in text.lines() {
                assert!(visible(line) <= width, "{width}: {line}");
            }
            assert_eq!(colours, text.contains('\u{1b}'));
        }
    }
}

/// Checks that every span is shown once, even if parents are missing, their own
/// or in a circle.
#[test]
fn parents_may_say_anything() {
    let kind = SpanKind::Internal;
    let parents = [(1, 9), (2, 2), (3, 4), (4, 3), (5, 1)];
    let spans: Vec<Span> = parents
        .iter()
        .map(|ids| {
            span(
                "s",
                kind,
                &format!("span{}", ids.0),
                *ids,
                (0, u64::from(ids.0)),
            )
        })
        .collect();
    let text = waterfall(&spans, &look(120, false)).to_string();
    for (id, _) in parents {
        assert_eq!(text.matches(&format!("span{id}")).count(), 1, "{text}");
    }
    assert!(text.contains("  · s span5"), "{text}");
}

/// Checks when a trace is whole: a moment after its last span, but not before
/// the parent of a client's span.
#[test]
fn whole_traces() {
    let mut traces = Traces::default();
    let begin = Instant::now();
    let after = |ms| begin + Duration::from_millis(ms);
    let mut spans = trace();
    let root = spans.pop().expect("spans");
    for span in spans {
        traces.add(span, begin);
    }
    assert!(traces.whole(after(5000)).is_empty(), "its root must come");
    traces.add(root, after(6000));
    assert!(traces.whole(after(6100)).is_empty(), "more may come");
    assert_eq!(traces.whole(after(6900))[0].len(), 5);
    assert!(traces.rest().is_empty());

    // A server's parent may be elsewhere, and nobody waits for ever.
    let remote = span("s", SpanKind::Server, "a", (1, 7), (0, 1));
    let orphan = Span {
        trace_id: [9; 16],
        ..span("s", SpanKind::Client, "b", (2, 8), (0, 1))
    };
    traces.add(remote, begin);
    traces.add(orphan, begin);
    let names = |traces: Vec<Vec<Span>>| -> Vec<String> {
        traces.into_iter().flatten().map(|s| s.name).collect()
    };
    assert_eq!(names(traces.whole(after(1000))), ["a"]);
    assert_eq!(names(traces.whole(after(61_000))), ["b"]);
}

/// Checks that memory is bounded, by traces and within one, and that what makes
/// room is handed on, the oldest first.
#[test]
fn traces_are_bounded() {
    let mut traces = Traces::default();
    let now = Instant::now();
    let one = span("s", SpanKind::Client, "b", (2, 8), (0, 1));
    let add = |traces: &mut Traces, n: u64| {
        let span = Span {
            trace_id: (u128::from(n) + 1).to_be_bytes(),
            ..one.clone()
        };
        traces.add(span, now + Duration::from_nanos(n));
    };
    for n in 0..80_000 {
        add(&mut traces, n);
    }
    let made_room = traces.whole(now);
    let left = traces.rest();
    assert_eq!(made_room.len() + left.len(), 80_000);
    assert!(left.len() <= 50_000, "{} are left", left.len());
    let newest = (80_000_u128).to_be_bytes();
    assert!(left.iter().any(|trace| trace[0].trace_id == newest));
    for _ in 0..5000 {
        add(&mut traces, 1);
    }
    let left = traces.rest();
    assert_eq!(left[0].len() as u64 + traces.left_out(), 5000);
    assert!(left[0].len() < 5000);
}

/// Checks which spans are wanted.
#[test]
fn wanted() {
    let wanted = |service: Option<&str>, ms| Wanted {
        service: service.map(str::to_owned).into_iter().collect(),
        slower_than: ms * MS,
    };
    let span = &trace()[4];
    assert!(wanted(None, 0).wants(span) && wanted(Some("nginx"), 100).wants(span));
    assert!(!wanted(Some("shop"), 0).wants(span) && !wanted(None, 101).wants(span));
}
