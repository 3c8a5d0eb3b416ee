//! Programs of another user that are called what terminals, parsers and people take for
//! something else: in their comm, path, service, cgroup, code made at run time, and what they
//! ask for by HTTP. All outputs at once, each read by a parser of its format.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_export::otlp::signal::Signal;
use observer_signals::outside::{LONGEST, is_obeyed};
use observer_testkit::cgroup::Cgroup;
use observer_testkit::chain::{compile, must};
use observer_testkit::collector::{Collector, text};
use observer_testkit::hang::NOBODY;
use observer_testkit::observer_bin;
use observer_testkit::terminal::ensure_shown;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message as _;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names, as bytes. Each begins with a text of its own, by which it is found again.
const NAMES: [&[u8]; 20] = [
    b"n00\x1b]0;owned\x07",
    b"n01\x1b[2J\x1b[31m",
    b"n02\xff\xfe\xfd",
    "n03\u{43f}\u{440}\u{43e}\u{433}\u{440}\u{430}\u{43c}\u{43c}\u{430}".as_bytes(),
    b"n04;b;c 7",
    b"n05<script>&\"'",
    b"n06\nforged: 1",
    "n07\u{202e}gnp.exe".as_bytes(),
    "n08\u{9b}31m".as_bytes(),
    b"n09%s%n%x",
    b"n10'); DROP TABLE x;--",
    b"n11\\n\\\"",
    b"n12\r\nX-Forged: y",
    "n13\u{e0041}\u{200b}\u{feff}".as_bytes(),
    "n14\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{540d}\u{524d}".as_bytes(),
    b"n15\x80\x9d0;x\x9c",
    b"n16=1+1,\"x\"",
    b"n17..%2f..%2fetc",
    b"n18]]>--><!--",
    b"n19\xf0\x9f\xa6",
];

/// A program that runs, and the map that it may have left.
struct Named {
    child: Child,
    _cgroup: Option<Cgroup>,
}

impl Drop for Named {
    fn drop(&mut self) {
        let map = format!("/tmp/perf-{}.map", self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(map);
    }
}

/// Where cgroups are that tell workloads apart, if the host has version 2.
fn cgroups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    let found = mounts
        .find_map(|mut line| Some((line.nth(1)?, line.next()?)).filter(|m| m.1 == "cgroup2"))?;
    Some(found.0.into())
}

fn start(program: &Path, folder: &Path, name: &'static [u8]) -> Result<Named> {
    let name = OsStr::from_bytes(name);
    let own = folder.join(name);
    fs::create_dir(&own)?;
    let path = own.join(name);
    fs::copy(program, &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let mut child = Command::new(&path)
        .arg0(name)
        .arg(name)
        .env("OTEL_SERVICE_NAME", name)
        .current_dir(&own)
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().context("its output")?;
    // Of cgroups' names the kernel refuses line ends.
    let has_line_end = name.as_bytes().contains(&b'\n');
    let cgroup = match cgroups().filter(|_| !has_line_end) {
        Some(mount) => {
            let mut path = format!("observer-{}-", child.id()).into_bytes();
            path.extend(name.as_bytes());
            let cgroup = Cgroup::create(&mount, OsStr::from_bytes(&path))?;
            cgroup.add(child.id())?;
            Some(cgroup)
        }
        None => None,
    };
    let started = Named {
        child,
        _cgroup: cgroup,
    };
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    ensure!(line == "ready\n", "{name:?} doesn't run");
    Ok(started)
}

/// A running `observer`, with its outputs apart.
struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start(arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| File::create(folder.path().join(name));
        let child = Command::new(observer_bin())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("err")?)
            .spawn()?;
        Ok(Self { child, folder })
    }

    /// Ends it by SIGINT, or waits for it, as it says; returns both its outputs.
    fn end(mut self, interrupt: bool) -> Result<(String, String)> {
        if interrupt {
            let pid = nix::unistd::Pid::from_raw(self.child.id().try_into()?);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
        }
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(begin.elapsed() < PATIENCE, "it doesn't end");
            std::thread::sleep(Duration::from_millis(20));
        };
        let read = |name: &str| -> Result<String> {
            let bytes = fs::read(self.folder.path().join(name))?;
            String::from_utf8(bytes).context("not UTF-8")
        };
        let (out, err) = (read("out")?, read("err")?);
        ensure!(status.success(), "{status}: {err}");
        Ok((out, err))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The beginning of a name, by which it is found.
fn mark(name: &[u8]) -> String {
    String::from_utf8_lossy(name.get(..3).unwrap_or(name)).into_owned()
}

/// Of which names there is something in `texts` for which `is_it` holds.
fn found<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let marks: BTreeSet<String> = NAMES.iter().map(|name| mark(name)).collect();
    let marks_of = texts.into_iter().filter_map(|text| text.get(..3));
    marks_of
        .map(str::to_owned)
        .filter(|text| marks.contains(text))
        .collect()
}

/// Whether a name can be part of what is asked for: the others make it no HTTP.
fn is_target(name: &[u8]) -> bool {
    let refuses = |b: &u8| b.is_ascii_control() || *b == b' ';
    std::str::from_utf8(name).is_ok() && !name.iter().any(refuses)
}

/// Everything that came is UTF-8 (or it couldn't be decoded) and has a length.
fn ensure_bounded(attributes: &[KeyValue]) -> Result<()> {
    for attribute in attributes {
        let text = text(attributes, &attribute.key).unwrap_or_default();
        ensure!(text.len() <= LONGEST, "{}: {}", attribute.key, text.len());
    }
    Ok(())
}

