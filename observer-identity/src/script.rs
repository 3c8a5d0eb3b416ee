//! What the path of a script or an archive says: its name, and if that could be
//! anybody's, the folder that tells whose it is.

use crate::candidate::{Candidate, Source};
use crate::stable::{is_in_temporary, is_passing, split_version, versionless, without_store_hash};

/// Names that many programs have.
const COMMON_NAMES: &[&str] = &[
    "__main__",
    "api",
    "app",
    "application",
    "artisan",
    "asgi",
    "boot",
    "bootstrap",
    "cli",
    "config",
    "console",
    "daemon",
    "docker-entrypoint",
    "entrypoint",
    "handler",
    "index",
    "init",
    "job",
    "launch",
    "launcher",
    "main",
    "manage",
    "program",
    "quarkus-run",
    "rails",
    "root",
    "run",
    "runner",
    "script",
    "serve",
    "server",
    "service",
    "start",
    "startup",
    "test",
    "web",
    "worker",
    "wsgi",
];

/// Folders that are part of how a project is laid out.
const COMMON_FOLDERS: &[&str] = &[
    "app",
    "apps",
    "bin",
    "build",
    "classes",
    "cmd",
    "code",
    "current",
    "data",
    "deploy",
    "deployments",
    "dist",
    "dist-packages",
    "env",
    "htdocs",
    "html",
    "lib",
    "lib64",
    "libexec",
    "libs",
    "local",
    "main",
    "node_modules",
    "opt",
    "out",
    "output",
    "project",
    "public",
    "quarkus-app",
    "release",
    "releases",
    "repo",
    "sbin",
    "script",
    "scripts",
    "share",
    "shared",
    "site-packages",
    "source",
    "src",
    "target",
    "usr",
    "venv",
    "versions",
    "virtualenv",
    "work",
    "workspace",
    "www",
];

/// Folders that are one part of a project, whose name belongs to it.
const PARTS: &[&str] = &[
    "admin", "api", "backend", "client", "frontend", "server", "service", "services", "web",
    "worker", "workers",
];

/// What stands at the end of files that are run.
const EXTENSIONS: &[&str] = &[
    ".py", ".pyc", ".pyz", ".pyw", ".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".tsx", ".jsx",
    ".rb", ".ru", ".php", ".phar", ".pl", ".pm", ".psgi", ".cgi", ".sh", ".bash", ".zsh", ".ksh",
    ".jar", ".war", ".ear", ".dll", ".exe", ".csproj", ".fsproj", ".ini", ".yaml", ".yml", ".toml",
];

/// A file that is run, from `cwd` if its path is relative. `None` where the path means
/// something else at each start.
pub(crate) fn candidate(path: &str, cwd: Option<&str>, source: Source) -> Option<Candidate> {
    if path.is_empty() || path == "-" {
        return None;
    }
    let path = join(path, cwd);
    if path.starts_with("/dev/") || path.starts_with("/proc/") {
        return None;
    }
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", &path));
    let stem = without_extension(file);
    let (stem, version) = split_version(unwrapped(without_store_hash(stem)));
    if stem.is_empty() || is_passing(stem) || is_hidden_copy(stem) && is_in_temporary(&path) {
        return None;
    }
    let version = version.map(str::to_owned);
    if !is_common(stem) {
        let name = Candidate::new(stem, source);
        return Some(Candidate { version, ..name });
    }
    let name = match folder(folders) {
        Some(folder) if stem == "__main__" => Candidate::new(folder, source),
        Some(folder) => Candidate::new(format!("{folder}/{stem}"), source),
        None => Candidate::weak(stem, source),
    };
    Some(Candidate { version, ..name })
}

/// Whether many programs have this name.
pub(crate) fn is_common(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    COMMON_NAMES.contains(&lower.as_str())
}

/// Whether it is a folder of how projects are laid out.
pub(crate) fn is_common_folder(name: &str) -> bool {
    COMMON_FOLDERS.contains(&name)
}

/// The name of a project by a folder in it: the innermost that says more than how projects
/// are laid out. `None` if there is none, or only a user's home or a temporary folder.
pub(crate) fn folder(path: &str) -> Option<String> {
    let all: Vec<&str> = path.split('/').filter(|f| !f.is_empty()).collect();
    let mut behind: Vec<&str> = Vec::new();
    for name in below_roots(&all).iter().rev() {
        let name = versionless(without_store_hash(name));
        let lower = name.to_ascii_lowercase();
        if name.starts_with('.') || is_passing(name) || is_python(name) {
            continue;
        }
        if COMMON_FOLDERS.contains(&lower.as_str()) {
            continue;
        }
        behind.insert(0, name);
        if !PARTS.contains(&lower.as_str()) || behind.len() > 2 {
            break;
        }
    }
    Some(behind.join("/")).filter(|name| !name.is_empty())
}

