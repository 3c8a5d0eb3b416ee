//! Programs that serve others' applications, by their command line and by the title that
//! they give themselves: gunicorn, uvicorn, uWSGI, celery, puma and their like.

use super::Line;
use crate::arguments::{operand, value_of};
use crate::candidate::{Candidate, Source};
use crate::script::{self, is_common};
use crate::stable::{is_passing, versionless};

/// What serves a web application `module:variable`.
const WEB: &[&str] = &[
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "waitress-serve",
    "waitress",
    "granian",
];

/// What works on an application's tasks: named beside it, since the application also has
/// what serves it.
const WORKERS: &[&str] = &[
    "celery",
    "dramatiq",
    "huey_consumer",
    "arq",
    "rq",
    "sidekiq",
    "resque",
];

/// What runs a Ruby application out of the folder in which it stands.
const RACK: &[&str] = &[
    "puma",
    "unicorn",
    "unicorn_rails",
    "thin",
    "rackup",
    "passenger",
    "falcon",
    "pitchfork",
];

/// Options of theirs that are followed by a value and aren't the application.
const VALUED: &[&str] = &[
    "-b",
    "--bind",
    "-w",
    "--workers",
    "-k",
    "--worker-class",
    "-c",
    "--config",
    "-t",
    "--timeout",
    "-p",
    "--port",
    "--host",
    "--log-level",
    "--log-config",
    "--threads",
    "-u",
    "--user",
    "-g",
    "--group",
    "--access-logfile",
    "--error-logfile",
    "--pid",
    "--chdir",
    "--reload-dir",
    "--root-path",
    "--proxy-headers-from",
    "--forwarded-allow-ips",
    "--env-file",
    "--uds",
    "--fd",
    "--loop",
    "--http",
    "--ws",
    "--listen",
    "--interface",
    "--max-requests",
    "--keep-alive",
    "--graceful-timeout",
    "--ssl-keyfile",
    "--ssl-certfile",
    "-e",
    "--env",
    "--statsd-host",
    "--max-requests-jitter",
    "--worker-tmp-dir",
    "--app-dir",
    "--limit-concurrency",
    "-n",
    "--name",
];

/// By the arguments of `tool`; `None` if it is none of these.
pub(super) fn run(tool: &str, line: &Line<'_>) -> Option<Candidate> {
    let arguments = line.arguments;
    if tool == "uwsgi" {
        return Some(uwsgi(line));
    }
    if WEB.contains(&tool) {
        let named = value_of(arguments, &["-n", "--name"]).filter(|_| tool == "gunicorn");
        if let Some(name) = named {
            return Some(Candidate::new(name, Source::CommandLine));
        }
        let target = target(arguments).or_else(|| Some(operand(arguments, VALUED)?.0));
        return Some(application(target, tool, line));
    }
    if WORKERS.contains(&tool) {
        let target = value_of(arguments, &["-A", "--app"]).or_else(|| target(arguments));
        let target = target.filter(|_| tool != "sidekiq");
        return Some(beside(application(target, tool, line), tool));
    }
    if RACK.contains(&tool) {
        let tag = value_of(arguments, &["--tag"]).and_then(project_of_tag);
        return Some(application(tag, tool, line));
    }
    if tool == "flask" {
        let target = value_of(arguments, &["-A", "--app"]);
        return Some(application(target, tool, line));
    }
    None
}

