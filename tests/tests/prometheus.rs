//! Checks what Prometheus gets against what OTLP gets, with the real Prometheus as the
//! reader: once with native histograms (protobuf), once without (OpenMetrics text).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_export::otlp::Signal;
use observer_testkit::collector::{Collector, text};
use observer_testkit::packages::program;
use observer_testkit::requests::Scene;
use observer_testkit::tool::Tool;
use observer_testkit::{daemon, in_time, observer_bin, port, workload};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use prost::Message as _;
use serde_json::Value;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// System calls that the observed program makes.
const CALLS: u64 = 1000;

/// What is done again and again until it is so.
fn eventually(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !so().with_context(|| what.to_owned())? {
        in_time!(begin.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

/// The real Prometheus, scraping a daemon each second; its data go with it.
struct Prometheus {
    _tool: Tool,
    _folder: tempfile::TempDir,
    url: String,
}

impl Prometheus {
    fn scrape(target: u16, features: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("prometheus.yml");
        // Whose a series is, is said by the series.
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n\
             - job_name: observer\n\
             \x20 honor_labels: true\n\
             \x20 static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
        );
        std::fs::write(&file, config)?;
        let address = format!("127.0.0.1:{}", port::free()?);
        let mut command = program("prometheus", "prometheus")?;
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        if !features.is_empty() {
            command.arg(format!("--enable-feature={}", features.join(",")));
        }
        let mut tool = Tool::start(&mut command)?;
        let url = format!("http://{address}");
        tool.wait_until(|_| Ok(curl(&["-f", &format!("{url}/-/ready")]).is_ok()))
            .context("prometheus")?;
        Ok(Self {
            _tool: tool,
            _folder: folder,
            url,
        })
    }

    /// Nothing that it scraped was there twice, or of the past.
    fn takes_all(&self) -> Result<()> {
        let own = curl(&["-f", &format!("{}/metrics", self.url)])?;
        for what in ["duplicate_timestamp", "out_of_order", "out_of_bounds"] {
            let line = format!("prometheus_target_scrapes_sample_{what}_total 0");
            ensure!(own.lines().any(|found| found == line), "{what}: {own}");
        }
        Ok(())
    }

    /// The series that a query gives, each by its labels.
    fn query(&self, query: &str) -> Result<Vec<(BTreeMap<String, String>, Value)>> {
        let url = format!("{}/api/v1/query", self.url);
        let query = format!("query={query}");
        let answer = curl(&["-G", "--data-urlencode", &query, &url])?;
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().context("no result")?;
        let series = series.iter().map(|one| {
            let labels = serde_json::from_value(one["metric"].clone())?;
            Ok((labels, one.clone()))
        });
        series.collect()
    }

    /// The values that a series had in the last minutes.
    fn values(&self, selector: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let mut found = BTreeMap::new();
        for (labels, series) in self.query(&format!("{selector}[5m]"))? {
            let samples = series["values"].as_array().context("no samples")?;
            let values = samples.iter().filter_map(|sample| sample[1].as_str());
            let values = values.map(canonical).collect::<BTreeSet<String>>();
            let name = labels.get("syscall_name").cloned().unwrap_or_default();
            let all: &mut BTreeSet<String> = found.entry(name).or_default();
            all.extend(values);
        }
        Ok(found)
    }
}

/// A number as one text, however it was written.
fn canonical(number: &str) -> String {
    number
        .parse::<f64>()
        .map_or(number.to_owned(), |n| n.to_string())
}

fn curl(arguments: &[&str]) -> Result<String> {
    let mut command = program("curl", "curl")?;
    let output = command
        .args(["-s", "-S", "-m", "20"])
        .args(arguments)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "curl {arguments:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// All that the collector got of one instance: values by metric and system call.
#[derive(Default)]
struct Told {
    values: BTreeMap<(String, String), BTreeSet<String>>,
    histograms: Vec<ExponentialHistogramDataPoint>,
}

impl Told {
    fn of(collector: &Collector, instance: &str) -> Result<Self> {
        let mut told = Self::default();
        for request in collector.receiver().taken(Signal::Metrics) {
            let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
            for group in request.resource_metrics {
                let attributes = group.resource.map(|r| r.attributes).unwrap_or_default();
                if text(&attributes, "service.instance.id") != Some(instance) {
                    continue;
                }
                let metrics = group.scope_metrics.into_iter().flat_map(|s| s.metrics);
                for metric in metrics {
                    told.add(&metric.name, metric.data);
                }
            }
        }
        Ok(told)
    }

    fn add(&mut self, name: &str, data: Option<Data>) {
        match data {
            Some(Data::Sum(sum)) => {
                for point in sum.data_points {
                    let call = text(&point.attributes, "syscall.name").unwrap_or_default();
                    let value = match point.value {
                        Some(Number::AsInt(n)) => (n as f64).to_string(),
                        Some(Number::AsDouble(n)) => n.to_string(),
                        None => continue,
                    };
                    let key = (name.to_owned(), call.to_owned());
                    self.values.entry(key).or_default().insert(value);
                }
            }
            Some(Data::ExponentialHistogram(histogram)) if name == "observer.syscall.duration" => {
                self.histograms.extend(histogram.data_points);
            }
            _ => {}
        }
    }

    fn of_metric(&self, name: &str) -> BTreeMap<String, BTreeSet<String>> {
        let of = self.values.iter().filter(|((metric, _), _)| metric == name);
        let of = of.map(|((_, call), values)| (call.clone(), values.clone()));
        of.collect()
    }
}

/// Whether each value of each series is one that the other has, too.
fn within(
    ours: &BTreeMap<String, BTreeSet<String>>,
    theirs: &BTreeMap<String, BTreeSet<String>>,
) -> bool {
    let known = |(call, values): (&String, &BTreeSet<String>)| {
        theirs.get(call).is_some_and(|all| values.is_subset(all))
    };
    !ours.is_empty() && ours.iter().all(known)
}

/// A native histogram's buckets as Prometheus tells them: count by upper bound, without
/// the zero bucket.
fn native_buckets(histogram: &Value) -> Result<Vec<(f64, u64)>> {
    let mut found = Vec::new();
    for bucket in histogram["buckets"].as_array().context("no buckets")? {
        let number =
            |n: usize| -> Result<f64> { Ok(bucket[n].as_str().context("no number")?.parse()?) };
        if number(1)? > 0.0 {
            found.push((number(2)?, number(3)? as u64));
        }
    }
    Ok(found)
}

/// Whether a native histogram is one of OTLP's points, bucket by bucket.
fn is_told(histogram: &Value, told: &[ExponentialHistogramDataPoint]) -> Result<bool> {
    let count: u64 = histogram["count"].as_str().context("no count")?.parse()?;
    let sum: f64 = histogram["sum"].as_str().context("no sum")?.parse()?;
    let buckets = native_buckets(histogram)?;
    Ok(told.iter().any(|point| {
        let positive = point.positive.clone().unwrap_or_default();
        let all = positive.bucket_counts.iter().zip(positive.offset..);
        let filled = all.filter(|(n, _)| **n > 0);
        let base = (-f64::from(point.scale)).exp2();
        let expected: Vec<(f64, u64)> = filled
            .map(|(n, index)| ((f64::from(index + 1) * base).exp2(), *n))
            .collect();
        let same =
            |((a, n), (b, m)): (&(f64, u64), &(f64, u64))| n == m && (a / b - 1.0).abs() < 1e-9;
        point.count == count
            && point.sum == Some(sum)
            && expected.len() == buckets.len()
            && expected.iter().zip(&buckets).all(same)
    }))
}

/// A program that runs until it is killed.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts programs of different names, more than a small table has room for, so that what
/// is over leaves it at once.
fn crowd(scene: &Scene, id: u32) -> Result<()> {
    let program = workload::program()?;
    let names = (0..80).map(|n| format!("'{}' c{n}-{id} getppid=1; ", program.display()));
    let script: String = names.collect();
    scene.run(Command::new("sh").args(["-c", &script]))?;
    Ok(())
}

/// Checks that the real Prometheus, by protobuf and by text, has the values, the buckets and
/// the names that OTLP's receiver got in the same run, of a service whose name has quotes and
/// backslashes; that promtool has nothing to say; and that the series end with the service.
#[test]
fn the_real_prometheus_gets_what_otlp_gets() -> Result<()> {
    let id = std::process::id();
    let (scene, collector) = (Scene::new()?, Collector::start()?);
    let target = port::free()?;
    let _daemon = daemon::start(&[
        "--interval",
        "1s",
        "--budget",
        "off",
        "--probes",
        "syscalls,sched",
        "--table-workloads",
        "64",
        "--prometheus",
        &target.to_string(),
        "--otlp-endpoint",
        &collector.endpoint(),
        "--otlp-protocol",
        "http/protobuf",
        "--cgroup",
        &scene.cgroup().to_string_lossy(),
    ])?;
    let native = Prometheus::scrape(target, &["native-histograms"])?;
    let plain = Prometheus::scrape(target, &[])?;

    let (service, instance) = (format!("q\"uo\\te{{}} {id}"), format!("i-{id}"));
    // What it does before it is known who it is, is another's.
    let script = format!(
        "import os, time; time.sleep(5); [os.getppid() for _ in range({CALLS})]; time.sleep(600)"
    );
    let mut command = program("python3", "python3-venv")?;
    command
        .args(["-c", &script])
        .env("OTEL_SERVICE_NAME", &service)
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            format!("service.instance.id={instance},service.namespace=shop"),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let running = Killed(scene.join(&mut command)?.spawn()?);

    // What it ran before (a shell of its starter's) may be another resource of that name.
    let whose = format!("instance=~\"{instance}(:.*)?\"");
    let of = |metric: &str| format!("{metric}{{{whose}}}");
    let calls = of("observer_syscall_calls_total");
    for prometheus in [&native, &plain] {
        eventually("its calls are there, all of them", || {
            let found = prometheus.values(&calls)?;
            Ok(found
                .get("getppid")
                .is_some_and(|v| v.contains(&CALLS.to_string())))
        })?;
        let labels = prometheus.query(&calls)?;
        let job = format!("shop/{service}");
        let has = |one: &BTreeMap<String, String>, name: &str, value: &str| {
            one.get(name).is_some_and(|found| found == value)
        };
        let named = labels.iter().any(|(one, _)| has(one, "job", &job));
        let mut all = labels.iter();
        let scoped = all.all(|(one, _)| has(one, "otel_scope_name", "observer"));
        ensure!(named && scoped, "{labels:?}");
        let info = prometheus.query(&of("target_info"))?;
        ensure!(!info.is_empty(), "nothing is known of it");
        // What Prometheus has is what OTLP's receiver has, or gets in a moment.
        for (metric, ours) in [
            ("observer.syscall.calls", &calls),
            ("observer.cpu.time", &of("observer_cpu_time_seconds_total")),
        ] {
            let values = prometheus.values(ours)?;
            eventually("OTLP tells the same values", || {
                let told = Told::of(&collector, &instance)?;
                Ok(within(&values, &told.of_metric(metric)))
            })?;
        }
    }

    let durations = native.query(&of("observer_syscall_duration_seconds"))?;
    ensure!(!durations.is_empty(), "no native histograms");
    for (labels, series) in &durations {
        let histogram = &series["histogram"][1];
        ensure!(histogram.is_object(), "{labels:?}: {series}");
        eventually("OTLP tells the same buckets", || {
            let told = Told::of(&collector, &instance)?;
            is_told(histogram, &told.histograms)
        })?;
    }
    // The classic ones: each count is that of the values up to its bound.
    let buckets = plain.query(&of("observer_syscall_duration_seconds_bucket"))?;
    ensure!(buckets.len() >= 22, "{} buckets", buckets.len());
    let infinite = of("observer_syscall_duration_seconds_bucket").replace('}', ",le=\"+Inf\"}");
    let (all, counts) = (
        plain.values(&infinite)?,
        plain.values(&of("observer_syscall_duration_seconds_count"))?,
    );
    let told = Told::of(&collector, &instance)?;
    let mut sizes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for point in &told.histograms {
        let call = text(&point.attributes, "syscall.name").unwrap_or_default();
        let count = (point.count as f64).to_string();
        sizes.entry(call.to_owned()).or_default().insert(count);
    }
    ensure!(
        within(&all, &sizes) && within(&counts, &sizes),
        "{all:?} {counts:?} {sizes:?}"
    );

    promtool_is_silent(target)?;
    drop(running);
    for prometheus in [&native, &plain] {
        eventually("its series are gone", || {
            crowd(&scene, id)?;
            Ok(prometheus.query(&format!("{{{whose}}}"))?.is_empty())
        })?;
        prometheus.takes_all()?;
        ensure!(!prometheus.query("up{job=\"observer\"} == 1")?.is_empty());
    }
    Ok(())
}

/// Names that OpenTelemetry's conventions give to what isn't a histogram, and that
/// Prometheus' linter takes for one.
const COUNTS: [&str; 4] = [
    "observer_unwind_process_count",
    "observer_unwind_table_count",
    "process_unix_file_descriptor_count",
    "system_cpu_logical_count",
];

/// Checks the older text by Prometheus' own linter: it has nothing to say but of [`COUNTS`].
fn promtool_is_silent(target: u16) -> Result<()> {
    let metrics = curl(&["-f", &format!("http://127.0.0.1:{target}/metrics")])?;
    let mut check = program("promtool", "prometheus")?
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = check.stdin.take().context("no input")?;
    input.write_all(metrics.as_bytes())?;
    drop(input);
    let output = check.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let known = |line: &&str| {
        let counts = line.ends_with("should not have \"_count\" suffix");
        counts && COUNTS.iter().any(|name| line.starts_with(name))
    };
    let rest: Vec<&str> = said.lines().filter(|line| !known(line)).collect();
    ensure!(rest.is_empty(), "promtool: {rest:?}");
    Ok(())
}

/// Checks that connections that say nothing, too much or nonsense, many at a time, keep
/// neither the daemon from its work nor a scraper from its metrics.
#[test]
fn hostile_scrapers_disturb_nobody() -> Result<()> {
    let collector = Collector::start()?;
    let target = port::free()?;
    let _daemon = daemon::start(&[
        "--interval",
        "500ms",
        "--probes",
        "sched",
        "--prometheus",
        &format!("127.0.0.1:{target}"),
        "--otlp-endpoint",
        &collector.endpoint(),
        "--otlp-protocol",
        "http/protobuf",
    ])?;
    let url = |path: &str| format!("http://127.0.0.1:{target}{path}");
    let mut held = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(("127.0.0.1", target))?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        let request = match n % 4 {
            0 => b"GET /metrics HT".to_vec(),
            1 => b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50),
            2 => vec![b'x'; 1 << 20],
            _ => Vec::new(),
        };
        // It may be closed before it took all.
        let _ = stream.write_all(&request);
        held.push(stream);
    }
    let before = collector.receiver().taken(Signal::Metrics).len();
    eventually("metrics of workloads are there", || {
        let metrics = curl(&["-f", &url("/metrics")])?;
        Ok(metrics.contains("observer_cpu_time_seconds_total"))
    })?;
    ensure!(curl(&["-f", &url("/healthz")])? == "ok\n");
    ensure!(curl(&["-f", &url("/readyz")])?.starts_with("ready\n"));
    eventually("the daemon goes on", || {
        Ok(collector.receiver().taken(Signal::Metrics).len() > before + 3)
    })?;
    // Who says nothing is told nothing, and let go.
    let mut last = held.pop().context("no connection")?;
    last.set_read_timeout(Some(PATIENCE))?;
    let mut rest = Vec::new();
    let _ = last.read_to_end(&mut rest);
    ensure!(rest.is_empty(), "{rest:?}");
    Ok(())
}

/// Checks that what can't be is said in one line before anything is attached.
#[test]
fn wrong_settings_are_one_line() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let listening = std::net::TcpListener::bind("127.0.0.1:0")?;
    let in_use = listening.local_addr()?.to_string();
    for (arguments, says) in [
        (vec!["--prometheus", &in_use], "can't listen at"),
        (vec!["--prometheus", "somewhere"], "is no address"),
        (
            vec!["--prometheus", "0.0.0.0:9435"],
            "--prometheus-token-file",
        ),
        (
            vec![
                "--prometheus",
                &taken,
                "--prometheus-token-file",
                "/nowhere/token",
            ],
            "/nowhere/token",
        ),
        (
            vec![
                "--prometheus",
                &taken,
                "--prometheus-certificate",
                "/nowhere/c.pem",
            ],
            "--prometheus-key",
        ),
    ] {
        let output = Command::new(observer_bin())
            .arg("run")
            .args(&arguments)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2),
            "{arguments:?}: {:?} {said}",
            output.status
        );
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(says)).collect();
        ensure!(lines.len() == 1, "{arguments:?}: {said}");
    }
    Ok(())
}
