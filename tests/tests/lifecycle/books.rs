//! What was exported, added up as a collector does that believes all it gets, and objects
//! to what can't be: a series that falls, goes on after its end, or ends twice.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use observer_export::otlp::Signal;
use observer_testkit::collector::{Collector, text};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{DataPointFlags, NumberDataPoint, number_data_point};
use prost::Message;

/// A series of calls: who, and from when on.
pub type Series = (String, u64);

/// What a collector that adds up sees of a system call.
#[derive(Debug, Default)]
pub struct Books {
    /// How many by whom.
    pub calls: BTreeMap<Series, u64>,
    /// The last start of those that ended.
    pub ended: BTreeMap<String, u64>,
}

impl Books {
    /// Reads all that was exported of a system call, in its order.
    pub fn of(collector: &Collector, syscall: &str) -> Result<Self> {
        let mut books = Self::default();
        for request in collector.receiver().taken(Signal::Metrics) {
            let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
            for group in request.resource_metrics {
                let attributes = group.resource.map(|r| r.attributes).unwrap_or_default();
                let whose = ["observer.workload.comm", "service.name"];
                let whose = whose.iter().find_map(|key| text(&attributes, key));
                let whose = whose.context("a resource without a name")?.to_owned();
                let metrics = group.scope_metrics.into_iter().flat_map(|s| s.metrics);
                for metric in metrics.filter(|m| m.name == "observer.syscall.calls") {
                    let Some(Data::Sum(sum)) = metric.data else {
                        continue;
                    };
                    for point in &sum.data_points {
                        if text(&point.attributes, "syscall.name") == Some(syscall) {
                            books.enter(&whose, point)?;
                        }
                    }
                }
            }
        }
        Ok(books)
    }

    fn enter(&mut self, whose: &str, point: &NumberDataPoint) -> Result<()> {
        let start = point.start_time_unix_nano;
        let key = (whose.to_owned(), start);
        if point.flags & DataPointFlags::NoRecordedValueMask as u32 != 0 {
            ensure!(
                point.value.is_none(),
                "{whose}: a value that isn't recorded"
            );
            ensure!(
                self.calls.contains_key(&key),
                "{whose}: the end of a series that never was"
            );
            let twice = self.ended.insert(whose.to_owned(), start);
            ensure!(twice != Some(start), "{whose} ended twice");
            return Ok(());
        }
        ensure!(
            self.ended.get(whose) != Some(&start),
            "{whose} goes on after its end"
        );
        let Some(number_data_point::Value::AsInt(calls)) = point.value else {
            anyhow::bail!("{whose}: {:?}", point.value);
        };
        // It has room for whoever comes, and never begins anew.
        let is_other = |(name, since): &Series| name == "other" && *since != start;
        ensure!(
            whose != "other" || !self.calls.keys().any(is_other),
            "`other` begins at {start}, too"
        );
        let last = self.calls.entry(key).or_default();
        let calls = u64::try_from(calls)?;
        ensure!(calls >= *last, "{whose} fell from {last} to {calls}");
        *last = calls;
        Ok(())
    }

    /// Calls of all series together.
    pub fn sum(&self) -> u64 {
        self.calls.values().sum()
    }

    /// Calls of one.
    pub fn of_one(&self, name: &str) -> u64 {
        let its = self.calls.iter().filter(|((whose, _), _)| whose == name);
        its.map(|(_, calls)| calls).sum()
    }
}