/// By a title: `gunicorn: master [shop]`, `puma 6.4.0 (tcp://0.0.0.0:3000) [shop]`,
/// `[celeryd: celery@host:MainProcess] -active- (-A shop worker)`,
/// `sidekiq 7.1.2 shop [0 of 5 busy]`, `uWSGI worker 1`.
pub(super) fn titled(title: &str, line: &Line<'_>) -> Option<Candidate> {
    let first = title.trim_start_matches('[').split([' ', ':']).next()?;
    let tool = versionless(first).to_ascii_lowercase();
    let found = match tool.as_str() {
        "gunicorn" => application(bracketed(title), "gunicorn", line),
        "puma" => {
            let tag = bracketed(title).and_then(project_of_tag);
            application(tag, "puma", line)
        }
        "celeryd" | "celery" => {
            let words: Vec<String> = title.split([' ', '(', ')']).map(str::to_owned).collect();
            let target = value_of(&words, &["-A", "--app"]);
            beside(application(target, "celery", line), "celery")
        }
        "sidekiq" => {
            let tag = title.split(' ').nth(2).filter(|tag| !tag.starts_with('['));
            beside(
                application(tag.and_then(project_of_tag), "sidekiq", line),
                "sidekiq",
            )
        }
        "uwsgi" => application(None, "uwsgi", line),
        _ => return None,
    };
    let source = match found.source {
        Source::Module => Source::ProcessTitle,
        source => source,
    };
    Some(Candidate { source, ..found })
}

/// What stands in the last brackets.
fn bracketed(title: &str) -> Option<&str> {
    let (_, rest) = title.rsplit_once('[')?;
    Some(rest.split_once(']')?.0)
}

/// A tag that is the name of a folder is none if it is that of a release.
fn project_of_tag(tag: &str) -> Option<&str> {
    Some(tag).filter(|tag| !is_passing(tag) && !tag.is_empty())
}

/// The first argument that is `module:variable` and no address.
fn target(arguments: &[String]) -> Option<&str> {
    arguments.iter().map(String::as_str).find(|argument| {
        let Some((module, variable)) = argument.split_once(':') else {
            return false;
        };
        let begins = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        begins(module) && begins(variable) && !module.contains(['/', '='])
    })
}

/// An application by its module, or by the project that it is in.
fn application(target: Option<&str>, tool: &str, line: &Line<'_>) -> Candidate {
    let module = target.map(|target| target.split(':').next().unwrap_or(target));
    let mut module = module.map(|module| {
        // A path to a file: its name.
        let file = module.rsplit('/').next().unwrap_or(module);
        script::without_extension(file)
    });
    while let Some((package, last)) = module.and_then(|module| module.rsplit_once('.'))
        && is_common(last)
    {
        module = Some(package);
    }
    let module = module.filter(|module| !module.is_empty());
    if let Some(module) = module.filter(|module| !is_common(module)) {
        return Candidate::new(module, Source::Module);
    }
    match line.project() {
        Some(project) => Candidate::new(project, Source::Module),
        None => Candidate::weak(tool, Source::Script),
    }
}

/// A worker's name beside the application's.
fn beside(application: Candidate, tool: &str) -> Candidate {
    if application.is_weak {
        return application;
    }
    Candidate {
        name: format!("{}/{tool}", application.name),
        ..application
    }
}

/// uWSGI: `--procname-prefix`, a file of settings, a module.
fn uwsgi(line: &Line<'_>) -> Candidate {
    let arguments = line.arguments;
    let prefix = [
        "--procname-prefix",
        "--procname-prefix-spaced",
        "--procname-master",
        "--procname",
    ];
    if let Some(name) = value_of(arguments, &prefix) {
        return Candidate::new(name.trim(), Source::CommandLine);
    }
    let module = [
        "-w",
        "--module",
        "--wsgi",
        "--wsgi-file",
        "--file",
        "--mount",
    ];
    if let Some(module) = value_of(arguments, &module) {
        return application(Some(module), "uwsgi", line);
    }
    let settings = ["--ini", "--yaml", "--yml", "--xml", "--json", "-i", "-y"];
    let settings = value_of(arguments, &settings).or_else(|| {
        let is_settings = |it: &&String| it.ends_with(".ini") || it.ends_with(".yaml");
        arguments.iter().find(is_settings).map(String::as_str)
    });
    let file = settings.map(|path| path.rsplit('/').next().unwrap_or(path));
    let file = file.filter(|file| script::without_extension(file) != "uwsgi");
    application(file, "uwsgi", line)
}
