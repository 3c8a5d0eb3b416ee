//! Functions about which unwinding information says nothing, or not the truth:
//! where stacks end, and what handlers of signals return to.

use super::functions::{Functions, Known, Origin};
use super::sections::{Image, Source};

/// Bytes of code at the entry point that are taken for `_start`, which has some
/// 40: what it calls doesn't return.
const START_BYTES: u64 = 0x40;
/// Bytes of executable code in which the return from signals is looked for.
const MAX_CODE_BYTES: u64 = 8 << 20;

/// Functions of Go's runtime, by their names without `.abi0`.
///
/// A goroutine's stack starts at `goexit`, a thread's at `mstart` or `rt0_go`.
/// The others switch stacks: what they were called by lies on another.
const GO: &[(&str, Known)] = &[
    ("runtime.goexit", Known::Root),
    ("runtime.mstart", Known::Root),
    ("runtime.rt0_go", Known::Root),
    ("runtime.clone", Known::Root),
    ("runtime.systemstack", Known::Root),
    ("runtime.mcall", Known::Root),
    ("runtime.morestack", Known::Root),
    ("runtime.asmcgocall", Known::Root),
    ("_rt0_amd64_linux", Known::Root),
    ("_rt0_arm64_linux", Known::Root),
    ("runtime.sigreturn", Known::SignalReturn),
    ("runtime.sigreturn__sigaction", Known::SignalReturn),
    // They call the vDSO on the thread's stack.
    ("runtime.nanotime1", Known::FramePointer),
    ("runtime.walltime", Known::FramePointer),
    ("time.now", Known::FramePointer),
];

/// Adds such functions.
pub fn add<S: Source + ?Sized>(image: &Image<S>, functions: &mut Functions) {
    if image.is_go() {
        image.symbols(|name, range| {
            let name = name.strip_suffix(b".abi0").unwrap_or(name);
            let known = GO.iter().find(|(known, _)| known.as_bytes() == name);
            if let Some((_, known)) = known {
                functions.add(range, Origin::Known(*known));
            }
        });
    }
    if functions.contain(image.entry) {
        return;
    }
    // musl's assembler says nothing about itself.
    let end = image.entry.saturating_add(START_BYTES);
    functions.add(image.entry..end, Origin::Known(Known::Root));
    if let Some(code) = image.arch.signal_return_code {
        image.find_code(code, MAX_CODE_BYTES, |at| {
            // Callers are looked up one byte before their address.
            let range = at.saturating_sub(1)..at.saturating_add(code.len() as u64);
            functions.add(range, Origin::Known(Known::SignalReturn));
        });
    }
}
