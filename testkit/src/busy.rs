//! A program that burns a known CPU time in functions of known names.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chain::source;

/// Usage: `busy SECONDS`, by its own CPU clock, but not for ever (`programs/clock.h`).
/// `spin_one` to `spin_five` do
/// 8, 11, 17, 26 and 38 parts of the work; all have frame pointers.
const SOURCE: &str = r"
#include <stdint.h>
#include <stdlib.h>
#include <clock.h>

static volatile uint64_t sink;

#define SPIN(name) \
    __attribute__((noinline)) void name(uint64_t n) { \
        for (uint64_t i = 0; i < n; i++) sink += i; \
    }
SPIN(spin_one)
SPIN(spin_two)
SPIN(spin_three)
SPIN(spin_four)
SPIN(spin_five)

__attribute__((noinline)) void work(void) {
    spin_one(4000); spin_two(5500); spin_three(8500); spin_four(13000); spin_five(19000);
    sink++;
}

int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 1;
    end_by(seconds);
    while (used() < seconds) work();
    return 0;
}
";

/// The functions that [`compile`]d programs spend their time in, hottest first.
pub const FUNCTIONS: [&str; 5] = [
    "spin_five",
    "spin_four",
    "spin_three",
    "spin_two",
    "spin_one",
];

/// Compiles the program to `folder/name` with the C compiler that Rust links
/// with, too.
///
/// # Panics
/// When it can't be compiled.
pub fn compile(folder: &Path, name: &str) -> PathBuf {
    let text = folder.join(format!("{name}.c"));
    let program = folder.join(name);
    std::fs::write(&text, SOURCE).expect("written");
    let mut compiler = Command::new("cc");
    // Optimized leaf functions have no frame, whatever else is asked for.
    compiler.args(["-O0", "-g", "-fno-omit-frame-pointer", "-I"]);
    compiler.arg(source("clock.h").with_file_name("")).arg("-o");
    let output = compiler.arg(&program).arg(&text).output().expect("cc");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cc: {errors}");
    program
}
