//! Checks that the defaults that people read are those that Observer has.

use clap::{Args as _, Command};

use super::file::parse;
use super::layer::Layer;
use super::*;

/// Keys of `docs/observer.toml` whose values are examples, and not the defaults.
const EXAMPLES: [&str; 14] = [
    "btf",
    "containers.kubelet",
    "containers.sockets",
    "duration",
    "filter.cgroup",
    "filter.comm",
    "filter.pid",
    "prometheus.address",
    "requests.query-keys",
    "requests.redact",
    "requests.routes",
    "requests.traces-sampler",
    // Its default depends on another option.
    "sinks.summary",
    "stall-limit",
];

/// The default depends on the machine.
const BY_MACHINE: &str = "tables.cells";

/// Sections that others resolve: the exporter, and `observer record`.
const OF_OTHERS: [&str; 2] = ["otlp", "record"];

fn resolved(layer: Layer) -> anyhow::Result<String> {
    let config = Config::resolve(Layer::default(), |_| None, layer)?;
    Ok(format!("{config:?}"))
}

/// Checks that each key of the documented file, alone, changes nothing, but for
/// those whose values are examples.
#[test]
fn the_documented_file_has_the_defaults() {
    let text = include_str!("../../../docs/observer.toml");
    let file: toml::Table = toml::from_str(text).expect("a correct file");
    let defaults = resolved(Layer::default()).expect("defaults");
    let mut keys = Vec::new();
    for (key, value) in file {
        match value {
            toml::Value::Table(section) if !OF_OTHERS.contains(&key.as_str()) => {
                let of_section = section.into_iter();
                keys.extend(of_section.map(|(inner, value)| (Some(key.clone()), inner, value)));
            }
            toml::Value::Table(_) => {}
            value => keys.push((None, key, value)),
        }
    }
    assert!(keys.len() > 25, "{keys:?}");
    let mut differ = Vec::new();
    for (section, key, value) in keys {
        let line = format!("{key} = {value}");
        let (name, text) = match section {
            Some(section) => (format!("{section}.{key}"), format!("[{section}]\n{line}")),
            None => (key, line),
        };
        let layer = parse(&text).expect(&name);
        if name != BY_MACHINE && resolved(layer).expect(&name) != defaults {
            differ.push(name);
        }
    }
    differ.sort();
    assert_eq!(differ, EXAMPLES);
}

/// Checks that the default in each option's help, given as that option, changes
/// nothing.
#[test]
fn help_has_the_defaults() {
    let defaults = resolved(Layer::default()).expect("defaults");
    let command = Layer::augment_args(Command::new("observer"));
    let mut compared = Vec::new();
    for argument in command.get_arguments() {
        let help = argument.get_long_help().or(argument.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        let Some((_, default)) = help.split_once("[default: ") else {
            continue;
        };
        let Some((default, _)) = default.split_once(']') else {
            panic!("a default without an end: {help}");
        };
        // What isn't a value says in words what happens.
        let default = default.strip_prefix("all of ").unwrap_or(default);
        if default.contains(' ') {
            continue;
        }
        let long = argument.get_long().expect("a flag");
        let flags = ["observer", &format!("--{long}"), default];
        let command = Layer::augment_args(Command::new("observer"));
        let matches = command.try_get_matches_from(flags).expect(long);
        let layer = <Layer as clap::FromArgMatches>::from_arg_matches(&matches).expect(long);
        // Whoever chooses a sampler, the default one too, says how many spans are
        // wanted: there is no other limit then.
        let by_others = long.starts_with("otlp-") || long == "traces-sampler";
        assert!(
            by_others || resolved(layer).expect(long) == defaults,
            "--{long} {default}"
        );
        compared.push(long.to_owned());
    }
    assert!(compared.len() > 20, "{compared:?}");
}
