//! Names of code made at run time, from the map that JIT compilers write:
//! `/tmp/perf-PID.map`, one `START SIZE NAME` per line, numbers in hex
//! (Linux, `tools/perf/Documentation/jit-interface.txt`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};

use super::files::Roots;
use super::mappings::Process;

/// Longest map read; a busy JVM's has some ten MiB.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Names of those of `addresses` that the map of process `pid` knows. The map
/// is read once, as a stream: however long it is, only answers take memory.
pub fn names(pid: u32, process: &Process, addresses: &mut Vec<u64>) -> HashMap<u64, String> {
    let inner = inner_pid(pid).unwrap_or(pid);
    let path = format!("/tmp/perf-{inner}.map");
    match Roots::own(pid, process).open(&path) {
        Some(file) => names_in(BufReader::new(file.take(MAX_BYTES)), addresses),
        None => HashMap::new(),
    }
}

fn names_in(mut map: impl BufRead, addresses: &mut Vec<u64>) -> HashMap<u64, String> {
    addresses.sort_unstable();
    addresses.dedup();
    let mut found = HashMap::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match map.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return found,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let mut parts = text.trim_end().splitn(3, ' ');
        let number = |text: Option<&str>| {
            let text = text?;
            u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
        };
        let (Some(start), Some(size)) = (number(parts.next()), number(parts.next())) else {
            continue;
        };
        let Some(name) = parts.next() else { continue };
        let from = addresses.partition_point(|a| *a < start);
        let end = start.saturating_add(size);
        for address in addresses[from..].iter().take_while(|a| **a < end) {
            // Code is moved and memory reused: the last line is the newest.
            found.insert(*address, name.to_owned());
        }
    }
}

/// The process's id in its own PID namespace, which names its map.
fn inner_pid(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each address gets the newest name whose range holds it, and
    /// that lines which aren't entries are passed over.
    #[test]
    fn newest_name_wins() {
        let map = "1000 100 old\nnonsense\n\n0x1000 80 new name with spaces\n2000 10 last";
        let mut addresses = vec![0x2000, 0x1000, 0x1080, 0x10ff, 0x1100, 0x2010];
        let found = names_in(map.as_bytes(), &mut addresses);
        let name = |a: u64| found.get(&a).map(String::as_str);
        assert_eq!(name(0x1000), Some("new name with spaces"));
        assert_eq!(name(0x1080), Some("old"));
        assert_eq!(name(0x10ff), Some("old"));
        assert_eq!(name(0x1100), None);
        assert_eq!(name(0x2000), Some("last"));
        assert_eq!(name(0x2010), None);
    }
}
