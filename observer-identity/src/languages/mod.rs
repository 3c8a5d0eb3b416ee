//! What an interpreter or a virtual machine runs, by its command line.
//!
//! Each language has a file: which of its options are followed by a value, and what of the
//! rest is the program. `servers` knows the programs that run others' applications, in
//! whatever language, and what they call themselves.

mod beam;
mod dotnet;
mod java;
mod node;
mod perl;
mod php;
mod python;
mod ruby;
mod servers;
mod shell;

use crate::arguments;
use crate::candidate::{Candidate, Source};
use crate::hints::Hints;
use crate::stable::versionless;

/// What runs programs that are no executables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Beam,
    Dotnet,
    Java,
    Node,
    Perl,
    Php,
    Python,
    Ruby,
    Shell,
    /// uWSGI, which has its interpreters inside.
    Uwsgi,
}

/// A process that runs something, as its interpreter sees it.
pub(crate) struct Line<'a> {
    /// Arguments behind the interpreter's name.
    pub(crate) arguments: &'a [String],
    /// Where relative paths begin.
    pub(crate) cwd: Option<&'a str>,
    pub(crate) hints: &'a Hints,
}

impl Line<'_> {
    /// The project in whose folder the process works.
    fn project(&self) -> Option<String> {
        crate::script::folder(self.cwd?)
    }
}

impl Language {
    /// By the base name of an executable, with or without a version: `python3.11`.
    pub(crate) fn of(executable: &str) -> Option<Self> {
        let name = crate::script::unwrapped(executable);
        let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
        Some(match bare {
            "python" | "pypy" | "pypy3-c" | "pypy-c" | "graalpy" => Self::Python,
            "node" | "nodejs" | "bun" | "deno" => Self::Node,
            "ruby" | "jruby" | "truffleruby" => Self::Ruby,
            "php" | "php-cgi" | "php-fpm" | "frankenphp" => Self::Php,
            "perl" => Self::Perl,
            "java" => Self::Java,
            "dotnet" => Self::Dotnet,
            "beam.smp" | "beam" => Self::Beam,
            "sh" | "bash" | "dash" | "zsh" | "ksh" | "mksh" | "ash" | "fish" => Self::Shell,
            _ if name == "uwsgi" || name.starts_with("uwsgi-") || name.starts_with("uwsgi_") => {
                Self::Uwsgi
            }
            _ => return None,
        })
    }

    /// The runtime's name, as OpenTelemetry's SDKs give it (`process.runtime.name`).
    pub(crate) fn runtime(self, executable: &str) -> Option<&'static str> {
        Some(match self {
            Self::Beam => "BEAM",
            Self::Dotnet => ".NET",
            Self::Node if executable.starts_with("node") => "nodejs",
            Self::Node if executable == "bun" => "bun",
            Self::Node => "deno",
            Self::Php if executable.starts_with("php-fpm") => "fpm-fcgi",
            Self::Php if executable.starts_with("php-cgi") => "cgi-fcgi",
            Self::Php => "cli",
            Self::Python if executable.starts_with("pypy") => "pypy",
            Self::Python if executable.starts_with("python") => "cpython",
            Self::Ruby if executable.starts_with("ruby") => "ruby",
            Self::Java | Self::Perl | Self::Python | Self::Ruby | Self::Shell | Self::Uwsgi => {
                return None;
            }
        })
    }

    /// The name of what it runs. `arguments` are all of the command line.
    pub(crate) fn candidate(
        self,
        arguments: &[String],
        cwd: Option<&str>,
        hints: &Hints,
    ) -> Option<Candidate> {
        let line = |arguments| Line {
            arguments,
            cwd,
            hints,
        };
        if let Some(title) = arguments::title(arguments) {
            return self.titled(title, &line(&[]));
        }
        let line = line(arguments.get(1..).unwrap_or_default());
        match self {
            Self::Beam => beam::candidate(&line),
            Self::Dotnet => dotnet::candidate(&line),
            Self::Java => java::candidate(&line),
            Self::Node => node::candidate(&line),
            Self::Perl => perl::candidate(&line),
            Self::Php => php::candidate(&line),
            Self::Python => python::candidate(&line),
            Self::Ruby => ruby::candidate(&line),
            Self::Shell => shell::candidate(&line),
            Self::Uwsgi => servers::run("uwsgi", &line),
        }
    }

    /// By the title that the process gave itself.
    fn titled(self, title: &str, line: &Line<'_>) -> Option<Candidate> {
        if self == Self::Php {
            return php::titled(title, line);
        }
        if let Some(found) = servers::titled(title, line) {
            return Some(found);
        }
        let first = title.split(' ').next().unwrap_or(title);
        if self == Self::Node
            && let Some(found) = node::titled(first, line)
        {
            return Some(found);
        }
        // A whole command line in one piece.
        let words: Vec<String> = title.split_whitespace().map(str::to_owned).collect();
        let first = words.first()?;
        let program = first.rsplit('/').next().unwrap_or(first);
        if Self::of(program) == Some(self) {
            return self.candidate(&words, line.cwd, line.hints);
        }
        if let Some(found) = servers::run(
            versionless(program),
            &Line {
                arguments: words.get(1..).unwrap_or_default(),
                ..*line
            },
        ) {
            return Some(found);
        }
        // `postgrey --pidfile=…`, `resque-2.0: Waiting for *`
        let name = versionless(program.trim_end_matches(':'));
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !is_name {
            return None;
        }
        if crate::script::is_common(name) {
            return Some(Candidate::weak(name, Source::ProcessTitle));
        }
        Some(Candidate::new(name, Source::ProcessTitle))
    }
}

#[cfg(test)]
mod tests;
