//! The sources of the kernel object and their hash.
//!
//! Also compiled into the daemon's `build.rs`, which refuses a stale object.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

/// The files that the object is built from, relative to the checkout, sorted.
pub fn list(checkout: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![
        "observer-ebpf/Cargo.lock".into(),
        "rust-toolchain.toml".into(),
    ];
    for krate in ["observer-common", "observer-ebpf"] {
        files.push(Path::new(krate).join("Cargo.toml"));
        collect(checkout, &Path::new(krate).join("src"), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(checkout: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(checkout.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(checkout, &path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// SHA-256 over names and contents of all sources, in hexadecimal.
pub fn hash(checkout: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    for file in list(checkout)? {
        let bytes = fs::read(checkout.join(&file))
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))?;
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hex(&hash.finalize()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
