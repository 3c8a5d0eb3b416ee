//! Stacks of a program without frame pointers that calls a known chain.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use observer_testkit::chain::{Shape, record_warm_for};

use crate::figures::Figures;
use crate::prepare;

/// CPU time of the program: samples are few on an emulated processor, and some of them
/// are of its beginning and its end, when it has no stack.
const SECONDS: &str = "6";
/// Where the program begins: also in the dynamic linker, which on arm64 has no symbols.
const ROOTS: &[&str] = &["_start", "ld-linux-aarch64.so.1+"];
/// Fewer samples say nothing.
const SAMPLES: u64 = 300;

/// Records it, and judges each stack.
pub fn chain(figures: &mut Figures) -> Result<()> {
    // Beside it another name of it is made.
    let folder = Path::new("/tmp/chain");
    fs::create_dir_all(folder)?;
    let program = folder.join("chain");
    fs::copy(prepare::folder()?.join("chain"), &program).context("the program isn't there")?;
    let recorded = record_warm_for(SECONDS, &[(&program, "")]);
    let shape = Shape {
        process: "chain",
        roots: ROOTS,
        ..Shape::default()
    };
    let judged = shape.check(&recorded, SAMPLES);
    let known = "99 % complete, 70 % with the whole chain".to_owned();
    let (holds, found) = match judged {
        Ok(()) => (
            true,
            format!("{:.1} % complete", recorded.percent("complete")),
        ),
        Err(wrong) => (false, wrong),
    };
    figures.add("stacks: complete", holds, found, known);
    Ok(())
}
