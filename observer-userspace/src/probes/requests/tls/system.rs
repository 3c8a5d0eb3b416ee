//! The host's own TLS libraries, which a program that starts later will use:
//! known before it starts, so that its first request is seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::foreign::Foreign;

/// Where libraries are on systems without a cache of the dynamic linker.
const DIRECTORIES: [&str; 9] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/opt/openssl/lib",
];

/// The dynamic linker's list of libraries; see `ldconfig(8)`.
const CACHE: &str = "etc/ld.so.cache";

/// Largest one read, in bytes.
const MAX_CACHE: u64 = 16 << 20;

/// Paths, below the root directory `root`, that may be TLS libraries.
pub fn libraries(_: &Foreign, root: &Path) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let cache = root.join(CACHE);
    if fs::metadata(&cache).is_ok_and(|m| m.is_file() && m.len() <= MAX_CACHE)
        && let Ok(bytes) = fs::read(&cache)
    {
        paths.extend(in_cache(&bytes));
    }
    for directory in DIRECTORIES {
        let Ok(entries) = fs::read_dir(root.join(directory.trim_start_matches('/'))) else {
            continue;
        };
        for entry in entries.flatten() {
            if let Some(name) = entry.file_name().to_str().filter(|n| is_library(n)) {
                paths.insert(format!("{directory}/{name}"));
            }
        }
    }
    paths
}

/// The paths in the linker's cache. Whatever its format, they are in it as texts
/// that end with a zero byte.
fn in_cache(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.split(|b| *b == 0).filter_map(|text| {
        let text = std::str::from_utf8(text).ok()?;
        let (directory, name) = text.rsplit_once('/')?;
        (directory.starts_with('/') && is_library(name)).then(|| text.to_owned())
    })
}

/// `libssl.so.3`, `libssl.so.1.1`, `libssl-1a2b3c.so.3`; not `libssl3.so`, which
/// is NSS.
fn is_library(name: &str) -> bool {
    let rest = name.strip_prefix("libssl");
    rest.is_some_and(|rest| rest.starts_with(['.', '-']) && rest.contains(".so"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::{self, Subject};

    /// Checks that the libraries that ldconfig itself prints are all found.
    #[test]
    fn as_ldconfig_prints() {
        let subject = Subject::Root(std::process::id());
        let found = foreign::ask(subject, foreign::A_WHILE, |foreign| {
            libraries(foreign, Path::new("/"))
        });
        let found = found.expect("an answer");
        let out = std::process::Command::new("ldconfig").arg("-p").output();
        let out = out.expect("ldconfig");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let printed = text.lines().filter_map(|l| l.split_once(" => "));
        for (_, path) in printed.filter(|(name, _)| name.trim().starts_with("libssl.so")) {
            assert!(found.contains(path), "{path} is not in {found:?}");
        }
    }

    /// Checks that a cache's paths are read whatever surrounds them.
    #[test]
    fn paths_in_a_cache() {
        let bytes = b"glibc-ld.so.cache1.1\xff\x01\0libssl.so.3\0/usr/lib/libssl.so.3\0\
                      /opt/x/libssl-1a2b.so.1.1\0/usr/lib/libssl3.so\0/usr/lib/libz.so\0/a/libssl.so";
        let found: Vec<_> = in_cache(bytes).collect();
        let expected = [
            "/usr/lib/libssl.so.3",
            "/opt/x/libssl-1a2b.so.1.1",
            "/a/libssl.so",
        ];
        assert_eq!(found, expected);
    }
}
