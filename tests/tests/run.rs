//! Checks the whole daemon: `observer run` against a receiver, a hanging
//! endpoint, signals, and the terminal.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal as UnixSignal, kill};
use nix::unistd::Pid;
use observer_export::otlp::Signal;
use observer_testkit::observer_bin;
use observer_testkit::receiver::{Answer, Receiver};
use observer_testkit::stolen::Stolen;
use observer_testkit::{in_time, workload};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prost::Message;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What comes through a pipe, read as it comes.
struct Pipe {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Pipe {
    fn read(pipe: impl Read + Send + 'static, mut see: impl FnMut(&str) + Send + 'static) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let shared = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                see(&line);
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self { text, reader }
    }

    fn so_far(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    fn whole(self) -> String {
        let text = Arc::clone(&self.text);
        // It doesn't panic.
        let _ = self.reader.join();
        let text = text.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }
}

/// A daemon that is killed if the test ends before it does.
struct Daemon {
    child: Child,
    out: Option<Pipe>,
    log: Option<Pipe>,
}

impl Daemon {
    /// Starts one and returns when it observes.
    fn start(args: &[&str]) -> Result<Self> {
        let mut child = Command::new(observer_bin())
            .args(["run", "--budget", "off"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start observer")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (ready, observes) = mpsc::channel();
        let log = Pipe::read(stderr.context("a pipe")?, move |line| {
            if line.contains("observing ") {
                // Nobody waits a second time.
                let _ = ready.send(());
            }
        });
        let daemon = Self {
            child,
            out: Some(Pipe::read(stdout.context("a pipe")?, |_| ())),
            log: Some(log),
        };
        if observes.recv_timeout(PATIENCE).is_err() {
            let (status, stdout, stderr) = daemon.finish()?;
            anyhow::bail!("it doesn't observe: {status:?}\n{stdout}\n{stderr}");
        }
        Ok(daemon)
    }

    fn signal(&self, signal: UnixSignal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), signal)?)
    }

    /// Standard output so far.
    fn printed(&self) -> String {
        self.out.as_ref().map(Pipe::so_far).unwrap_or_default()
    }

    /// Exit status, standard output and error.
    fn finish(mut self) -> Result<(Option<i32>, String, String)> {
        let status = self.child.wait()?;
        let text = |pipe: Option<Pipe>| pipe.map(Pipe::whole).unwrap_or_default();
        Ok((status.code(), text(self.out.take()), text(self.log.take())))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn string<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|a| a.key == key)?.value.as_ref()?;
    match value.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// CPU seconds of our children that were waited for, as the kernel tells.
fn cpu_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let times = [usage.user_time(), usage.system_time()];
    let seconds = times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
    Ok(seconds.iter().sum())
}

