//! Checks which samples are kept, and what is said of the rest.

use observer_common::requests::Protocol;
use observer_common::workload::WorkloadId;

use super::*;
use observer_requests::{Call, Endpoints, Http, Parent, Transport};
use observer_signals::attribute::SharedResource;

fn filter(routes: &[&str], slower_than: u64) -> RequestFilter {
    RequestFilter {
        routes: routes
            .iter()
            .map(|route| route.parse().expect(route))
            .collect(),
        slower_than,
    }
}

fn served(route: &str, duration: Option<u64>) -> Option<Arc<RequestLink>> {
    Some(Arc::new(RequestLink {
        trace_id: [1; 16],
        span_id: [2; 8],
        route: duration.map(|_| route.into()),
        duration,
        sampled: true,
    }))
}

fn profile(kind: ProfileKind, requests: &[u64]) -> RawProfile {
    let sample = |request: &u64| RawSample {
        stack: Arc::default(),
        pid: 1,
        tid: 1,
        thread: String::new(),
        process: String::new(),
        resource: SharedResource::default(),
        outcome: Default::default(),
        wait: None,
        value: 10,
        request: *request,
        request_link: None,
    };
    RawProfile {
        kind,
        samples: requests.iter().map(sample).collect(),
        ..RawProfile::default()
    }
}

fn finished(role: Role, route: Option<&str>, duration: u64) -> Finished {
    Finished {
        workload: WorkloadId(1),
        tgid: 1,
        tid: 1,
        role,
        trace_id: [1; 16],
        span_id: [2; 8],
        parent_span_id: [0; 8],
        parent: Parent::Root,
        begun: 100,
        answered: None,
        ended: 100 + duration,
        call: Call::Http(Http::default()),
        route: route.map(Arc::from),
        endpoints: Arc::new(Endpoints {
            local: None,
            peer: None,
            client: None,
            transport: Transport::Unix,
            tls: false,
            protocol: Protocol::Http1,
        }),
        clock: None,
        waited_for: Vec::new(),
        retransmits: 0,
        sampled: true,
    }
}

/// Checks that route and duration both count, at their limits.
#[test]
fn both_must_match() {
    let of = filter(&["/a", "/b*"], 50);
    assert!(of.matches(Some("/a"), 50) && of.matches(Some("/bb"), 51));
    assert!(!of.matches(Some("/a"), 49) && !of.matches(Some("/c"), 99));
    assert!(!of.matches(None, 99) && filter(&[], 50).matches(None, 99));
}

/// Checks that samples wait for the end of their request, on CPU and off CPU
/// apart, and that each is counted once.
#[test]
fn samples_wait_for_the_end() {
    let mut selection = Selection::new(filter(&["/slow"], 50));
    let mut first = |request| match request {
        1 => served("/slow", Some(60)),
        2 => served("/fast", Some(60)),
        3 => served("/slow", Some(40)),
        4 => served("/slow", None),
        _ => None,
    };
    let on_cpu = profile(ProfileKind::OnCpu, &[0, 1, 2, 3, 4, 5]);
    let kept = selection.select(on_cpu, &mut first, false);
    let numbers = |raw: &RawProfile| raw.samples.iter().map(|s| s.request).collect::<Vec<_>>();
    assert_eq!(numbers(&kept), [1]);
    assert!(kept.samples[0].request_link.is_some());
    let off_cpu = profile(ProfileKind::OffCpu, &[4]);
    assert!(
        selection
            .select(off_cpu, &mut first, false)
            .samples
            .is_empty()
    );

    let mut then = |request| match request {
        4 => served("/slow", Some(1000)),
        _ => None,
    };
    for kind in [ProfileKind::OnCpu, ProfileKind::OffCpu] {
        let kept = selection.select(profile(kind, &[]), &mut then, true);
        assert_eq!(numbers(&kept), [4]);
    }
    let expected = Selected {
        kept: 20,
        left_out: 30,
        undecided: 10,
    };
    assert_eq!(selection.selected(ProfileKind::OnCpu), expected);
    let expected = Selected {
        kept: 10,
        ..Selected::default()
    };
    assert_eq!(selection.selected(ProfileKind::OffCpu), expected);
}

/// Checks what is said of requests that matched and of those that didn't.
#[test]
fn requests_are_counted() {
    let mut selection = Selection::new(filter(&["/users/*"], 50_000_000));
    let given = "--route /users/* --slower-than 50ms";
    assert_eq!(
        selection.nothing(),
        format!("no requests were seen, so none matched {given}; nothing is written")
    );
    selection.count(&finished(Role::Client, Some("/users/{id}"), 60_000_000));
    for _ in 0..3 {
        selection.count(&finished(Role::Server, Some("/"), 60_000_000));
    }
    selection.count(&finished(Role::Server, None, 60_000_000));
    selection.count(&finished(Role::Server, None, 60_000_000));
    selection.count(&finished(Role::Server, Some("/users/{id}"), 40_000_000));
    assert_eq!(selection.matched(), 0);
    assert_eq!(
        selection.nothing(),
        format!(
            "none of 6 requests matched {given}; there were / (3), without a route (2), \
             /users/{{id}} (1); nothing is written"
        )
    );
    selection.count(&finished(Role::Server, Some("/users/{id}"), 50_000_000));
    assert_eq!(selection.matched(), 1);
    assert_eq!(
        selection.summary(),
        format!("1 of 7 requests match {given}")
    );
}
