//! Perl: `perl [options] script`.

use super::Line;
use crate::arguments::{Grammar, Runs};
use crate::candidate::{Candidate, Source};
use crate::script;

/// perlrun(1).
const GRAMMAR: Grammar = Grammar {
    code: "eE",
    module: "",
    value: "I",
    attached: "0CDFMVdilmx",
    long: &[],
};

pub(super) fn candidate(line: &Line<'_>) -> Option<Candidate> {
    match GRAMMAR.read(line.arguments) {
        Runs::Script(path, _) => script::candidate(path, line.cwd, Source::Script),
        Runs::Nothing | Runs::Module(..) => None,
    }
}
