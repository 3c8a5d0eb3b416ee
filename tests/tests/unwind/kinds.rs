//! C programs: every kind of executable, library call and interruption.

use std::path::{Path, PathBuf};
use std::process::Command;

use observer_testkit::chain::{
    SAMPLES, SECONDS, Shape, check_all, compile, record_script, record_warm,
};
use observer_testkit::in_time;
use observer_testkit::packages::program;
use observer_testkit::root::is_root;

fn cc(folder: &Path, name: &str, program: &str, flags: &[&str]) -> PathBuf {
    compile(Command::new("cc"), folder, name, program, flags)
}

/// Checks the chain in every kind of executable, and when its file is deleted.
#[test]
fn executables() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let kinds: [(&str, &[&str]); 5] = [
        ("u-pie", &["-pie", "-fPIE"]),
        ("u-no-pie", &["-no-pie", "-fno-pie"]),
        ("u-static", &["-static"]),
        ("u-static-pie", &["-static-pie", "-fPIE"]),
        ("u-deleted", &["-DDELETED"]),
    ];
    let programs = kinds.map(|(name, flags)| cc(folder.path(), name, "chain.c", flags));
    let recorded = record_warm(&programs.each_ref().map(|program| (&**program, "")));
    let shapes = kinds.map(|(process, _)| Shape {
        process,
        ..Shape::default()
    });
    check_all(&recorded, SAMPLES, &shapes);
}

/// Checks the chain in a library that is opened at run time, and in linked ones
/// whose calls go through the PLT, lazily bound, and through the GOT.
#[test]
fn libraries() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let library = |name: &str, flags: &[&str]| {
        let common = ["-shared", "-fPIC"];
        cc(folder.path(), name, "library.c", &[&common, flags].concat())
    };
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let opened = text(&library("libopened.so", &[]));
    // The chain itself must take most of the time for its calls to be seen.
    let plt = text(&library("libplt.so", &["-Wl,-z,lazy", "-DSPIN=4"]));
    let no_plt = text(&library("libnoplt.so", &["-fno-plt", "-DSPIN=4"]));
    let opener = cc(folder.path(), "u-dlopen", "chain.c", &["-DDLOPEN"]);
    let with_plt = cc(
        folder.path(),
        "u-plt",
        "chain.c",
        &["-DIN_LIBRARY", "-Wl,-z,lazy", &plt],
    );
    let without = cc(
        folder.path(),
        "u-no-plt",
        "chain.c",
        &["-DIN_LIBRARY", "-fno-plt", &no_plt],
    );
    let recorded = record_warm(&[(&opener, &opened), (&with_plt, ""), (&without, "")]);
    let shape = |process, whole_chain| Shape {
        process,
        whole_chain,
        ..Shape::default()
    };
    let shapes = [
        shape("u-dlopen", 0.85),
        shape("u-plt", 0.01),
        shape("u-no-plt", 0.01),
    ];
    check_all(&recorded, SAMPLES, &shapes);
}

/// Checks stacks in a signal's handler, on the same stack, on one of its own and
/// under musl, whose return from a signal has no unwinding information.
#[test]
fn signal_handlers() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let same = cc(folder.path(), "u-signal", "signal.c", &[]);
    let other = cc(folder.path(), "u-altstack", "signal.c", &["-DALTERNATE"]);
    let musl = musl(folder.path(), "u-musl-signal", "signal.c");
    let recorded = record_warm(&[(&same, ""), (&other, ""), (&musl, "")]);
    let shape = |process| Shape {
        process,
        before: &["main"],
        after: &["leaf", "handler", "h01", "h02", "handler_leaf"],
        // The rest of the time nothing interrupts.
        whole_chain: 0.15,
        ..Shape::default()
    };
    check_all(
        &recorded,
        SAMPLES,
        &["u-signal", "u-altstack", "u-musl-signal"].map(shape),
    );
}

fn musl(folder: &Path, name: &str, source: &str) -> PathBuf {
    let compiler = program("musl-gcc", "musl-tools").expect("musl-gcc");
    let flags = ["-static", "-DDIRECT"];
    compile(compiler, folder, name, source, &flags)
}

/// Checks a static program with musl, whose functions have no unwinding
/// information at all; it calls `main`, so it lies on every stack.
#[test]
fn musl_static() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = musl(folder.path(), "u-musl", "chain.c");
    let recorded = record_warm(&[(&program, "")]);
    let shape = Shape {
        process: "u-musl",
        before: &["main", "compare"],
        ..Shape::default()
    };
    check_all(&recorded, SAMPLES, &[shape]);
}

/// Checks stacks of samples that hit the kernel in a system call, and those of a
/// thread, whose root is where libc began it.
#[test]
fn system_calls_and_threads() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let calling = cc(folder.path(), "u-syscall", "chain.c", &["-DSYSCALL"]);
    let thread = cc(
        folder.path(),
        "u-thread",
        "chain.c",
        &["-DTHREAD", "-pthread"],
    );
    let recorded = record_warm(&[(&calling, ""), (&thread, "")]);
    let in_call = Shape {
        process: "u-syscall",
        // Then the kernel's own: its system call of that name.
        after: &["leaf", "read", "sys_read"],
        ..Shape::default()
    };
    let in_thread = Shape {
        process: "u-thread",
        // The first is the clone's return, the second start_thread.
        roots: &["libc.so.6+", "clone", "__clone", "__GI___clone", "_start"],
        before: &["worker", "qsort", "compare"],
        ..Shape::default()
    };
    check_all(&recorded, SAMPLES, &[in_call, in_thread]);
}

/// Checks a program in mount and PID namespaces of its own, in a file system
/// that nobody outside can see.
#[test]
fn namespaces() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = cc(folder.path(), "u-inside", "chain.c", &[]);
    let program = program.display();
    // The copy lies where, outside, nothing is. Its other name runs first: how soon a
    // new file's samples are complete is another question.
    let inside = format!(
        "mount -t tmpfs none /mnt && cp {program} /mnt/u-warm && ln /mnt/u-warm /mnt/u-hidden \
         && /mnt/u-warm 0.5 && exec /mnt/u-hidden {SECONDS}"
    );
    let recorded = record_script(&format!("unshare -m -p -f sh -c '{inside}'"));
    assert!(!Path::new("/mnt/u-hidden").exists());
    let shape = Shape {
        process: "u-hidden",
        ..Shape::default()
    };
    check_all(&recorded, SAMPLES, &[shape]);
}

/// Checks that births and deaths leave nothing incomplete: clone and vfork,
/// which C libraries describe in part, and threads that gave up their memory.
#[test]
fn births() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = cc(folder.path(), "u-births", "births.c", &["-pthread"]);
    let recorded = record_script(&format!("{} 2", program.display()));
    let of_it = recorded.lines.iter().filter(|l| l.process == "u-births");
    let cloning = of_it.filter(|l| l.frames.iter().any(|f| f.ends_with("clone3")));
    assert!(cloning.count() > 0, "{}", recorded.said);
    let complete = recorded.percent("complete");
    in_time!(complete >= 98.0, "{}", recorded.said);
}
