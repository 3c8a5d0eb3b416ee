//! Functions about which unwinding information says nothing, or not the truth:
//! where stacks end, and what handlers of signals return to.

use object::LittleEndian as LE;

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
/// The others switch stacks. Where the frame pointer is still the caller's, it
/// leads back, past the caller itself; else the stack ends.
const GO: &[(&str, Known)] = &[
    ("runtime.goexit", Known::Root),
    ("runtime.mstart", Known::Root),
    ("runtime.rt0_go", Known::Root),
    ("runtime.clone", Known::Root),
    ("_rt0_amd64_linux", Known::Root),
    ("_rt0_arm64_linux", Known::Root),
    ("runtime.systemstack", Known::Root),
    ("runtime.mcall", Known::Root),
    ("runtime.morestack", Known::Root),
    // It calls C, which is called by `cgocall` only.
    ("runtime.asmcgocall", Known::OtherStack),
    // They call the vDSO.
    ("runtime.nanotime1", Known::OtherStack),
    ("runtime.walltime", Known::OtherStack),
    ("time.now", Known::OtherStack),
];

/// Those whose first address is on stacks, though nobody called there. Callers
/// are looked up one byte before their address.
const GO_PUSHED: &[(&str, Known)] = &[
    // Where C calls back into Go, for a goroutine's stack up to there.
    ("runtime.systemstack_switch", Known::Root),
    ("runtime.sigreturn", Known::SignalReturn),
    ("runtime.sigreturn__sigaction", Known::SignalReturn),
];

/// Adds such functions.
pub fn add<S: Source + ?Sized>(image: &Image<S>, functions: &mut Functions) {
    if image.is_go() {
        image.function_symbols(|name, range| {
            let name = name.strip_suffix(b".abi0").unwrap_or(name);
            let find = |list: &[(&str, Known)]| {
                let known = list.iter().find(|(known, _)| known.as_bytes() == name);
                known.map(|(_, known)| Origin::Known(*known))
            };
            if let Some(origin) = find(GO) {
                functions.add(range, origin);
            } else if let Some(origin) = find(GO_PUSHED) {
                functions.add(range.start.saturating_sub(1)..range.end, origin);
            }
        });
    }
    add_stubs(image, functions);
    // Libraries have none.
    let is_code = image.code.iter().any(|code| code.contains(&image.entry));
    if !is_code || functions.contain(image.entry) {
        return;
    }
    // musl's assembler says nothing about itself.
    let end = image.entry.saturating_add(START_BYTES);
    functions.add(image.entry..end, Origin::Known(Known::Root));
    if let Some(code) = image.arch.signal_return_code {
        image.find_code(code, MAX_CODE_BYTES, |at| {
            // On stacks as in `GO_PUSHED`.
            let range = at.saturating_sub(1)..at.saturating_add(code.len() as u64);
            functions.add(range, Origin::Known(Known::SignalReturn));
        });
    }
}

/// Bytes of the first entry of a procedure linkage table, which isn't one of a function
/// but finds functions that have not been called yet (System V ABI for the Arm 64-bit
/// Architecture, 12.3).
const FIRST_STUB_BYTES: u64 = 32;

/// Adds procedure linkage tables where linkers don't describe them: those of machines
/// with a link register.
fn add_stubs<S: Source + ?Sized>(image: &Image<S>, functions: &mut Functions) {
    if !image.arch.link_register {
        return;
    }
    if let Some(stubs) = image.section(".plt") {
        let start = stubs.sh_addr.get(LE);
        let end = start.saturating_add(stubs.sh_size.get(LE));
        let start = start.saturating_add(FIRST_STUB_BYTES);
        if start < end && !functions.contain(start) {
            functions.add(start..end, Origin::Known(Known::Stub));
        }
    }
}
