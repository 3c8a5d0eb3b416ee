//! A daemon, and the resources that it exports.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_export::otlp::Signal;
use observer_testkit::collector::{Collector, named};
use observer_testkit::tool::Tool;
use observer_testkit::{in_time, observer_bin};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

/// `observer run` that exports system calls each second.
pub fn daemon(collector: &Collector, arguments: &[&str]) -> Result<Tool> {
    let mut command = Command::new(observer_bin());
    command.args(["run", "--probes", "syscalls", "--interval", "1s"]);
    command.args(["--budget", "off", "--otlp-protocol", "http/protobuf"]);
    command.args(["--otlp-endpoint", &collector.endpoint()]);
    let mut daemon = Tool::start(command.args(arguments))?;
    daemon.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    Ok(daemon)
}

/// All resources under which metrics of programs of this name were exported, each once.
pub fn resources(collector: &Collector, program: &str) -> Result<Vec<Vec<KeyValue>>> {
    let programs = [program];
    let is_it = named(&programs);
    let mut found: Vec<Vec<KeyValue>> = Vec::new();
    for request in collector.receiver().taken(Signal::Metrics) {
        let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
        for group in request.resource_metrics {
            let attributes = group.resource.map(|r| r.attributes).unwrap_or_default();
            if is_it(&attributes) && !found.contains(&attributes) {
                found.push(attributes);
            }
        }
    }
    Ok(found)
}

/// Waits for metrics of a program; all of them must be of one resource.
pub fn resource(collector: &Collector, program: &str, daemon: &Tool) -> Result<Vec<KeyValue>> {
    let begin = Instant::now();
    while resources(collector, program)?.is_empty() {
        in_time!(
            begin.elapsed() < Duration::from_secs(30),
            "nothing of {program}:\n{}",
            daemon.printed()?
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    // What comes late would come now.
    std::thread::sleep(Duration::from_secs(3));
    let mut found = resources(collector, program)?;
    ensure!(
        found.len() == 1,
        "{program} has several resources: {found:#?}"
    );
    found.pop().context("just seen")
}

/// The value of an attribute that is a list of texts.
pub fn texts<'a>(attributes: &'a [KeyValue], key: &str) -> Vec<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let Some(Value::ArrayValue(list)) = found.and_then(|it| it.value.as_ref()?.value.as_ref())
    else {
        return Vec::new();
    };
    let texts = list.values.iter().filter_map(|value| match &value.value {
        Some(Value::StringValue(text)) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// Workloads whose container's name didn't come, as the daemon counts them.
pub fn unnamed(collector: &Collector) -> Result<f64> {
    let losses = collector.own_by("observer.probe.lost", "error.type")?;
    Ok(losses.get("container_unnamed").copied().unwrap_or(0.0))
}
