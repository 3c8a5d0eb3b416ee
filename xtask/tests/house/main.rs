//! Checks how the house is built: which modules and crates use which, against the
//! map in `docs/architecture.md`, and how long files and functions are.

mod circles;
mod limits;
mod page;
mod reader_tests;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use circles::{between, circles};
use source::Crate;

/// Circles of modules that are known: a crate's root, the folder, its modules. A
/// line that is no longer true fails the test, too.
const KNOWN_CIRCLES: &[(&str, &str, &[&str])] = &[];

/// What is longer than it should be, or panics, and why. A line that is no longer
/// true fails the test, too.
const KNOWN_EXCEPTIONS: &[(&str, &str)] = &[(
    "observer-export/src/otlp/self_metrics.rs is long",
    "a table: the daemon's own metrics, one after the other",
)];

/// The crates whose floors are told in the architecture page, and their roots.
const WITH_FLOORS: &[(&str, &str)] = &[
    ("observer-common", "observer-common/src/lib.rs"),
    ("observer-ebpf", "observer-ebpf/src/main.rs"),
    ("observer-userspace", "observer-userspace/src/lib.rs"),
];

/// The crates with a network.
const WITH_NETWORK: &[&str] = &["observer-containers", "observer-export"];

/// What they can't depend on: whatever knows a kernel.
const KERNEL: &[&str] = &["aya", "aya-obj", "blazesym", "observer-userspace"];

/// What crates without a kernel and a network can't depend on, through however
/// many others.
const IMPURE: &[&str] = &[
    "aya",
    "aya-obj",
    "blazesym",
    "hyper",
    "mio",
    "opentelemetry",
    "rustls",
    "tokio",
    "tonic",
];

/// Crates without a kernel and a network.
const PURE: &[&str] = &[
    "observer-common",
    "observer-identity",
    "observer-signals",
    "observer-requests",
    "observer-runtimes",
    "observer-unwind",
    "observer-symbols",
];

/// Crates of what runs at the users'.
const PRODUCTION: &[&str] = &[
    "observer-common",
    "observer-containers",
    "observer-ebpf",
    "observer-export",
    "observer-identity",
    "observer-requests",
    "observer-runtimes",
    "observer-signals",
    "observer-symbols",
    "observer-unwind",
    "observer-userspace",
];

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn architecture() -> Result<String> {
    let path = checkout().join("docs/architecture.md");
    std::fs::read_to_string(path).context("docs/architecture.md")
}

/// What cargo knows of the workspace and of all that it depends on.
fn metadata() -> Result<Value> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let out = Command::new(env!("CARGO"))
        .current_dir(checkout())
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--filter-platform", &platform])
        .output()?;
    ensure!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(serde_json::from_slice(&out.stdout)?)
}

/// The workspace's packages, by name.
fn packages(metadata: &Value) -> Result<BTreeMap<String, Value>> {
    let members = metadata["workspace_members"]
        .as_array()
        .context("members")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let ours = packages
        .iter()
        .filter(|package| members.contains(&package["id"]));
    let named = ours.map(|package| {
        let name = package["name"].as_str().context("a name")?;
        Ok((name.to_owned(), package.clone()))
    });
    named.collect()
}

/// A file relative to the checkout.
fn relative(file: &Path) -> String {
    let file = file.to_string_lossy();
    let root = checkout();
    let root = format!("{}/", root.display());
    file.strip_prefix(&root).unwrap_or(&file).to_owned()
}

