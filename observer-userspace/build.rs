//! Embeds the committed kernel object, and refuses one that is older than its
//! sources.

#[path = "../xtask/src/ebpf/sources.rs"]
mod sources;

use std::error::Error;
use std::path::Path;

const OBJECT: &str = "observer-userspace/bpf/observer.bpf.o";
const LOCK: &str = "observer-userspace/bpf/observer.bpf.lock";

fn main() -> Result<(), Box<dyn Error>> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for watched in [
        "observer-ebpf/src",
        "observer-ebpf/Cargo.toml",
        "observer-ebpf/Cargo.lock",
    ]
    .into_iter()
    .chain(["observer-common", "rust-toolchain.toml", OBJECT, LOCK])
    {
        println!(
            "cargo::rerun-if-changed={}",
            checkout.join(watched).display()
        );
    }
    let object = checkout.join(OBJECT).canonicalize();
    let (Ok(lock), Ok(object)) = (std::fs::read_to_string(checkout.join(LOCK)), object) else {
        println!("cargo::error={OBJECT} or its lock file is missing: run `cargo xtask ebpf`");
        return Ok(());
    };
    let expected = format!("sources = \"{}\"", sources::hash(&checkout)?);
    if !lock.lines().any(|line| line == expected) {
        println!(
            "cargo::error={OBJECT} is older than the kernel half's sources: run `cargo xtask ebpf`"
        );
        return Ok(());
    }
    println!("cargo::rustc-env=OBSERVER_BPF_OBJECT={}", object.display());
    Ok(())
}
