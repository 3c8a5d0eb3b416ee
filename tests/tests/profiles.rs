//! Profiles all the way: a program burns CPU, the daemon samples it, a receiver
//! that isn't ours to trust gets them over OTLP. Needs root.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use observer_export::otlp::Signal;
use observer_testkit::busy::compile;
use observer_testkit::in_time;
use observer_testkit::observer_bin;
use observer_testkit::receiver::Receiver;
use observer_testkit::root::is_root;
use observer_testkit::stolen::Stolen;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{ProfilesDictionary, Sample};
use prost::Message as _;

/// Names of a sample's functions, leaf first.
fn functions(dictionary: &ProfilesDictionary, sample: &Sample) -> Option<Vec<String>> {
    let stack = dictionary.stack_table.get(sample.stack_index as usize)?;
    let mut names = Vec::new();
    for location in &stack.location_indices {
        for line in &dictionary.location_table.get(*location as usize)?.lines {
            let function = dictionary
                .function_table
                .get(line.function_index as usize)?;
            let name = dictionary
                .string_table
                .get(function.name_strindex as usize)?;
            names.push(name.clone());
        }
    }
    Some(names)
}

/// Checks that the daemon sends the profile of a program that began and ended
/// between two exports, with names, a period and as many samples as rate × CPU
/// time, and ends in order when its time is over.
#[tokio::test]
async fn short_program_reaches_the_receiver() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let receiver = Receiver::start().await?;
    let folder = tempfile::tempdir()?;
    let program = compile(folder.path(), "exported");
    let mut observer = Command::new(observer_bin())
        .args(["run", "--budget", "off"])
        .args(["--probes", "cpu", "--frequency", "499"])
        .args(["--interval", "4s", "--duration", "6s"])
        .args(["--otlp-endpoint", &receiver.endpoint()])
        .args(["--otlp-protocol", "http/protobuf"])
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(observer.stderr.take().context("a pipe")?).lines();
    let started = said.any(|line| line.is_ok_and(|line| line.contains("observing ")));
    assert!(started, "it says when it is ready");
    // What else it says has somewhere to go.
    std::thread::spawn(move || said.for_each(drop));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stolen = Stolen::begin();
    let mut burning = Command::new(program).arg("0.6").spawn()?;
    let status = tokio::task::spawn_blocking(move || {
        burning.wait()?;
        let stolen = stolen.seconds();
        observer.wait().map(|status| (status, stolen))
    });
    let (status, stolen) = status.await??;
    assert!(status.success());

    let requests = receiver.taken(Signal::Profiles);
    // The names of the last interval may take only so long.
    in_time!(!requests.is_empty(), "at least the last interval");
    let mut samples = 0;
    let mut named = 0;
    let mut chained = 0;
    for request in &requests {
        let request = ExportProfilesServiceRequest::decode(&request.message[..])?;
        let dictionary = request.dictionary.context("a dictionary")?;
        let text = |id: i32| dictionary.string_table[id as usize].as_str();
        assert_eq!(text(0), "");
        let scopes = request
            .resource_profiles
            .iter()
            .flat_map(|r| &r.scope_profiles);
        for profile in scopes.flat_map(|s| &s.profiles) {
            let kind = profile.sample_type.as_ref().context("a sample type")?;
            assert_eq!(text(kind.type_strindex), "samples");
            assert_eq!(profile.period, 1_000_000_000 / 499);
            for sample in &profile.samples {
                let names = functions(&dictionary, sample).context("valid indices")?;
                let value: i64 = sample.values.iter().sum();
                if names.iter().any(|name| name.starts_with("spin_")) {
                    named += value;
                    let chain = ["work", "main"].map(String::from);
                    if names.windows(2).any(|pair| pair == chain) {
                        chained += value;
                    }
                }
                samples += value;
            }
        }
    }
    let expected = 499.0 * 0.6;
    let off = (named as f64 - expected).abs();
    in_time!(
        off < expected * 0.06 + 499.0 * stolen,
        "{named} samples of spin_*, not {expected} ({stolen} s stolen)"
    );
    assert!(samples >= named);
    // In a function's first and last instructions its frame isn't set up, and
    // the frame pointer leads past its caller.
    let whole = chained as f64 / named as f64;
    in_time!(
        whole > 0.95,
        "{chained} of {named} samples have work called by main"
    );
    receiver.stop().await;
    Ok(())
}
