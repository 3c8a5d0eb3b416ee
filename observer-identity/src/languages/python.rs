//! Python: `python [options] script | -m module | -c code`.

use super::{Line, servers};
use crate::arguments::{Grammar, Runs};
use crate::candidate::{Candidate, Source};
use crate::script::{self, is_common, without_extension};

/// `python --help`.
const GRAMMAR: Grammar = Grammar {
    code: "c",
    module: "m",
    value: "WXQ",
    attached: "",
    long: &["--check-hash-based-pycs"],
};

/// Modules that run another one, which is theirs to name.
const RUNNERS: &[&str] = &[
    "coverage",
    "ddtrace-run",
    "opentelemetry-instrument",
    "debugpy",
    "viztracer",
];

pub(super) fn candidate(line: &Line<'_>) -> Option<Candidate> {
    match GRAMMAR.read(line.arguments) {
        Runs::Nothing => None,
        Runs::Module(module, rest) => {
            let line = Line {
                arguments: rest,
                ..*line
            };
            let tool = module.strip_suffix(".__main__").unwrap_or(module);
            if RUNNERS.contains(&tool) {
                return wrapped(&line);
            }
            servers::run(tool, &line).or_else(|| self::module(module, &line))
        }
        Runs::Script(path, rest) => {
            let line = Line {
                arguments: rest,
                ..*line
            };
            let tool = without_extension(path.rsplit('/').next().unwrap_or(path));
            if RUNNERS.contains(&tool) {
                return wrapped(&line);
            }
            servers::run(tool, &line).or_else(|| script::candidate(path, line.cwd, Source::Script))
        }
    }
}

/// What `coverage run x.py`, `opentelemetry-instrument python x.py` run.
fn wrapped(line: &Line<'_>) -> Option<Candidate> {
    let start = line.arguments.iter().position(|it| {
        it.ends_with(".py") || it == "-m" || it.rsplit('/').next() == Some("gunicorn")
    })?;
    candidate(&Line {
        arguments: line.arguments.get(start..).unwrap_or_default(),
        ..*line
    })
}

/// A module by its dotted name; one that could be anybody's by its project.
pub(super) fn module(module: &str, line: &Line<'_>) -> Option<Candidate> {
    let is_module = module
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if module.is_empty() || !is_module {
        return None;
    }
    let name = module.strip_suffix(".__main__").unwrap_or(module);
    if !is_common(name) {
        return Some(Candidate::new(name, Source::Module));
    }
    Some(match line.project() {
        Some(project) => Candidate::new(format!("{project}/{name}"), Source::Module),
        None => Candidate::weak(name, Source::Module),
    })
}
