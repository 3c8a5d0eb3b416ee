//! Very deep stacks and very short processes.

use std::process::Command;

use observer_testkit::chain::{compile, record_script, record_warm};
use observer_testkit::in_time;
use observer_testkit::root::is_root;

/// Frames walked at most.
const DEPTH: usize = observer_common::unwind::MAX_USER_FRAMES;

/// Checks that stacks of 100 frames and of the greatest depth are complete, and
/// that a deeper one is cut at its root and counted as such.
#[test]
fn depths() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str, calls: usize| {
        let program = compile(
            Command::new("cc"),
            folder.path(),
            name,
            "recurse.c",
            &["-static"],
        );
        record_warm(&[(&program, &calls.to_string())])
    };
    // _start, __libc_start_main, __libc_start_call_main, main; bottom.
    let others = 5;
    for depth in [100, DEPTH] {
        let name = format!("u-deep-{depth}");
        let recorded = run(&name, depth - others);
        let mine = recorded.lines.iter().filter(|line| {
            line.process == name && line.frames.iter().any(|frame| frame == "bottom")
        });
        let (mut all, mut whole) = (0, 0);
        for line in mine {
            all += line.count;
            let begins = line.frames[0] == "_start" && line.frames[3] == "main";
            let calls = line
                .frames
                .iter()
                .filter(|frame| *frame == "deeper")
                .count();
            if begins && calls == depth - others && line.frames[depth - 1] == "bottom" {
                whole += line.count;
            }
        }
        in_time!(all > 800, "{all} samples, {}", recorded.said);
        in_time!(
            whole * 100 >= all * 99,
            "depth {depth}: {whole} of {all}; {}",
            recorded.said
        );
        let said = recorded.percent("complete stacks");
        in_time!(said > 95.0, "{said} % of {}", recorded.said);
    }
    let recorded = run("u-abyss", 1000);
    let cut = recorded.lines.iter().filter(|line| {
        line.process == "u-abyss"
            && line.frames[0] == "deeper"
            && line
                .frames
                .get(DEPTH - 1)
                .is_some_and(|frame| frame == "bottom")
    });
    let cut: u64 = cut.map(|line| line.count).sum();
    in_time!(
        cut > 800,
        "{cut} stacks cut at {DEPTH} frames; {}",
        recorded.said
    );
    let said = recorded.percent("truncated");
    in_time!(said > 95.0, "{said} % of {}", recorded.said);
}

/// Checks that of 200 processes that live for 50 ms most samples are complete.
#[test]
fn short_processes() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = compile(Command::new("cc"), folder.path(), "u-short", "chain.c", &[]);
    let program = program.display();
    let recorded = record_script(&format!(
        "i=0; while [ $i -lt 100 ]; do i=$((i+1)); {program} 0.05 & {program} 0.05; wait; done"
    ));
    let shape = observer_testkit::chain::Shape {
        process: "u-short",
        ..Default::default()
    };
    let counted = |keep: &dyn Fn(&[String]) -> bool| -> u64 {
        let mine = recorded
            .lines
            .iter()
            .filter(|l| l.process == "u-short" && keep(&l.frames));
        mine.map(|line| line.count).sum()
    };
    use observer_testkit::chain::Verdict::{Complete, WholeChain};
    let all = counted(&|_| true);
    let complete = counted(&|frames| matches!(shape.judge(frames), WholeChain | Complete));
    eprintln!("u-short: {complete} of {all} samples complete");
    in_time!(all > 5000, "200 processes of 50 ms: {all} samples");
    in_time!(
        complete * 10 > all * 8,
        "{complete} of {all} are complete; {}",
        recorded.said
    );
}