/// Checks that no modules use each other in a circle, in any target of any crate.
#[test]
fn no_modules_in_a_circle() -> Result<()> {
    let mut roots = BTreeSet::from([checkout().join("observer-ebpf/src/main.rs")]);
    for package in packages(&metadata()?)?.values() {
        for target in package["targets"].as_array().context("targets")? {
            let root = target["src_path"].as_str().context("a path")?;
            roots.insert(PathBuf::from(root));
        }
    }
    ensure!(roots.len() > 20, "found only {roots:?}");
    let mut unknown = Vec::new();
    let mut found = BTreeSet::new();
    for root in roots {
        let krate = Crate::read(&root)?;
        let root = root.canonicalize()?;
        let root = root.strip_prefix(checkout().canonicalize()?)?;
        for circle in circles(&krate.arrows()) {
            let folder = circle.folder.join("::");
            let known = KNOWN_CIRCLES.iter().position(|(file, known, modules)| {
                Path::new(file) == root && *known == folder && circle.modules == *modules
            });
            match known {
                Some(index) => drop(found.insert(index)),
                None => unknown.push(format!(
                    "{} {folder:?}: {:?}\n    {}",
                    root.display(),
                    circle.modules,
                    circle.arrows.join("\n    ")
                )),
            }
        }
    }
    ensure!(
        unknown.is_empty(),
        "modules use each other in a circle:\n{}",
        unknown.join("\n")
    );
    for (index, known) in KNOWN_CIRCLES.iter().enumerate() {
        ensure!(
            found.contains(&index),
            "is no circle any more, strike it out: {known:?}"
        );
    }
    Ok(())
}

