//! What is derived from instructions against what the compiler wrote down.

use std::fs::File;
use std::path::Path;

use observer_common::unwind::{FP, Rule, SIGNAL, SP, cfa};

use super::flow::{BEGIN, follow};
use crate::cfi::Reader;
use crate::functions::{Functions, Origin};
use crate::rule::{END, UNKNOWN};
use crate::sections::Image;

/// How instructions compare.
#[derive(Debug, Default)]
struct Tally {
    same: usize,
    unknown: usize,
    other: usize,
}

/// The rule that applies at an offset.
fn rule_at(rows: &[(u32, Rule)], at: u32) -> Rule {
    let after = rows.partition_point(|(start, _)| *start <= at);
    after.checked_sub(1).map_or(UNKNOWN, |row| rows[row].1)
}

/// Compares all functions of a file that its `.eh_frame` describes.
fn compare(path: &str) -> Tally {
    let file = File::open(path).expect("a library");
    let image = Image::open(&file).expect("an ELF file");
    let base = image.base().expect("code");
    let frames = image.frames().expect("unwinding information");
    let mut reader = Reader::new(&frames[0], image.arch);
    let mut functions = Functions::new(base, &image.code);
    functions.add_section(0, &frames[0], &reader);
    let mut tally = Tally::default();
    for function in functions.sorted() {
        let Origin::Section { entry, .. } = function.origin else {
            continue;
        };
        let mut truth = Vec::new();
        reader.rows(
            entry as usize,
            base,
            function.start..function.end,
            |at, rule| {
                truth.push((at, rule));
            },
        );
        // Parts of functions don't begin with a return address on the stack.
        let first = rule_at(&truth, function.start);
        let begins = first.cfa == cfa::REGISTER && first.register == SP && first.cfa_offset == 8;
        if !begins || first.flags & SIGNAL != 0 {
            continue;
        }
        let start = base + u64::from(function.start);
        let end = base + u64::from(function.end);
        let code = image.code_bytes(start..end).expect("code");
        let followed = follow(&code, start, BEGIN);
        let rows: Vec<(u32, Rule)> = followed
            .rows
            .iter()
            .map(|(at, rule)| (function.start + *at as u32, *rule))
            .collect();
        for at in function.start..function.end {
            let (derived, written) = (rule_at(&rows, at), rule_at(&truth, at));
            let both = derived.places == written.places && derived.fp_offset == written.fp_offset;
            if derived == written {
                tally.same += 1;
            } else if both && derived.register == SP && written.register == FP {
                // The same frame, as far as one can tell.
                tally.same += 1;
            } else if derived == UNKNOWN {
                tally.unknown += 1;
            } else {
                tally.other += 1;
            }
        }
    }
    tally
}

/// Checks that what is derived agrees with what compilers wrote into the
/// `.eh_frame` of libraries in C and C++, byte by byte: hardly anything is
/// otherwise, and little unknown (padding, mostly).
#[test]
fn agrees_with_compilers() {
    for library in ["libc.so.6", "libgcc_s.so.1", "libstdc++.so.6"] {
        let folders = [
            "/lib/x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu",
            "/lib64",
        ];
        let paths = folders.map(|folder| format!("{folder}/{library}"));
        let Some(path) = paths.iter().find(|path| Path::new(path).exists()) else {
            eprintln!("skipped: there is no {library}");
            continue;
        };
        let tally = compare(path);
        let all = tally.same + tally.unknown + tally.other;
        assert!(all > 50_000, "{library}: {tally:?}");
        assert!(tally.other * 250 < all, "{library}: {tally:?}");
        assert!(tally.unknown * 10 < all, "{library}: {tally:?}");
    }
}

/// A function's rules, by offset.
fn rules(code: &[u8]) -> Vec<(usize, Rule)> {
    follow(code, 0x1000, BEGIN).rows
}

/// Checks `main` of a Rust program: one push, one call, one pop.
#[test]
fn one_push() {
    let code = [0x50, 0xff, 0x15, 0x5b, 0x17, 0x04, 0x00, 0x59, 0xc3];
    let depths = rules(&code)
        .into_iter()
        .map(|(at, rule)| (at, rule.cfa_offset));
    assert_eq!(depths.collect::<Vec<_>>(), [(0, 8), (1, 16), (8, 8)]);
}

/// Checks the child's part of musl's `clone`, which has no caller, and the
/// parent's, which has.
#[test]
fn outermost() {
    // test %eax,%eax; jnz 1f; xor %ebp,%ebp; call *%r9; hlt; 1: ret
    let code = [
        0x85, 0xc0, 0x75, 0x06, 0x31, 0xed, 0x41, 0xff, 0xd1, 0xf4, 0xc3,
    ];
    let ends: Vec<_> = rules(&code)
        .into_iter()
        .map(|(at, rule)| (at, rule == END))
        .collect();
    assert_eq!(ends, [(0, false), (6, true), (10, false)]);
}

/// Checks that a loop that pushes leaves the frame pointer to go by.
#[test]
fn pushing_loop() {
    // push %rbp; mov %rsp,%rbp; jmp 2f; 1: push %rax; 2: dec %ecx; jnz 1b; call;
    // leave; ret
    let code = [
        0x55, 0x48, 0x89, 0xe5, 0xeb, 0x01, 0x50, 0xff, 0xc9, 0x75, 0xfb, 0xe8, 0, 0, 0, 0, 0xc9,
        0xc3,
    ];
    let bases = rules(&code)
        .into_iter()
        .map(|(at, rule)| (at, rule.register, rule.cfa_offset));
    let expected = [(0, SP, 8), (1, SP, 16), (4, FP, 16), (17, SP, 8)];
    assert_eq!(bases.collect::<Vec<_>>(), expected);
}

/// Checks that bytes that are no instructions end the way, not the walk.
#[test]
fn nonsense() {
    assert_eq!(rules(&[]), []);
    assert_eq!(rules(&[0x06]), [(0, UNKNOWN)]);
    for seed in 0..2000_u32 {
        let byte = |n: u32| (seed.wrapping_mul(2_654_435_761).wrapping_add(n * 40_503) >> 13) as u8;
        let code: Vec<u8> = (0..200).map(|n| byte(n * n)).collect();
        let rows = rules(&code);
        assert!(rows.is_sorted_by_key(|(at, _)| *at));
        assert!(rows.iter().all(|(at, _)| *at < code.len()));
    }
}