/// What is below the folders that every host has, homes among them.
fn below_roots<'a, 'b>(all: &'b [&'a str]) -> &'b [&'a str] {
    match all {
        ["home", _user, rest @ ..] => rest,
        ["run", "user", _user, rest @ ..] => rest,
        ["nix", "store", rest @ ..] => rest,
        [
            "usr",
            "local" | "share" | "lib" | "lib64" | "libexec" | "bin" | "sbin" | "src",
            rest @ ..,
        ] => rest,
        [
            "var",
            "www" | "lib" | "tmp" | "run" | "opt" | "cache" | "spool",
            rest @ ..,
        ] => rest,
        [
            "usr" | "opt" | "srv" | "var" | "etc" | "root" | "tmp" | "mnt" | "run" | "bin" | "sbin"
            | "lib" | "home",
            rest @ ..,
        ] => rest,
        rest => rest,
    }
}

/// `python3.11`, where libraries are.
fn is_python(folder: &str) -> bool {
    folder
        .strip_prefix("python")
        .is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// What `mktemp` and Python's `tempfile` call files.
fn is_hidden_copy(stem: &str) -> bool {
    stem.starts_with("tmp") && stem.len() >= 8
}

/// A file's name without what says of which kind it is.
pub(crate) fn without_extension(file: &str) -> &str {
    EXTENSIONS
        .iter()
        .find_map(|extension| file.strip_suffix(extension).filter(|stem| !stem.is_empty()))
        .unwrap_or(file)
}

/// The name of a program that was put behind a wrapper: `.shop-wrapped` (Nix).
pub(crate) fn unwrapped(name: &str) -> &str {
    name.strip_prefix('.')
        .and_then(|name| name.strip_suffix("-wrapped"))
        .filter(|name| !name.is_empty())
        .unwrap_or(name)
}

/// An absolute path without `.` and `..`; a relative one if `cwd` isn't known.
pub(crate) fn join(path: &str, cwd: Option<&str>) -> String {
    let whole = match cwd {
        Some(cwd) if !path.starts_with('/') => format!("{cwd}/{path}"),
        _ => path.to_owned(),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if whole.starts_with('/') {
        format!("/{joined}")
    } else {
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, cwd: Option<&str>) -> Option<(String, bool)> {
        candidate(path, cwd, Source::Script).map(|it| (it.name, it.is_weak))
    }

    /// Checks what scripts are called, and that common names get their project's.
    #[test]
    fn scripts_have_names() {
        let table = [
            ("/srv/shop/orders.py", None, "orders"),
            ("orders.py", Some("/srv/shop"), "orders"),
            ("server.js", Some("/srv/shop"), "shop/server"),
            ("/srv/shop/server.js", None, "shop/server"),
            ("./dist/main.js", Some("/srv/shop"), "shop/main"),
            ("../main.py", Some("/srv/shop/src"), "shop/main"),
            ("/srv/shop/releases/20240101120000/app.py", None, "shop/app"),
            ("/srv/shop/releases/a1b2c3d4/app.py", None, "shop/app"),
            ("/home/deploy/shop/current/index.js", None, "shop/index"),
            ("/srv/shop/api/server.js", None, "shop/api/server"),
            ("/srv/api/server.js", None, "api/server"),
            (
                "/usr/lib/python3.11/site-packages/shop/__main__.py",
                None,
                "shop",
            ),
            ("/srv/shop/manage.py", None, "shop/manage"),
            ("/opt/shop-1.2.3/bin/start.sh", None, "shop/start"),
            (
                "/nix/store/0c9zwq7h3c5p1v8k0m9d4x2b6n7r8s1a-shop-1.2/bin/main.py",
                None,
                "shop/main",
            ),
            (
                "/nix/store/0c9zwq7h3c5p1v8k0m9d4x2b6n7r8s1a-shop-1.2/bin/.shop-wrapped",
                None,
                "shop",
            ),
            ("/tmp/tmp.Xa81kLq0Zz/orders.py", None, "orders"),
            ("/srv/.venv/bin/orders", None, "orders"),
            ("/srv/shop/orders-1.2.3.jar", None, "orders"),
        ];
        for (path, cwd, expected) in table {
            assert_eq!(
                name(path, cwd),
                Some((expected.to_owned(), false)),
                "{path}"
            );
        }
    }

    /// Checks that a common name without a project stays one of a last resort: neither a
    /// user's home nor a temporary folder is a project.
    #[test]
    fn common_names_alone_are_weak() {
        for path in [
            "/app/server.js",
            "/server.js",
            "/home/deploy/server.js",
            "/tmp/tmp.Xa81kLq0Zz/server.js",
            "/tmp/_MEI4fTk2a/server.py",
            "/root/server.py",
            "server.js",
        ] {
            assert_eq!(
                name(path, None),
                Some(("server".to_owned(), true)),
                "{path}"
            );
        }
    }

    /// Checks that what is called otherwise at each start has no name.
    #[test]
    fn passing_scripts_have_no_name() {
        for path in [
            "-",
            "",
            "/dev/stdin",
            "/dev/fd/63",
            "/proc/self/fd/3",
            "/tmp/tmpab12cd34.py",
            "/tmp/tmp.Xa81kLq0Zz",
            "/srv/20240101120000.py",
            "/",
        ] {
            assert_eq!(name(path, None), None, "{path}");
        }
    }
}
