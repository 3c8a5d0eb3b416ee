//! Requests that were only counted: they belong to rates, and whoever reads durations is
//! told of how many they are.

use std::collections::HashMap;

use observer_common::requests::Protocol;
use observer_signals::MetricPoint;

use super::format::count;
use super::view::{View, attribute, label, number};

/// See `observer_requests::metrics::UNFOLLOWED`, whose name this is.
const UNFOLLOWED: &str = "observer.request.unfollowed";

/// Requests that were only counted in an interval.
#[derive(Debug, Default)]
pub struct Unfollowed {
    /// By service, whether it was asked (or asked itself), and protocol.
    by: HashMap<(String, bool, String), f64>,
    /// Of those that somebody was asked: to save costs, and for want of room.
    saved: f64,
    no_room: f64,
}

impl Unfollowed {
    /// Those of the interval.
    pub fn of(view: &View<'_>) -> Self {
        let mut all = Self::default();
        for (resource, point) in view.points(UNFOLLOWED) {
            let value = number(point);
            if value <= 0.0 {
                continue;
            }
            let is_server = attribute(point, "network.connection.role") == "server";
            let protocol = attribute(point, "network.protocol.name").to_owned();
            *all.by
                .entry((label(resource), is_server, protocol))
                .or_default() += value;
            if attribute(point, "observer.request.unfollowed.reason") == "no_room" {
                all.no_room += value;
            } else {
                all.saved += value;
            }
        }
        all
    }

    /// How many there were for want of room.
    pub fn no_room(&self) -> f64 {
        self.no_room
    }

    /// Those of a service, by protocol: what it was asked, or what it asked.
    pub fn of_service(&self, service: &str, is_server: bool) -> HashMap<&str, f64> {
        let mut of: HashMap<&str, f64> = HashMap::new();
        for ((name, server, protocol), value) in &self.by {
            if name == service && *server == is_server {
                *of.entry(protocol.as_str()).or_default() += value;
            }
        }
        of
    }

    /// All services that have some, and whether they were asked.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.by.keys().map(|(service, ..)| service.as_str())
    }

    /// What a reader must know of them; nothing if there are none.
    pub fn line(&self) -> Option<String> {
        let because = |n: f64, why: &str| (n > 0.0).then(|| format!("{} {why}", count(n)));
        let why = [
            because(self.saved, "to save costs"),
            because(
                self.no_room,
                "since the daemon was late and its ring full (--requests-ring makes it larger)",
            ),
        ];
        let why: Vec<String> = why.into_iter().flatten().collect();
        (!why.is_empty()).then(|| {
            format!(
                "requests that were only counted, at either end: {}; they are in req/s (~ is \
                 estimated), durations and errors are those of the others",
                why.join(", ")
            )
        })
    }
}

/// Of which protocol a point of a metric of requests is, as those that were only counted tell it.
pub fn protocol(metric: &str, point: &MetricPoint) -> &'static str {
    match metric.split('.').next() {
        Some("http" | "rpc") => Protocol::Http1.network_name(),
        Some("dns") => Protocol::Dns.network_name(),
        _ => {
            let system = attribute(point, "db.system.name");
            let named = |protocol: &Protocol| protocol.network_name() == system;
            let known = Protocol::ALL.iter().find(|protocol| named(protocol));
            // MariaDB speaks MySQL's.
            known.unwrap_or(&Protocol::MySql).network_name()
        }
    }
}
