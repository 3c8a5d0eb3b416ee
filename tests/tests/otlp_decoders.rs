//! Checks that decoders that aren't ours accept what Observer sends: the
//! official Python protobufs, and a whole collector (rotel).

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use observer_export::otlp::{Exporter, OtlpSettings, Signal};
use observer_testkit::otlp_samples::{metrics, profile, spans};
use observer_testkit::receiver::Receiver;
use observer_testkit::{port, python};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(endpoint: &str, protocol: &str) -> Result<OtlpSettings> {
    Ok(OtlpSettings::from_environment(|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.to_owned()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
        "OTEL_EXPORTER_OTLP_COMPRESSION" => Some("gzip".to_owned()),
        _ => None,
    })?)
}

/// Checks requests of all three signals, as captured on the wire, with the
/// official Python protobufs: every index, every count, every id.
#[tokio::test]
async fn official_python_protobufs() -> Result<()> {
    let receiver = Receiver::start().await?;
    let exporter = Exporter::start(&settings(&receiver.endpoint(), "grpc")?)?;
    exporter.export_metrics(&metrics(1_000, 3, 5));
    exporter.export_spans(&spans(0, 4));
    exporter.export_profile(&profile());
    exporter.shutdown(Duration::from_secs(20)).await;

    let folder = tempfile::tempdir()?;
    let mut files = Vec::new();
    for signal in Signal::ALL {
        let taken = receiver.taken(signal);
        assert_eq!(taken.len(), 1, "{signal:?}");
        let path = folder.path().join(signal.as_str());
        std::fs::write(&path, &taken[0].message)?;
        files.push(path);
    }
    let files: Vec<_> = files.iter().map(|path| path.as_path()).collect();
    python::check("check_otlp.py", &files)
}

/// A running rotel, killed when dropped.
struct Rotel {
    process: Child,
    lines: mpsc::Receiver<String>,
    grpc: u16,
    http: u16,
    _folder: tempfile::TempDir,
}

impl Rotel {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (grpc, http) = (port::free()?, port::free()?);
        let mut process = Command::new(python::rotel()?)
            .arg("start")
            .args(["--exporter", "blackhole", "--batch-timeout", "50ms"])
            .args(["--debug-log", "metrics", "--debug-log", "traces"])
            .args(["--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .arg("--pid-file")
            .arg(folder.path().join("pid"))
            .arg("--log-file")
            .arg(folder.path().join("log"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("starting rotel")?;
        let output = process.stdout.take().context("rotel's output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            lines,
            grpc,
            http,
            _folder: folder,
        })
    }

    /// Reads its log until all of `parts` were seen.
    fn wait_for(&self, parts: &[&str]) -> Result<()> {
        let mut missing = parts.to_vec();
        let mut log = String::new();
        let deadline = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    missing.retain(|part| !line.contains(part));
                    log.push_str(&line);
                    log.push('\n');
                }
                Err(_) => bail!("rotel's log lacks {missing:?}:\n{log}"),
            }
        }
        Ok(())
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Checks that a collector takes metrics and traces over gRPC and HTTP, all of
/// them, and shows what was sent.
#[tokio::test]
async fn rotel_collector() -> Result<()> {
    let rotel = Rotel::start()?;
    for (protocol, port) in [("grpc", rotel.grpc), ("http/protobuf", rotel.http)] {
        let settings = settings(&format!("http://127.0.0.1:{port}"), protocol)?;
        let exporter = Exporter::start(&settings)?;
        exporter.export_metrics(&metrics(1_000, 3, 5));
        exporter.export_spans(&spans(0, 4));
        // It may still be starting: the queue waits for it.
        let deadline = Instant::now() + PATIENCE;
        let sent = |signal| exporter.stats().signal(signal).sent_items;
        while (sent(Signal::Metrics), sent(Signal::Traces)) != (5, 4) {
            if Instant::now() > deadline {
                bail!("{protocol}: rotel took {:?}", exporter.stats());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let stats = exporter.shutdown(Duration::from_secs(20)).await;
        for signal in [Signal::Metrics, Signal::Traces] {
            assert_eq!(stats.signal(signal).lost_total(), 0, "{protocol} {stats:?}");
        }
        rotel.wait_for(&["test.calls", "test.duration", "span 3"])?;
    }
    Ok(())
}
