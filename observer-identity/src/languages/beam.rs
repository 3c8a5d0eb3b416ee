//! Erlang's virtual machine: the release or the node that it is started as.

use super::Line;
use crate::arguments::value_of;
use crate::candidate::{Candidate, Source};
use crate::script;

pub(super) fn candidate(line: &Line<'_>) -> Option<Candidate> {
    let arguments = line.arguments;
    let found = |name: &str| Candidate::new(name, Source::Release);
    if let Some(release) = &line.hints.release {
        return Some(found(release));
    }
    // `shop@10.0.0.7`: where it runs isn't who it is.
    let node = value_of(arguments, &["-sname", "-name"])
        .and_then(|node| node.split('@').next())
        .filter(|node| !node.is_empty() && !is_random(node));
    if let Some(node) = node {
        return Some(found(node));
    }
    let program = value_of(arguments, &["-progname"])
        .map(|path| path.rsplit('/').next().unwrap_or(path))
        .filter(|name| !matches!(*name, "" | "erl" | "beam" | "beam.smp" | "iex" | "elixir"));
    if let Some(program) = program {
        return Some(found(program));
    }
    // `-boot /opt/shop/releases/0.1.0/start`
    let boot = value_of(arguments, &["-boot"]).filter(|boot| boot.contains("/releases/"));
    let root = boot.and_then(|boot| Some(boot.split_once("/releases/")?.0));
    Some(found(&script::folder(root?)?))
}

/// Names of nodes that are made for one start: `rem-1a2b-shop`, `nonode`.
fn is_random(node: &str) -> bool {
    node.starts_with("rem-") || node.starts_with("rpc-") || node == "nonode" || node == "undefined"
}