/// Functions in profiles, services with metrics, and names of spans that came.
fn told(collector: &Collector) -> Result<[Vec<String>; 3]> {
    let (mut functions, mut services, mut spans) = (Vec::new(), Vec::new(), Vec::new());
    for request in collector.receiver().taken(Signal::Profiles) {
        let request = ExportProfilesServiceRequest::decode(&request.message[..])?;
        let tables = request.dictionary.unwrap_or_default();
        for function in tables.function_table {
            let name = tables.string_table.get(function.name_strindex as usize);
            functions.extend(name.cloned());
        }
        let longest = tables.string_table.iter().map(String::len).max();
        ensure!(longest.is_none_or(|length| length <= LONGEST));
    }
    for request in collector.receiver().taken(Signal::Metrics) {
        let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
        for resource in request
            .resource_metrics
            .into_iter()
            .filter_map(|r| r.resource)
        {
            ensure_bounded(&resource.attributes)?;
            services.extend(text(&resource.attributes, "service.name").map(str::to_owned));
        }
    }
    for request in collector.receiver().taken(Signal::Traces) {
        let request = ExportTraceServiceRequest::decode(&request.message[..])?;
        let groups = request.resource_spans.into_iter();
        for span in groups.flat_map(|g| g.scope_spans).flat_map(|s| s.spans) {
            ensure_bounded(&span.attributes)?;
            ensure!(span.name.len() <= LONGEST);
            spans.extend(
                text(&span.attributes, "url.path")
                    .map(|path| path.trim_start_matches('/').to_owned()),
            );
        }
    }
    Ok([functions, services, spans])
}

/// Checks each line of a log in JSON.
fn ensure_json_lines(log: &str) -> Result<()> {
    for line in log.lines() {
        ensure!(!line.contains(is_obeyed), "{line:?}");
        let value: serde_json::Value =
            serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(value["level"].is_string(), "{line}");
    }
    Ok(())
}

/// Reads a picture to its end with a parser of XML; returns its titles.
fn titles(svg: &str) -> Result<Vec<String>> {
    let mut reader = quick_xml::Reader::from_str(svg);
    reader.config_mut().check_end_names = true;
    let mut titles = Vec::new();
    loop {
        match reader.read_event()? {
            quick_xml::events::Event::Text(text) => titles.push(text.decode()?.into_owned()),
            quick_xml::events::Event::Eof => return Ok(titles),
            _ => {}
        }
    }
}

/// Checks that names of programs, services, functions and paths that are escape sequences,
/// markup, other lines or no UTF-8 reach every output whole or as what stands for them: none
/// is obeyed by a terminal, none breaks a format or makes a line, and each is there.
#[test]
fn names_through_every_output() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let program = compile(
        Command::new("cc"),
        folder.path(),
        "names",
        "names.c",
        &["-pthread"],
    );
    must(Command::new("test").arg("-x").arg(&program));
    let named = NAMES
        .iter()
        .map(|name| start(&program, folder.path(), name));
    let _named: Vec<Named> = named.collect::<Result<_>>()?;

    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let daemon = Daemon::start(&[
        "run",
        "--summary",
        "--interval",
        "1s",
        "--log-format",
        "json",
        "--log-level",
        "debug",
        "--otlp-endpoint",
        &endpoint,
        "--otlp-protocol",
        "http/protobuf",
    ])?;
    let marks = |is_it: fn(&[u8]) -> bool| -> BTreeSet<String> {
        let names = NAMES.iter().filter(|name| is_it(name));
        names.map(|name| mark(name)).collect()
    };
    let wanted = [marks(|_| true), marks(|_| true), marks(is_target)];
    let begin = Instant::now();
    loop {
        let told = told(&collector)?;
        let missing = [0, 1, 2].map(|at| {
            let found = found(told[at].iter().map(String::as_str));
            wanted[at].difference(&found).cloned().collect::<Vec<_>>()
        });
        if missing.iter().all(Vec::is_empty) {
            break;
        }
        ensure!(
            begin.elapsed() < PATIENCE,
            "functions, services, paths not told: {missing:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let (summary, log) = daemon.end(true)?;
    ensure_shown(&summary)?;
    ensure!(summary.contains("n0"), "{summary}");
    ensure_json_lines(&log)?;

    let text = ["--log-format", "text", "--log-level", "debug"];
    for arguments in [
        &["trace", "--duration", "2s"][..],
        &["trace", "-v", "--duration", "2s"],
    ] {
        let (lines, log) = Daemon::start(&[arguments, &text].concat())?.end(false)?;
        ensure_shown(&lines)?;
        ensure_shown(&log)?;
        ensure!(
            !lines.lines().any(|line| line.starts_with("forged")),
            "{lines}"
        );
        ensure!(
            NAMES.iter().any(|name| lines.contains(&mark(name))),
            "{lines}"
        );
    }
    for name in ["p.folded", "p.svg"] {
        let file = folder.path().join(name);
        let path = file.to_str().context("a path")?;
        let record = [
            "record",
            "--duration",
            "3s",
            "--frequency",
            "499",
            "-o",
            path,
        ];
        let (said, log) = Daemon::start(&[&record[..], &text].concat())?.end(false)?;
        ensure_shown(&said)?;
        ensure_shown(&log)?;
        let written = fs::read_to_string(&file)?;
        ensure_shown(&written.replace('\t', " "))?;
        let frames: Vec<String> = match name {
            "p.svg" => titles(&written)?,
            _ => {
                for line in written.lines() {
                    let count = line.rsplit(' ').next().unwrap_or_default();
                    ensure!(count.parse::<u64>().is_ok(), "{line:?}");
                }
                written
                    .lines()
                    .flat_map(|l| l.split(';'))
                    .map(str::to_owned)
                    .collect()
            }
        };
        let found = found(frames.iter().map(String::as_str));
        ensure!(found.len() * 2 > NAMES.len(), "{name}: {found:?}");
    }
    Ok(())
}
