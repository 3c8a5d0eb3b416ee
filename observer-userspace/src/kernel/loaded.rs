//! What a process has loaded into the kernel: programs and maps with what they
//! take, from the kernel's own account.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::maps::MapInfo;
use aya::programs::loaded_programs;

/// A BPF program that a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedProgram {
    /// Its name as the kernel has it: the first 15 bytes.
    pub name: String,
    /// Instructions that the verifier looked at, on all ways; 0 before 5.16.
    pub verified: u32,
    /// Bytes after the verifier.
    pub translated: u32,
    /// Bytes of machine code.
    pub jited: u32,
    /// Nanoseconds that it ran while the kernel measured.
    pub run_ns: u64,
    /// Runs while the kernel measured.
    pub runs: u64,
}

/// A BPF map that a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedMap {
    /// Its name as the kernel has it: the first 15 bytes.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Most entries that it can have; for a ring buffer its bytes.
    pub entries: u32,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Bytes that it takes now, as the kernel says.
    pub memory: u64,
}

/// The programs that a process holds, in no order.
///
/// # Errors
///
/// When the process isn't there, or without the right to ask the kernel.
pub fn programs(pid: u32) -> Result<Vec<LoadedProgram>> {
    let mut held = HashMap::new();
    for fields in descriptors(pid)? {
        // A link to a program tells of the program, too.
        if fields.contains_key("prog_type") && !fields.contains_key("link_type") {
            held.insert(number(&fields, "prog_id"), fields);
        }
    }
    let mut programs = Vec::new();
    for program in loaded_programs() {
        // One that was unloaded meanwhile isn't ours.
        let Ok(info) = program else { continue };
        let Some(fields) = held.get(&u64::from(info.id())) else {
            continue;
        };
        programs.push(LoadedProgram {
            name: info.name_as_str().unwrap_or_default().to_owned(),
            verified: info.verified_instruction_count().unwrap_or(0),
            translated: info.size_translated().unwrap_or(0),
            jited: info.size_jitted(),
            run_ns: number(fields, "run_time_ns"),
            runs: number(fields, "run_cnt"),
        });
    }
    Ok(programs)
}

/// The maps that a process holds, in no order.
///
/// # Errors
///
/// As for [`programs`].
pub fn maps(pid: u32) -> Result<Vec<LoadedMap>> {
    let mut maps = HashMap::new();
    for fields in descriptors(pid)? {
        if !fields.contains_key("map_type") {
            continue;
        }
        let id = u32::try_from(number(&fields, "map_id"))?;
        let info = MapInfo::from_id(id).context("cannot ask for a map")?;
        let map = LoadedMap {
            name: info.name_as_str().unwrap_or_default().to_owned(),
            kind: info
                .map_type()
                .map_or_else(|_| "unknown".to_owned(), |kind| format!("{kind:?}")),
            entries: info.max_entries(),
            key: info.key_size(),
            value: info.value_size(),
            memory: number(&fields, "memlock"),
        };
        maps.insert(id, map);
    }
    Ok(maps.into_values().collect())
}

/// What the kernel says of each descriptor of a process (proc(5), fdinfo).
fn descriptors(pid: u32) -> Result<Vec<HashMap<String, String>>> {
    let folder = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries
        .flatten()
        // Some are closed meanwhile.
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .map(|text| fields(&text))
        .collect())
}

fn fields(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn number(fields: &HashMap<String, String>, name: &str) -> u64 {
    let value = fields.get(name).and_then(|value| value.parse().ok());
    value.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a descriptor's lines are read as fields.
    #[test]
    fn reads_fields() {
        let fields = fields("pos:\t0\nprog_type:\t26\nprog_id:\t77\nrun_time_ns:\t12\n");
        assert_eq!(number(&fields, "prog_id"), 77);
        assert_eq!(number(&fields, "run_time_ns"), 12);
        assert_eq!(number(&fields, "absent"), 0);
    }
}
