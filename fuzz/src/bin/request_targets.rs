//! Targets of HTTP requests, one a line: their routes, and what is told of them.

#![no_main]

use std::collections::HashSet;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use observer_common::workload::WorkloadId;
use observer_requests::redact::{REDACTED, Redactor};
use observer_requests::routes::Routes;
use observer_requests::target::Target;

/// No route is longer than its path, but for what stands for its parts.
const FOR_AN_ID: usize = 8;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    // The first line is a rule of the user, if it can be one.
    let rule = text.lines().next().and_then(|line| line.parse().ok());
    let rules: Vec<_> = rule.into_iter().collect();
    let redactor = Arc::new(Redactor::new(&rules, &[]));
    let mut routes = Routes::configured(Vec::new(), Arc::clone(&redactor));
    let mut distinct = HashSet::new();
    for line in text.lines() {
        let route = routes.route(WorkloadId(1), line);
        assert_eq!(routes.route(WorkloadId(1), line), route, "{line:?}");
        assert!(
            route.len() <= (line.len() + 1) * FOR_AN_ID,
            "{line:?}: {route:?}"
        );
        assert!(!route.chars().any(char::is_control), "{line:?}: {route:?}");
        distinct.insert(route);

        let target = Target::split(line);
        let url = redactor.url("http", "host", None, &target);
        let visible = |c: char| !c.is_control() && c != ' ';
        assert!(url.chars().all(visible), "{line:?}: {url:?}");
        if let Some(query) = target.query {
            for parameter in redactor.query(query).split('&') {
                let value = parameter
                    .split_once('=')
                    .map_or(parameter, |(_, value)| value);
                assert!(
                    value.is_empty() || value == REDACTED,
                    "{line:?}: {parameter:?}"
                );
            }
        }
        redactor.name(line);
        redactor.text(line);
    }
    assert!(distinct.len() <= 202, "{} routes", distinct.len());
});