/// Checks that a program's calls arrive at a collector, exactly, under the
/// program's name, with a span of its connection and samples of its stacks,
/// over gRPC; and that the daemon's own metrics come along.
#[tokio::test]
async fn all_signals_arrive() -> Result<()> {
    let receiver = Receiver::start().await?;
    let endpoint = receiver.endpoint();
    let daemon = Daemon::start(&[
        "--otlp-endpoint",
        &endpoint,
        "--otlp-protocol",
        "grpc",
        "--interval",
        "1s",
    ])?;
    receiver.wait_until(|received| !received.is_empty()).await?;
    let (stolen, before) = (Stolen::begin(), cpu_of_children()?);
    workload::run("obs-e2e", &["getppid=123456", "spin=500", "connect=3"])?.wait()?;
    let (stolen, used) = (stolen.seconds(), cpu_of_children()? - before);
    // The interval that holds all of it.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    daemon.signal(UnixSignal::SIGTERM)?;
    let (status, _, stderr) = tokio::task::spawn_blocking(|| daemon.finish()).await??;
    assert_eq!(status, Some(0), "{stderr}");

    let mut calls = 0;
    let mut names = BTreeSet::new();
    for request in receiver.taken(Signal::Metrics) {
        let request = ExportMetricsServiceRequest::decode(request.message)?;
        for group in request.resource_metrics {
            let attributes = group.resource.unwrap_or_default().attributes;
            ensure!(
                string(&attributes, "host.name").is_some(),
                "every resource names the host"
            );
            for metric in group.scope_metrics.into_iter().flat_map(|s| s.metrics) {
                names.insert(metric.name.clone());
                let ours = string(&attributes, "observer.workload.comm") == Some("obs-e2e");
                if let (true, Some(Data::ExponentialHistogram(histogram))) = (ours, metric.data) {
                    for point in histogram.data_points {
                        let buckets = point.positive.unwrap_or_default().bucket_counts;
                        assert_eq!(buckets.iter().sum::<u64>() + point.zero_count, point.count);
                        if string(&point.attributes, "syscall.name") == Some("getppid") {
                            // Cumulative: the last one counts.
                            calls = point.count;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(calls, 123_456);
    for name in [
        "observer.cpu.time",
        "observer.tcp.connections.opened",
        "observer.bpf.program.run_time",
    ] {
        ensure!(names.contains(name), "{name} is missing among {names:?}");
    }

    let spans = receiver
        .taken(Signal::Traces)
        .into_iter()
        .map(|request| Ok(ExportTraceServiceRequest::decode(request.message)?))
        .collect::<Result<Vec<_>>>()?;
    let ours = spans
        .iter()
        .flat_map(|request| &request.resource_spans)
        .filter(|group| {
            let resource = group.resource.as_ref();
            resource.and_then(|r| string(&r.attributes, "observer.workload.comm"))
                == Some("obs-e2e")
        })
        .flat_map(|group| group.scope_spans.iter().flat_map(|s| &s.spans))
        .filter(|span| string(&span.attributes, "network.peer.address").is_some())
        .count();
    // Both ends of each connection are this program's.
    assert_eq!(ours, 6, "spans of 3 connections with both ends");

    let mut samples = 0;
    for request in receiver.taken(Signal::Profiles) {
        let request = ExportProfilesServiceRequest::decode(request.message)?;
        let dictionary = request.dictionary.context("a dictionary")?;
        for group in request.resource_profiles {
            let attributes = group.resource.unwrap_or_default().attributes;
            if string(&attributes, "observer.workload.comm") != Some("obs-e2e") {
                continue;
            }
            for profile in group.scope_profiles.into_iter().flat_map(|s| s.profiles) {
                let kind = profile.sample_type.context("a type")?.type_strindex;
                if dictionary.string_table[kind as usize] != "samples" {
                    continue; // time off CPU
                }
                for sample in &profile.samples {
                    let stack = &dictionary.stack_table[sample.stack_index as usize];
                    ensure!(!stack.location_indices.is_empty(), "a sample has a stack");
                }
                samples += profile.samples.iter().flat_map(|s| &s.values).sum::<i64>();
            }
        }
    }
    // Half a second, and what the calls took, at 49 Hz.
    let expected = 49.0 * used;
    let off = (samples as f64 - expected).abs();
    in_time!(
        off <= expected * 0.2 + 3.0 + 49.0 * stolen,
        "{used} s at 49 Hz gave {samples} samples ({stolen} s stolen)"
    );
    Ok(())
}

/// Checks that SIGINT ends a daemon in order within 5 s though the endpoint
/// takes requests and never answers.
#[tokio::test]
async fn ends_in_time_with_a_hanging_endpoint() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.answer_with(|_| Answer::Hang);
    let endpoint = receiver.endpoint();
    let daemon = Daemon::start(&[
        "--otlp-endpoint",
        &endpoint,
        "--otlp-protocol",
        "http/protobuf",
        "--interval",
        "1s",
    ])?;
    receiver.wait_until(|received| !received.is_empty()).await?;
    let begin = Instant::now();
    daemon.signal(UnixSignal::SIGINT)?;
    let (status, _, stderr) = tokio::task::spawn_blocking(|| daemon.finish()).await??;
    assert_eq!(status, Some(0), "{stderr}");
    let took = begin.elapsed();
    // The contract says 5 s.
    in_time!(
        took < Duration::from_secs(6),
        "the daemon took {took:?} to end"
    );
    ensure!(
        stderr.contains("shutdown"),
        "what was lost is said: {stderr}"
    );
    Ok(())
}

/// Checks that a second SIGINT ends it at once, and SIGHUP not at all.
#[tokio::test]
async fn second_interrupt_ends_at_once() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.answer_with(|_| Answer::Hang);
    let endpoint = receiver.endpoint();
    let daemon = Daemon::start(&["--otlp-endpoint", &endpoint, "--interval", "1s"])?;
    receiver.wait_until(|received| !received.is_empty()).await?;
    daemon.signal(UnixSignal::SIGHUP)?;
    let before = receiver.received().len();
    receiver.answer_with(|_| Answer::Ok);
    receiver
        .wait_until(|received| received.len() > before)
        .await?;
    receiver.answer_with(|_| Answer::Hang);
    daemon.signal(UnixSignal::SIGINT)?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    daemon.signal(UnixSignal::SIGINT)?;
    let (status, ..) = tokio::task::spawn_blocking(|| daemon.finish()).await??;
    ensure!(matches!(status, Some(0 | 130)), "ended with {status:?}");
    Ok(())
}

/// Checks the terminal's summary: without an endpoint it names the workload
/// and its calls, and two daemons don't disturb each other.
#[test]
fn summary_on_the_terminal() -> Result<()> {
    // Only the busiest rows are shown: leave out who else is busy here.
    let args = ["--interval", "1s", "--comm", "obs-terminal"];
    let daemons = [Daemon::start(&args)?, Daemon::start(&args)?];
    let words = [
        "obs-terminal",
        "SYSCALLS",
        "CPU",
        "openat ENOENT",
        "observer itself",
    ];
    let begin = Instant::now();
    let has_all = |daemon: &Daemon| {
        let printed = daemon.printed();
        words.iter().all(|word| printed.contains(word))
    };
    while !daemons.iter().all(has_all) && begin.elapsed() < PATIENCE {
        let steps = ["getppid=200000", "enoent=500", "sleep=1:500"];
        workload::run("obs-terminal", &steps)?.wait()?;
    }
    for daemon in daemons {
        daemon.signal(UnixSignal::SIGINT)?;
        let (status, stdout, stderr) = daemon.finish()?;
        assert_eq!(status, Some(0), "{stderr}");
        for word in words {
            ensure!(
                stdout.contains(word),
                "{word} is missing in:\n{stdout}\n{stderr}"
            );
        }
    }
    Ok(())
}

/// The sum of what summaries say of an error: `openat ENOENT ×640`.
fn errors_in_summaries(stdout: &str, error: &str) -> u64 {
    let before = format!("{error} ×");
    let counts = stdout.split(&before).skip(1).map(|text| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    });
    counts.sum()
}

/// The hottest function of a program in the first summary that knows it.
fn hottest(stdout: &str, comm: &str) -> Option<String> {
    let mut in_section = false;
    for line in stdout.lines() {
        in_section = line.starts_with("CPU ") || in_section && !line.trim().is_empty();
        if !in_section || !line.starts_with(comm) {
            continue;
        }
        // Before it come name, share, two quantiles and switches.
        let cells = line.split("  ").filter(|cell| !cell.trim().is_empty());
        let Some(functions) = cells.map(str::trim).nth(5) else {
            continue;
        };
        // `name 97 %`, which may be cut.
        let first = functions.split(", ").next()?;
        let name = first
            .strip_suffix(" %")
            .and_then(|text| Some(text.rsplit_once(' ')?.0));
        return Some(name.unwrap_or(first.trim_end_matches('…')).to_owned());
    }
    None
}

/// What an endpoint was told last of a counter's points with these attributes.
fn last_count(
    requests: Vec<ExportMetricsServiceRequest>,
    comm: &str,
    name: &str,
    attributes: &[(&str, &str)],
) -> i64 {
    let mut last = 0;
    let groups = requests.into_iter().flat_map(|r| r.resource_metrics);
    for group in groups {
        let resource = group.resource.unwrap_or_default().attributes;
        if string(&resource, "observer.workload.comm") != Some(comm) {
            continue;
        }
        let metrics = group.scope_metrics.into_iter().flat_map(|s| s.metrics);
        for metric in metrics.filter(|metric| metric.name == name) {
            let Some(Data::Sum(sum)) = metric.data else {
                continue;
            };
            for point in sum.data_points {
                let matches =
                    |(key, value): &(&str, &str)| string(&point.attributes, key) == Some(*value);
                if let (true, Some(Value::AsInt(count))) =
                    (attributes.iter().all(matches), point.value)
                {
                    last = count;
                }
            }
        }
    }
    last
}

/// Checks that with `--summary` beside an endpoint both get the same: of a known
/// number of calls that fail the summaries' sum and the collector's counter have
/// each one, and the endpoint's spans and profiles come as without it.
#[tokio::test]
async fn summary_beside_an_endpoint() -> Result<()> {
    const FAILED: i64 = 640;
    let receiver = Receiver::start().await?;
    let endpoint = receiver.endpoint();
    let daemon = Daemon::start(&[
        "--summary",
        "--otlp-endpoint",
        &endpoint,
        "--interval",
        "1s",
        "--comm",
        "obs-both",
    ])?;
    receiver.wait_until(|received| !received.is_empty()).await?;
    let steps = [format!("enoent={FAILED}"), "spin=500".to_owned()];
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    workload::run("obs-both", &[&steps[..], &["connect=3"]].concat())?.wait()?;
    // Functions are shown when they have names, which may be an interval later.
    let begin = Instant::now();
    while hottest(&daemon.printed(), "obs-both").is_none() && begin.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    daemon.signal(UnixSignal::SIGTERM)?;
    let (status, stdout, stderr) = tokio::task::spawn_blocking(|| daemon.finish()).await??;
    assert_eq!(status, Some(0), "{stderr}");

    let error = [("syscall.name", "openat"), ("error.type", "ENOENT")];
    let requests = receiver.taken(Signal::Metrics).into_iter();
    let requests = requests
        .map(|request| Ok(ExportMetricsServiceRequest::decode(request.message)?))
        .collect::<Result<Vec<_>>>()?;
    let exported = last_count(requests, "obs-both", "observer.syscall.errors", &error);
    assert_eq!(exported, FAILED, "{stdout}");
    let printed = errors_in_summaries(&stdout, "openat ENOENT");
    assert_eq!(i64::try_from(printed)?, FAILED, "{stdout}");
    ensure!(
        !receiver.taken(Signal::Traces).is_empty(),
        "spans are exported"
    );
    // The function that is shown first is one of those that are exported.
    let shown = hottest(&stdout, "obs-both");
    let shown = shown.with_context(|| format!("no function is shown: {stdout}"))?;
    let mut names = Vec::new();
    for profiles in receiver.taken(Signal::Profiles) {
        let request = ExportProfilesServiceRequest::decode(profiles.message)?;
        names.extend(request.dictionary.unwrap_or_default().string_table);
    }
    ensure!(
        !shown.is_empty() && names.iter().any(|name| name.starts_with(&shown)),
        "{shown} isn't exported, but {names:?}: {stdout}"
    );
    Ok(())
}

/// Checks that a filter by name leaves out all others, and that `--duration` ends the
/// daemon.
#[test]
fn filters_act() -> Result<()> {
    let daemon = Daemon::start(&[
        "--interval",
        "1s",
        "--duration",
        "3s",
        "--comm",
        "obs-wanted",
    ])?;
    for _ in 0..3 {
        workload::run("obs-unwanted", &["getppid=100000"])?.wait()?;
        workload::run("obs-wanted", &["getppid=100000", "sleep=1:400"])?.wait()?;
    }
    let (status, stdout, stderr) = daemon.finish()?;
    assert_eq!(status, Some(0), "{stderr}");
    ensure!(
        stdout.contains("obs-wanted"),
        "the wanted one is missing:\n{stdout}"
    );
    ensure!(
        !stdout.contains("obs-unwanted"),
        "the unwanted one is there:\n{stdout}"
    );
    Ok(())
}

/// Checks that the kernel half's diagnostics reach the log when asked for.
#[test]
fn kernel_diagnostics_on_request() -> Result<()> {
    let args = [
        "--interval",
        "1s",
        "--duration",
        "3s",
        "--log-level",
        "debug",
    ];
    for (extra, expected) in [(&["--kernel-debug"][..], true), (&[], false)] {
        let daemon = Daemon::start(&[&args[..], extra].concat())?;
        workload::run("obs-renamed", &["getppid=1"])?.wait()?;
        let (status, _, stderr) = daemon.finish()?;
        assert_eq!(status, Some(0), "{stderr}");
        assert_eq!(
            stderr.contains("is renamed"),
            expected,
            "{extra:?}: {stderr}"
        );
    }
    Ok(())
}

/// Checks that a daemon of which nothing arrived in the time that it was given says so by
/// its status and a last line, and what the endpoint answers by the log.
#[test]
fn nothing_delivered_is_a_failure() -> Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let server = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 65536];
            if matches!(stream.read(&mut request), Ok(0) | Err(_)) {
                // Told to end.
                return;
            }
            let body = "tenant 71 is not known\n";
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    let daemon = Daemon::start(&[
        "--probes",
        "sched",
        "--interval",
        "1s",
        "--duration",
        "3s",
        "--otlp-endpoint",
        &endpoint,
    ])?;
    let (status, _, stderr) = daemon.finish()?;
    drop(std::net::TcpStream::connect(
        endpoint.trim_start_matches("http://"),
    )?);
    let _ = server.join();
    assert_eq!(status, Some(1), "{stderr}");
    for line in [
        "nothing arrived at the OTLP endpoint",
        "tenant 71 is not known",
    ] {
        ensure!(stderr.contains(line), "{line} is missing: {stderr}");
    }
    Ok(())
}
