//! Node, and those with its command line: `node [options] script`, `bun run script`.

use super::Line;
use crate::arguments::{operand, value_of};
use crate::candidate::{Candidate, Source};
use crate::script::{self, join, without_extension};

/// Options of node(1) and deno that are followed by a value if there is no `=`.
const VALUED: &[&str] = &[
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--env-file-if-exists",
    "--title",
    "--inspect-port",
    "--input-type",
    "--icu-data-dir",
    "--openssl-config",
    "--redirect-warnings",
    "--trace-event-categories",
    "--trace-event-file-pattern",
    "--stack-trace-limit",
    "--dns-result-order",
    "--watch-path",
    "--diagnostic-dir",
    "--cpu-prof-dir",
    "--heap-prof-dir",
    "--report-dir",
    "--tls-keylog",
    "--unhandled-rejections",
    "--max-http-header-size",
    "--test-name-pattern",
    "--config",
    "--cwd",
];

/// Options with which no script runs.
const CODE: &[&str] = &[
    "-e",
    "--eval",
    "-p",
    "--print",
    "-pe",
    "-i",
    "--interactive",
    "-",
];

/// Commands before the script, of bun, deno and node's own debugger.
const COMMANDS: &[&str] = &["run", "inspect", "serve"];

/// Programs whose argument is the script.
const RUNNERS: &[&str] = &[
    "tsx",
    "ts-node",
    "ts-node-dev",
    "ts-node-esm",
    "nodemon",
    "babel-node",
    "vite-node",
    "esno",
    "esmo",
    "ProcessContainer",
    "ProcessContainerFork",
    "dotenv",
    "cross-env",
];

/// Programs that run what stands in the folder where they are started.
const IN_PLACE: &[&str] = &[
    "npm",
    "npm-cli",
    "npx",
    "npx-cli",
    "yarn",
    "pnpm",
    "corepack",
    "next",
    "next-server",
    "nuxt",
    "nuxi",
    "vite",
    "nest",
    "react-scripts",
    "webpack",
    "webpack-dev-server",
    "ng",
    "remix-serve",
    "astro",
    "svelte-kit",
    "gatsby",
];

pub(super) fn candidate(line: &Line<'_>) -> Option<Candidate> {
    if let Some(name) = &line.hints.pm2_name {
        return Some(Candidate::new(name.clone(), Source::CommandLine));
    }
    if let Some(title) = value_of(line.arguments, &["--title"]) {
        return Some(Candidate::new(title, Source::CommandLine));
    }
    let (mut path, mut rest) = operand(line.arguments, VALUED)?;
    let before = line.arguments.len().saturating_sub(rest.len() + 1);
    let before = line.arguments.get(..before).unwrap_or_default();
    if before.iter().any(|it| CODE.contains(&it.as_str())) {
        return None;
    }
    if COMMANDS.contains(&path) {
        (path, rest) = operand(rest, VALUED)?;
    }
    let file = without_extension(path.rsplit('/').next().unwrap_or(path));
    let tool = if file == "cli" {
        tool_of(path).unwrap_or(file)
    } else {
        file
    };
    if RUNNERS.contains(&tool) {
        return script(operand(rest, VALUED)?.0, line);
    }
    if IN_PLACE.contains(&tool) {
        return Some(in_place(tool, line));
    }
    script(path, line)
}

/// `node_modules/tsx/dist/cli.mjs` → `tsx`
fn tool_of(path: &str) -> Option<&str> {
    let (_, behind) = path.rsplit_once("node_modules/")?;
    behind.split('/').next()
}

fn script(path: &str, line: &Line<'_>) -> Option<Candidate> {
    let path = join(path, line.cwd);
    let found = match path.rsplit('/').next() {
        // `node .`, `node dist`: the folder's index.
        Some(last) if script::is_common_folder(last) => {
            script::candidate(&format!("{path}/index.js"), None, Source::Script)
        }
        _ if line.cwd == Some(path.as_str()) => {
            script::candidate(&format!("{path}/index.js"), None, Source::Script)
        }
        _ => script::candidate(&path, None, Source::Script),
    }?;
    // npm knows the project by its name, whatever its folder.
    match package(line) {
        Some(package) if found.is_weak => Some(Candidate::new(
            format!("{package}/{}", found.name),
            Source::Script,
        )),
        _ => Some(found),
    }
}

/// By the first word of a title: `npm start`, `next-server (v14.1.0)`.
pub(super) fn titled(first: &str, line: &Line<'_>) -> Option<Candidate> {
    IN_PLACE.contains(&first).then(|| in_place(first, line))
}

fn in_place(tool: &str, line: &Line<'_>) -> Candidate {
    let tool = tool.trim_end_matches("-cli");
    match package(line).map(str::to_owned).or_else(|| line.project()) {
        Some(project) => Candidate::new(format!("{project}/{tool}"), Source::Script),
        None => Candidate::weak(tool, Source::Script),
    }
}

/// The package that npm started, without the scope of who publishes it.
fn package<'a>(line: &Line<'a>) -> Option<&'a str> {
    let name = line.hints.npm_package.as_deref()?;
    let name = name.rsplit('/').next().unwrap_or(name);
    Some(name).filter(|name| !name.is_empty())
}
