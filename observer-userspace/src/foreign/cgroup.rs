//! Files of cgroups. They are the kernel's, but some take locks that whoever makes and
//! removes cgroups holds, and some add up what all CPUs counted: so readers read them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::token::Foreign;

/// Bytes of a file that are read: `memory.stat` has some thousand.
const LIMIT: u64 = 64 * 1024;

/// The text of a file in a cgroup's directory; `None` if there is none, or it can't be
/// read.
pub(crate) fn text(_: &Foreign, directory: &Path, file: &str) -> Option<String> {
    let mut text = String::new();
    let file = File::open(directory.join(file)).ok()?;
    file.take(LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}
