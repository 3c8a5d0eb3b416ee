//! Ruby: `ruby [options] script`, servers, `bundle exec`.

use super::{Line, servers};
use crate::arguments::{Grammar, Runs};
use crate::candidate::{Candidate, Source};
use crate::script::{self, without_extension};

/// ruby(1).
const GRAMMAR: Grammar = Grammar {
    code: "e",
    module: "",
    value: "IrCXE",
    attached: "0FiKTWx",
    long: &["--encoding", "--external-encoding", "--internal-encoding"],
};

pub(super) fn candidate(line: &Line<'_>) -> Option<Candidate> {
    let Runs::Script(path, rest) = GRAMMAR.read(line.arguments) else {
        return None;
    };
    program(path, rest, line)
}

fn program(path: &str, rest: &[String], line: &Line<'_>) -> Option<Candidate> {
    let tool = without_extension(path.rsplit('/').next().unwrap_or(path));
    if matches!(tool, "bundle" | "bundler")
        && let [exec, path, rest @ ..] = rest
        && exec == "exec"
    {
        return program(path, rest, line);
    }
    let line = Line {
        arguments: rest,
        ..*line
    };
    if matches!(tool, "rails" | "rake") {
        // `bin/rails server`: by the project in which it stands.
        let at = script::join(&format!("./{tool}"), line.cwd);
        let found = script::candidate(&at, None, Source::Script)?;
        return Some(match line.project() {
            Some(project) => Candidate::new(format!("{project}/{tool}"), Source::Script),
            None => Candidate::weak(found.name, Source::Script),
        });
    }
    servers::run(tool, &line).or_else(|| script::candidate(path, line.cwd, Source::Script))
}
