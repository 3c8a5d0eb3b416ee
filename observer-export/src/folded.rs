//! Collapsed stacks: `process;root;…;leaf count`, one line per distinct stack,
//! sorted; what flamegraph.pl, inferno, speedscope and `grep` read.

use std::collections::BTreeMap;
use std::io::{self, Write};

use observer_signals::Profile;
use observer_signals::outside::is_obeyed;
use observer_signals::profile::{Call, FrameKind, Sample};

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
        "" => format!("pid\u{a0}{}", sample.pid),
        name => clean(name),
    }
}

/// `name` without what has a meaning in this format or on a terminal, or none in a
/// picture's.
pub(super) fn clean(name: &str) -> String {
    let clean = |c: char| match c {
        ';' => ':',
        c if c.is_control() => ' ',
        c if is_obeyed(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut name: String = name.trim().chars().map(clean).collect();
    // Readers take two numbers at the end for a comparison of two profiles.
    if let Some((text, last)) = name.rsplit_once(' ')
        && last.starts_with(|c: char| c.is_ascii_digit())
        && last.chars().all(|c| c.is_ascii_digit() || c == '.')
    {
        name = format!("{text}\u{a0}{last}");
    }
    name
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
