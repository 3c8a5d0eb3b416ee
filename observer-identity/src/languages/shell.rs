//! Shells: a script's name, if it isn't one that any project has.

use super::Line;
use crate::arguments::{Grammar, Runs};
use crate::candidate::{Candidate, Source};
use crate::script;

/// sh(1), bash(1).
const GRAMMAR: Grammar = Grammar {
    code: "cs",
    module: "",
    value: "oO",
    attached: "",
    long: &["--rcfile", "--init-file"],
};

pub(super) fn candidate(line: &Line<'_>) -> Option<Candidate> {
    match GRAMMAR.read(line.arguments) {
        Runs::Script(path, _) => script::candidate(path, line.cwd, Source::Script),
        Runs::Nothing | Runs::Module(..) => None,
    }
}
