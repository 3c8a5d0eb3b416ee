//! Collapsed stacks: `process;root;…;leaf count`, one line per distinct stack,
//! sorted; what flamegraph.pl, inferno, speedscope and `grep` read.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::signals::Profile;
use crate::signals::profile::{Call, FrameKind, Sample};

/// Writes all stacks of `profile`. Values are samples, or nanoseconds for
/// off-CPU profiles.
///
/// # Errors
/// When `out` can't be written.
pub fn write(profile: &Profile, mut out: impl Write) -> io::Result<()> {
    for (stack, value) in collapse(profile, |call| clean(&call.name)) {
        writeln!(out, "{stack} {value}")?;
    }
    Ok(())
}

/// Sums per collapsed stack, with frames as `show` writes them.
pub(super) fn collapse(
    profile: &Profile,
    show: impl Fn(&Call<'_>) -> String,
) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for sample in &profile.samples {
        let mut stack = process_name(profile, sample);
        for call in profile.calls_from_root(sample.stack) {
            stack.push(';');
            stack.push_str(&show(&call));
        }
        *sums.entry(stack).or_default() += sample.value;
    }
    sums
}

/// What stands at the root: the process's name, or its id when it has none.
fn process_name(profile: &Profile, sample: &Sample) -> String {
    match profile.text(sample.process) {
        "" => format!("pid {}", sample.pid),
        name => clean(name),
    }
}

/// `name` without the characters that have a meaning in this format.
pub(super) fn clean(name: &str) -> String {
    let clean = |c: char| match c {
        ';' => ':',
        c if c.is_control() => ' ',
        c => c,
    };
    name.chars().map(clean).collect()
}

/// The suffix by which flamegraph tools tell kinds of frames apart.
pub(super) fn annotation(call: &Call<'_>) -> &'static str {
    match (call.kind, call.inlined) {
        (FrameKind::Kernel, _) => "_[k]",
        (FrameKind::Jit | FrameKind::CPython, _) => "_[j]",
        (FrameKind::Native, true) => "_[i]",
        (FrameKind::Native, false) => "",
    }
}
