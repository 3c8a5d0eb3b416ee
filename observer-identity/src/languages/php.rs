//! PHP: scripts, its own web server, the pools of php-fpm.

use super::Line;
use crate::arguments::{Grammar, Runs, value_of};
use crate::candidate::{Candidate, Source};
use crate::script;

/// `php --help`.
const GRAMMAR: Grammar = Grammar {
    code: "BERr",
    module: "f",
    value: "FStcdz",
    attached: "",
    long: &[
        "--php-ini",
        "--define",
        "--docroot",
        "--server",
        "--zend-extension",
    ],
};

/// The pool that every installation has.
const DEFAULT_POOL: &str = "www";

pub(super) fn candidate(line: &Line<'_>) -> Option<Candidate> {
    let arguments = line.arguments;
    if value_of(arguments, &["-S", "--server"]).is_some() {
        let root = value_of(arguments, &["-t", "--docroot"]).unwrap_or(".");
        let root = script::join(root, line.cwd);
        return Some(match script::folder(&root) {
            Some(project) => Candidate::new(project, Source::Script),
            None => Candidate::weak("php", Source::Script),
        });
    }
    match GRAMMAR.read(arguments) {
        Runs::Nothing => None,
        Runs::Script(path, _) | Runs::Module(path, _) => {
            script::candidate(path, line.cwd, Source::Script)
        }
    }
}

/// `php-fpm: pool shop`; of the master and of the default pool only that they are php-fpm.
pub(super) fn titled(title: &str, line: &Line<'_>) -> Option<Candidate> {
    let Some(role) = title.strip_prefix("php-fpm: ") else {
        let words: Vec<String> = title
            .split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect();
        return candidate(&Line {
            arguments: &words,
            ..*line
        });
    };
    match role.strip_prefix("pool ").map(str::trim) {
        Some(DEFAULT_POOL) | None => Some(Candidate::weak("php-fpm", Source::ProcessTitle)),
        Some(pool) => Some(Candidate::new(pool, Source::ProcessTitle)),
    }
}
