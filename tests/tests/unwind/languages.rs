//! Languages other than C: their own ways to call, to unwind and to start.

use std::path::Path;
use std::process::Command;

use observer_testkit::chain::{
    BUILT, SAMPLES, Shape, check_all, compile, must, record_script, record_warm, source,
};
use observer_testkit::in_time;
use observer_testkit::packages::program;
use observer_testkit::root::is_root;

/// Checks C++ that throws exceptions through the chain: samples in the program,
/// and in libgcc while it unwinds, with calls through the PLT and through the
/// GOT.
#[test]
fn exceptions() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cxx = |name: &str, flags: &[&str]| {
        compile(Command::new("c++"), folder.path(), name, "throw.cpp", flags)
    };
    let divided = |name: &str, flag: &str| {
        let library = cxx(
            &format!("lib{name}.so"),
            &["-shared", "-fPIC", "-DLIBRARY", flag],
        );
        let library = library.to_str().expect("UTF-8");
        cxx(name, &["-DIN_LIBRARY", flag, library])
    };
    let whole = cxx("u-cpp", &[]);
    let plt = divided("u-cpp-plt", "-Wl,-z,lazy");
    let no_plt = divided("u-cpp-no-plt", "-fno-plt");
    let recorded = record_warm(&[(&whole, ""), (&plt, ""), (&no_plt, "")]);
    let names = ["u-cpp", "u-cpp-plt", "u-cpp-no-plt"];
    let shapes = names.map(|process| Shape {
        process,
        before: &["main"],
        after: &["leaf"],
        whole_chain: 0.2,
        ..Shape::default()
    });
    check_all(&recorded, SAMPLES, &shapes);
    for name in names {
        let unwinding = recorded.lines.iter().filter(|line| {
            line.process == name && line.frames.iter().any(|f| f.contains("_Unwind_"))
        });
        let unwinding: u64 = unwinding.map(|line| line.count).sum();
        in_time!(unwinding > 100, "{name}: {unwinding} samples in libgcc");
    }
}

/// Checks an optimized Rust program that aborts when it panics.
#[test]
fn rust() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("u-rust");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut rustc = Command::new(rustc);
    rustc.args(["-O", "-C", "panic=abort", "--edition", "2024", "-o"]);
    must(rustc.arg(&program).arg(source("chain.rs")));
    let recorded = record_warm(&[(&program, "")]);
    let shape = Shape {
        process: "u-rust",
        before: &["main", "chain::main", "sort"],
        ..Shape::default()
    };
    check_all(&recorded, 300, &[shape]);
}

/// Checks goroutines: the main one and another.
#[test]
fn go() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let built = folder.path().join("u-go");
    // Go's own libraries are compiled once.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache");
    let mut compiler = program("go", "golang-go").expect("go");
    compiler
        .args(["build", "-o"])
        .arg(&built)
        .arg(source("chain.go"));
    must(compiler.env("GOCACHE", cache).env("GO111MODULE", "off"));
    let recorded = record_warm(&[(&built, "")]);
    let shape = Shape {
        process: "u-go",
        roots: &[
            "runtime.goexit",
            "runtime.mstart",
            "runtime.rt0_go",
            "_rt0_",
        ],
        before: &["main.", "main.work"],
        ..Shape::default()
    };
    check_all(&recorded, 500, &[shape]);
    for goroutine in ["main.main", "main.main.func1"] {
        let samples = recorded
            .lines
            .iter()
            .filter(|line| line.frames.iter().any(|frame| frame == goroutine));
        let samples: u64 = samples.map(|line| line.count).sum();
        in_time!(samples > 150, "{goroutine}: {samples}");
    }
}

/// Checks JavaScript under node, which names its functions for profilers.
#[test]
fn node() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let node = program("node", "nodejs").expect("node");
    let noted = folder.path().join("pid");
    let warm = folder.path().join("warm-node");
    std::os::unix::fs::symlink(node.get_program(), &warm).expect("linked");
    // A function that is inlined has no frame. Node leaves a log in its folder.
    let recorded = record_script(&format!(
        "{BUILT} cd {}; {} {script} 600 & warming=$!; built; echo $$ > {}; exec {} --perf-basic-prof --no-turbo-inlining {script} 2.5",
        folder.path().display(),
        warm.display(),
        noted.display(),
        node.get_program().display(),
        script = source("chain.js").display(),
    ));
    let pid = std::fs::read_to_string(noted).expect("noted");
    let map = format!("/tmp/perf-{}.map", pid.trim());
    // Node leaves it behind.
    std::fs::remove_file(map).expect("a perf map");
    let shape = Shape {
        process: "node",
        // Node's other threads begin in libc.
        roots: &["_start", "libc.so.6+", "clone", "__clone", "__GI___clone"],
        before: &["main", "node::", "work"],
        // It takes node a while to begin.
        whole_chain: 0.5,
        ..Shape::default()
    };
    check_all(&recorded, 500, &[shape]);
}
