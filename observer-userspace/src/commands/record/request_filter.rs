//! Which requests a recording is about.

use std::fmt;
use std::time::Duration;

use observer_requests::redact::Glob;

/// Which requests a recording is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestFilter {
    /// Their routes; all when empty.
    pub(super) routes: Vec<Glob>,
    /// They took so long or longer, in nanoseconds.
    pub(super) slower_than: u64,
}

impl RequestFilter {
    /// Whether a request that is over is meant.
    pub(super) fn matches(&self, route: Option<&str>, duration: u64) -> bool {
        let route = route.unwrap_or_default();
        duration >= self.slower_than
            && (self.routes.is_empty() || self.routes.iter().any(|like| like.matches(route)))
    }
}

/// As it was given: `--route /users/* --slower-than 50ms`.
impl fmt::Display for RequestFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.routes.iter();
        let mut given: Vec<String> = routes
            .map(|route| format!("--route {}", route.as_str()))
            .collect();
        if self.slower_than > 0 {
            let duration = humantime::format_duration(Duration::from_nanos(self.slower_than));
            given.push(format!("--slower-than {duration}"));
        }
        f.write_str(&given.join(" "))
    }
}