/// Checks that arrows between a crate's modules run down the list of them in
/// `docs/architecture.md`, and that the list has all of them.
#[test]
fn arrows_run_down_the_map() -> Result<()> {
    let page = architecture()?;
    let mut wrong = Vec::new();
    for (name, root) in WITH_FLOORS {
        let krate = Crate::read(&checkout().join(root))?;
        let floors = page::floors(&page, name)?;
        let floor = |module: &String| floors.iter().position(|floor| floor.contains(module));
        let written: BTreeSet<&String> = krate
            .modules
            .keys()
            .filter(|place| place.len() == 1)
            .map(|place| &place[0])
            .collect();
        let told: BTreeSet<&String> = floors.iter().flatten().collect();
        for module in written.symmetric_difference(&told) {
            let said = if told.contains(module) {
                "is on the page and nowhere else"
            } else {
                "isn't on the page"
            };
            wrong.push(format!("{name}: `{module}` {said}"));
        }
        for ((from, to), uses) in between(&krate.arrows(), &[]) {
            if let (Some(above), Some(below)) = (floor(&from), floor(&to))
                && above >= below
            {
                wrong.push(format!(
                    "{name}: {from} -> {to}\n    {}",
                    uses.join("\n    ")
                ));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "against the code map of docs/architecture.md, whose arrows run down the rows:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

/// Checks that the workspace's crates depend on each other as the architecture page
/// says, and those without a kernel and a network on neither.
#[test]
fn crates_see_what_the_page_says() -> Result<()> {
    let metadata = metadata()?;
    let packages = packages(&metadata)?;
    let mut seen = BTreeMap::new();
    for (name, package) in &packages {
        let dependencies = package["dependencies"].as_array().context("dependencies")?;
        let names = dependencies.iter().filter_map(|on| on["name"].as_str());
        let ours = names
            .filter(|name| packages.contains_key(*name))
            .map(str::to_owned);
        seen.insert(name.clone(), ours.collect::<BTreeSet<_>>());
    }
    assert_eq!(
        seen,
        page::crates(&architecture()?)?,
        "left: cargo, right: docs/architecture.md"
    );
    for name in PURE {
        let all = all_dependencies(&metadata, name)?;
        let impure: Vec<_> = IMPURE.iter().filter(|on| all.contains(**on)).collect();
        ensure!(impure.is_empty(), "{name} depends on {impure:?}");
    }
    for name in WITH_NETWORK {
        let all = all_dependencies(&metadata, name)?;
        let kernel: Vec<_> = KERNEL.iter().filter(|on| all.contains(**on)).collect();
        ensure!(kernel.is_empty(), "{name} depends on {kernel:?}");
    }
    let daemon = all_dependencies(&metadata, "observer-userspace")?;
    ensure!(
        daemon.contains("aya") && daemon.contains("mio"),
        "the way to others' is lost"
    );
    Ok(())
}

/// All that a package depends on, but for its tests and its build.
fn all_dependencies(metadata: &Value, name: &str) -> Result<BTreeSet<String>> {
    let packages = metadata["packages"].as_array().context("packages")?;
    let name_of = |id: &Value| {
        let package = packages.iter().find(|package| package["id"] == *id);
        package.and_then(|package| package["name"].as_str())
    };
    let nodes = metadata["resolve"]["nodes"].as_array().context("nodes")?;
    let mut next: Vec<&Value> = nodes
        .iter()
        .filter(|node| name_of(&node["id"]) == Some(name))
        .collect();
    ensure!(next.len() == 1, "{} packages are called {name}", next.len());
    let mut all = BTreeSet::new();
    while let Some(node) = next.pop() {
        for on in node["deps"].as_array().context("deps")? {
            let kinds = on["dep_kinds"].as_array().context("kinds")?;
            let name = name_of(&on["pkg"]).context("a package")?;
            if kinds.iter().any(|kind| kind["kind"].is_null()) && all.insert(name.to_owned()) {
                next.extend(nodes.iter().filter(|node| node["id"] == on["pkg"]));
            }
        }
    }
    Ok(all)
}

/// Who may write the path of another process's files: what says which of them keep a
/// reader waiting, and what reads only what the kernel itself holds.
const OF_OTHERS: [&str; 2] = ["foreign", "kernel/loaded.rs"];

/// Checks that files of other processes are named in one place only: whoever opens one
/// elsewhere may wait for that process for ever.
#[test]
fn files_of_others_are_opened_in_one_place() -> Result<()> {
    let src = checkout().join("observer-userspace").join("src");
    let krate = Crate::read(&src.join("lib.rs"))?;
    let files = krate.modules.into_values().map(|module| module.file);
    let (mut wrong, mut known) = (Vec::new(), 0);
    for file in files.collect::<BTreeSet<_>>() {
        let text = std::fs::read_to_string(&file)?;
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        // A path is made of a process's number, or joined to that of its folder.
        let names = code.contains("/proc/{") || code.contains("(\"/proc\")");
        let names = names || code.contains("path(pid, ");
        let allowed = OF_OTHERS
            .iter()
            .any(|place| file.starts_with(src.join(place)));
        known += usize::from(names && allowed);
        if names && !allowed {
            wrong.push(relative(&file));
        }
    }
    ensure!(known == OF_OTHERS.len(), "{known} files name others' files");
    ensure!(wrong.is_empty(), "open it in `foreign`: {wrong:?}");
    Ok(())
}

/// Checks that files and functions of what runs at the users' are short, and that
/// nothing there panics on purpose.
#[test]
fn files_are_short_and_do_not_panic() -> Result<()> {
    let mut wrong = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for name in PRODUCTION {
        let src = checkout().join(name).join("src");
        let roots = [src.join("lib.rs"), src.join("main.rs")];
        let root = roots.into_iter().find(|file| file.is_file());
        let krate = Crate::read(&root.with_context(|| format!("{name} has no root"))?)?;
        let files = krate.modules.into_values().map(|module| module.file);
        for file in files.collect::<BTreeSet<_>>() {
            let found = limits::look(&file)?;
            let file = relative(&file);
            if found.lines > limits::FILE_LINES {
                wrong.insert(format!("{file} is long"), format!("{} lines", found.lines));
            }
            for (function, lines) in found.long {
                wrong.insert(
                    format!("{file}: {function} is long"),
                    format!("{lines} lines"),
                );
            }
            if !found.panics.is_empty() {
                wrong.insert(
                    format!("{file} panics"),
                    format!("lines {:?}", found.panics),
                );
            }
            seen.insert(file);
        }
    }
    ensure!(seen.len() > 200, "only {} files were found", seen.len());
    for (known, _) in KNOWN_EXCEPTIONS {
        ensure!(
            wrong.remove(*known).is_some(),
            "is no longer true, strike it out: {known}"
        );
    }
    ensure!(
        wrong.is_empty(),
        "files have {} lines at most (or are tables: KNOWN_EXCEPTIONS), functions {}, and \
         no panic:\n{wrong:#?}",
        limits::FILE_LINES,
        limits::FUNCTION_LINES,
    );
    Ok(())
}
