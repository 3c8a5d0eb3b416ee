//! Exchanges that the kernel half counted instead of following them.

use observer_common::requests::{Protocol, role};
use observer_common::tally::Kind;

use crate::probes::{MetricBuilder, Tick};
use crate::requests::metrics::{UNFOLLOWED, WHAT, WHOSE};
use crate::signals::{Attribute, PointValue};

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http",
        Protocol::Http2 => "http2",
        Protocol::Postgres => "postgresql",
        Protocol::MySql => "mysql",
        Protocol::Redis => "redis",
        Protocol::Dns => "dns",
    }
}

/// Adds the points of this tick.
pub fn collect(tick: &Tick<'_>, out: &mut MetricBuilder) {
    for (series, tally) in &tick.tallies.counters {
        if series.kind != Kind::RequestUnfollowed as u8 {
            continue;
        }
        let mut attributes = Vec::with_capacity(2);
        let whose = (series.label >> 8) as u8;
        if whose == role::SERVER || whose == role::CLIENT {
            let whose = if whose == role::SERVER {
                "server"
            } else {
                "client"
            };
            attributes.push(Attribute::new(WHOSE.0, whose));
        }
        if let Some(protocol) = Protocol::from_number(series.label as u8) {
            attributes.push(Attribute::new(WHAT.0, name(protocol)));
        }
        let value = PointValue::Int(i64::try_from(tally.value).unwrap_or(i64::MAX));
        let start = tick.clock.wall(tally.since);
        out.workload(series.workload, &UNFOLLOWED, attributes, start, value);
    }
}
