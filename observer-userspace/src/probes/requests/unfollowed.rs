//! Exchanges that the kernel half counted instead of following them.

use observer_common::requests::{Protocol, role, unfollowed};
use observer_common::tally::Kind;

use crate::probes::{MetricBuilder, Tick};
use observer_requests::metrics::{UNFOLLOWED, WHAT, WHICH, WHOSE, WHY};
use observer_signals::{Attribute, PointValue};

/// Adds the points of this tick.
pub fn collect(tick: &Tick<'_>, out: &mut MetricBuilder) {
    for (series, tally) in &tick.tallies.counters {
        if series.kind != Kind::RequestUnfollowed as u8 {
            continue;
        }
        let mut attributes = Vec::with_capacity(4);
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
            attributes.push(Attribute::new(WHAT.0, protocol.network_name()));
            if let Some(version) = protocol.network_version() {
                attributes.push(Attribute::new(WHICH.0, version));
            }
        }
        let why = match (series.label >> 16) as u32 {
            unfollowed::NO_ROOM => "no_room",
            _ => "share",
        };
        attributes.push(Attribute::new(WHY.0, why));
        let value = PointValue::Int(i64::try_from(tally.value).unwrap_or(i64::MAX));
        let start = tick.clock.wall(tally.since);
        out.workload(series.workload, &UNFOLLOWED, attributes, start, value);
    }
}
